"""QuorumCnxManager on simulated hosts: who dials when, and what of that the election is told."""

import errno
from typing import Any

import pytest
from electionport import PORT, Member, Talk, Town, address, alone, host, opening, warnings
from twisted.internet.error import ConnectError
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from zktw.net.cnxmanager import DIAL_BACK_WAIT_MS, REDIAL_HURRIED_MS, REDIAL_SETTLED_MS

# -- who dials when ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hurried", "pause_ms"), [(True, REDIAL_HURRIED_MS), (False, REDIAL_SETTLED_MS)])
def test_after_a_refusal_we_dial_again(hurried: bool, pause_ms: float) -> None:
    town, member = alone(1)
    member.manager.hurry(hurried)
    town.run(5 * pause_ms)
    assert member.times("refused", 1) == 5
    accepted = town.listen(1)
    town.run(pause_ms + 5)
    assert len(accepted) == 1
    assert member.times("connected", 1) == 1
    town.run(5 * pause_ms)
    assert len(accepted) == 1


def test_who_begins_to_look_dials_at_once() -> None:
    town, member = alone(1)
    member.manager.hurry(False)
    town.run(50)
    town.listen(1)
    member.manager.hurry(True)
    town.run(10)
    assert member.manager.is_connected(1)


def test_the_end_of_a_connection_is_looked_into_at_once() -> None:
    """A killed server is known to be gone, whichever end has dialled."""
    town = Town()
    members = {sid: Member(town, sid, {one: address(one) for one in (1, 2, 3)}).start() for sid in (1, 2, 3)}
    town.run(1500)
    for member in members.values():
        member.manager.hurry(False)
        member.told.clear()
    members[2].die()
    town.run(10)
    assert members[1].told == [("disconnected", 2), ("refused", 2)]
    assert members[3].told == [("disconnected", 2), ("refused", 2)]


def test_a_server_that_dies_right_after_it_was_knocked_at_is_known_to_be_gone() -> None:
    town = Town()
    members = {sid: Member(town, sid, {one: address(one) for one in (1, 2)}).start() for sid in (1, 2)}
    town.run(50)
    assert town.pipes() == [(host(2), host(1))]
    members[2].die()
    town.run(REDIAL_HURRIED_MS + 10)
    assert members[1].told[-2:] == [("disconnected", 2), ("refused", 2)]


def test_a_port_that_hangs_up_is_looked_at_again_soon_and_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town()
    member = Member(town, 3, {3: address(3), 1: address(1)})
    dials: list[float] = []

    def connect(host: str, port: int, factory: Any, **_: Any) -> None:
        dials.append(member.reactor.seconds())
        failure = Failure(ConnectError(errno.ECONNRESET))
        member.reactor.callLater(0.001, factory.clientConnectionFailed, None, failure)

    monkeypatch.setattr(member.reactor, "connectTCP", connect)
    member.start()
    town.run(REDIAL_HURRIED_MS)
    assert len(dials) >= 4
    assert member.told == []


def test_why_a_server_is_not_reached_is_said_once() -> None:
    with warnings(LogLevel.info) as said:
        town, member = alone(1)
        town.run(10 * REDIAL_HURRIED_MS)
        assert member.times("refused", 1) > 5
        assert [line for line in said if "server 1" in line] == [
            f"cannot reach server 1 for election: {host(1)}:{PORT}: Connection was refused by other side."
        ]


def test_a_close_by_a_greater_sid_is_no_refusal() -> None:
    """It closes what we have dialled, always; then we wait for its own dial, and knock again if that does not come."""
    town = Town()
    accepted = town.listen(5)
    _, member = alone(5, town=town)
    for _ in range(20):
        town.run(DIAL_BACK_WAIT_MS / 10)
        for talk in accepted:
            if talk.open:
                talk.transport.loseConnection()
    assert len(accepted) > 2
    assert member.told == []


def test_a_greater_sid_that_keeps_our_knock_open_is_knocked_at_again() -> None:
    town = Town()
    accepted = town.listen(5)
    _, member = alone(5, town=town)
    town.run(DIAL_BACK_WAIT_MS * 2.5)
    assert [talk.open for talk in accepted] == [False, False, True]
    assert member.told == []


