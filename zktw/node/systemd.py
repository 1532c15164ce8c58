"""What systemd is told: READY, STATUS, WATCHDOG, STOPPING, one datagram each (sd_notify(3))."""

import socket
from collections.abc import Mapping

from twisted.logger import Logger

from zktw.node.clock import Clock

log = Logger()


class Systemd:
    """Talks to the service manager where there is one; without NOTIFY_SOCKET every call does nothing."""

    def __init__(self, clock: Clock, environ: Mapping[str, str], my_pid: int) -> None:
        self._clock = clock
        address = environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of an abstract socket.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._period_ms = _watchdog_period_ms(environ, my_pid)
        self._alarm = clock.alarm(self._watchdog)
        self._status = ""

    def ready(self) -> None:
        """Ports are bound and epochs read. A quorum is not waited for: units started one by one would dead-lock."""
        self._send("READY=1")
        if self._period_ms:
            self._alarm.set(self._clock.now_ms() + self._period_ms)

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def stopping(self) -> None:
        """The end has begun."""
        self._alarm.set(None)
        self._send("STOPPING=1")

    def _watchdog(self) -> None:
        self._send("WATCHDOG=1")
        self._alarm.set(self._clock.now_ms() + self._period_ms)

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
                notify.setblocking(False)
                notify.sendto(text.encode("utf-8"), self._address)
        except OSError as error:
            log.warn("cannot tell systemd {text}: {error}", text=text, error=error)


def _watchdog_period_ms(environ: Mapping[str, str], my_pid: int) -> float:
    """Half of what WATCHDOG_USEC allows, from a reactor that still turns; 0 where nobody watches us."""
    if environ.get("WATCHDOG_PID", str(my_pid)) != str(my_pid):
        return 0
    try:
        return int(environ.get("WATCHDOG_USEC", "0")) / 2000
    except ValueError:
        return 0
