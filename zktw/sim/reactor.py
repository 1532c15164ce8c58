"""SimReactor: what one simulated server takes for its reactor: time, listening, dialling, names, and its threads."""

from collections.abc import Callable, Mapping
from functools import partial
from socket import gaierror
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled, CannotListenError
from twisted.internet.interfaces import IReactorTime, IResolutionReceiver
from zope.interface import implementer

from zktw.sim.network import Connector, Network, Port
from zktw.sim.schedule import Event, Process, Schedule
from zktw.storage.files import IWorker


class SimCall:
    """A delayed call (IDelayedCall, as far as the server uses it)."""

    def __init__(self, reactor: "SimReactor", event: Event) -> None:
        self._reactor = reactor
        self._event = event

    def active(self) -> bool:
        return not self._event.cancelled

    def cancel(self) -> None:
        if self._event.cancelled:
            raise AlreadyCancelled
        self._event.cancelled = True

    def getTime(self) -> float:
        return self._reactor.local(self._event.at)

    def reset(self, seconds: float) -> None:
        if self._event.cancelled:
            raise AlreadyCalled
        self._event.cancelled = True
        event = self._event
        delay = seconds / self._reactor.rate
        self._event = self._reactor.schedule.after(delay, event.process, event.function, *event.args)


@implementer(IReactorTime)
class SimReactor:
    """The reactor of one process on one host. Its clock differs from the world's by an offset, and runs at a rate."""

    def __init__(
        self,
        schedule: Schedule,
        network: Network,
        process: Process,
        host: str,
        *,
        names: Mapping[str, str],
        offset: float = 0.0,
        rate: float = 1.0,
    ) -> None:
        self.schedule = schedule
        self.offset = offset
        self.rate = rate
        self.nameResolver = SimResolver(schedule, process, names)
        self._network = network
        self._process = process
        self._host = host
        self._names = names

    def seconds(self) -> float:
        return self.local(self.schedule.now)

    def local(self, at: float) -> float:
        """What this clock shows at a moment of the world."""
        return at * self.rate + self.offset

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        assert delay >= 0
        function = partial(callable, **kwargs) if kwargs else callable
        return SimCall(self, self.schedule.after(delay / self.rate, self._process, function, *args))

    def getDelayedCalls(self) -> list[Any]:
        return []

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Port:
        host = self._host if interface in ("", "0.0.0.0", "::") else interface
        if not isIPAddress(host) and not isIPv6Address(host):
            # Sockets are bound to names too; the system looks them up, and waits for the answer.
            if host not in self._names:
                raise CannotListenError(interface, port, gaierror(-2, "Name or service not known"))
            host = self._names[host]
        return self._network.listen(self._process, host, port, factory)

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: tuple[str, int] | None = None
    ) -> Connector:
        connector = Connector(self._network, self._process, self._host, host, port, factory)
        connector.start(timeout / self.rate)
        return connector


class SimResolver:
    """Names of the simulation; an unknown one is looked for in vain, and a "slow." one for ever."""

    def __init__(self, schedule: Schedule, process: Process, names: Mapping[str, str]) -> None:
        self._schedule = schedule
        self._process = process
        self._names = names

    def resolveHostName(
        self, receiver: IResolutionReceiver, name: str, port: int = 0, *_: Any, **__: Any
    ) -> IResolutionReceiver:
        if not name.startswith("slow."):
            self._schedule.after(0.005, self._process, self._answer, receiver, name)
        return receiver

    def _answer(self, receiver: IResolutionReceiver, name: str) -> None:
        if name in self._names:
            receiver.addressResolved(IPv4Address("TCP", self._names[name], 0))
        receiver.resolutionComplete()


@implementer(IWorker)
class SimWorker:
    """A thread: functions run one after the other, each after a time that the disk decides."""

    def __init__(self, schedule: Schedule, process: Process, latency: Callable[[], float]) -> None:
        self._schedule = schedule
        self._process = process
        self._latency = latency
        self._free_at = 0.0

    def start(self) -> None:
        """See IWorker."""

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """See IWorker."""
        done: Deferred[Any] = Deferred()
        self._free_at = max(self._free_at, self._schedule.now) + self._latency()
        self._schedule.at(self._free_at, self._process, self._work, done, function, args)
        return done

    def _work(self, done: Deferred[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            result = function(*args)
        except Exception as error:
            self._schedule.after(0.0, self._process, done.errback, error)
        else:
            self._schedule.after(0.0, self._process, done.callback, result)

    def stop(self) -> Deferred[None]:
        """See IWorker."""
        done: Deferred[None] = Deferred()
        self._schedule.at(max(self._free_at, self._schedule.now), self._process, self._stopped, done)
        return done

    def _stopped(self, done: Deferred[None]) -> None:
        # Behind the results of all that was done before.
        self._schedule.after(0.0, self._process, done.callback, None)