def test_neither_unknown_nor_slow_names_nor_silent_hosts_delay_others() -> None:
    town = Town()
    town.network.cut(host(1), host(4))
    addresses = {
        1: address(1),
        2: [("unknown.example", PORT)],
        3: [("slow.example", PORT)],
        4: address(4),
        5: address(5),
        6: address(6),
    }
    fifth = Member(town, 5, addresses).start()
    member = Member(town, 1, addresses, connect_timeout_ms=5000).start()
    town.run(20)
    assert member.manager.is_connected(5)
    assert fifth.manager.is_connected(1)
    town.run(6000)
    refused = {sid for what, sid in member.told if what == "refused"}
    assert refused == {6}


def test_of_several_addresses_one_is_enough_and_all_must_refuse() -> None:
    town = Town()
    member = Member(town, 3, {3: address(3), 1: [("10.0.1.1", PORT), *address(1)]}, multi_address=True).start()
    town.network.cut(host(3), "10.0.1.1")
    town.run(1000)
    assert member.told == []
    town.listen(1)
    town.run(6000)
    assert member.told == [("connected", 1)]


def test_a_name_is_looked_up_at_each_attempt() -> None:
    town = Town()
    town.names["one.example"] = "10.0.0.50"
    member = Member(town, 3, {3: address(3), 1: [("one.example", PORT)]}).start()
    town.run(50)
    assert member.times("refused", 1) == 1
    town.listen(1)
    town.names["one.example"] = host(1)
    town.run(REDIAL_HURRIED_MS)
    assert member.manager.is_connected(1)


def test_stop_closes_everything_and_says_no_more() -> None:
    town = Town()
    accepted = town.listen(1)
    _, member = alone(1, 2, 5, 9, town=town)
    knocked = town.listen(9)
    talks = [town.dial(3, opening(5)), town.dial(3)]
    town.run(150)
    member.told.clear()
    member.manager.stop()
    town.run(3000)
    assert not any(talk.open for talk in (*accepted, *talks, *knocked))
    assert member.told == []
    assert not town.dial(3).open


# -- a peer that is Apache's -------------------------------------------------------------------------------------------


class Apache:
    """Server 5 as Apache's code is: at each knock it ends the connection that it has, and dials unless it does so."""

    def __init__(self, town: Town) -> None:
        self.worker: Talk | None = None
        self.dials = 0
        self._town = town
        self._dialling = False
        town.listen(5, lambda: Knock(self))

    def on_knock(self, knock: Talk) -> None:
        knock.transport.loseConnection()
        if self.worker is not None:
            self.worker.transport.loseConnection()
            self.worker = None
        self.dial()

    def dial(self) -> None:
        if not self._dialling:
            self._dialling = True
            self.dials += 1
            self._town.dialling(3, host(5)).addCallbacks(self._connected, self._failed)

    def _connected(self, talk: Talk) -> None:
        self._dialling = False
        talk.transport.write(opening(5))
        self.worker = talk

    def _failed(self, _: Failure) -> None:
        self._dialling = False


class Knock(Talk):
    """A connection that such a peer has accepted."""

    def __init__(self, apache: Apache) -> None:
        super().__init__()
        self._apache = apache

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self._apache.on_knock(self)


@pytest.mark.parametrize("delay_ms", [0.1, 1, 10, 30, 80])
@pytest.mark.parametrize("apart_ms", [-80, -40, -20, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 20, 40, 80])
def test_a_knock_that_crosses_the_greater_one_s_dial_is_not_repeated_for_ever(delay_ms: float, apart_ms: float) -> None:
    town = Town(delay_ms)
    apache = Apache(town)
    member = Member(town, 3, {3: address(3), 5: address(5)})
    member.listener.bind()
    acts = [apache.dial, member.manager.start]
    for act in acts if apart_ms >= 0 else reversed(acts):
        act()
        town.run(abs(apart_ms))
    town.run(600 + 20 * delay_ms)
    dials = apache.dials
    town.run(3000)
    assert member.manager.is_connected(5)
    assert apache.dials == dials <= 5
