"""QuorumCnxManager on simulated hosts: openings of every age, who keeps which connection, bad input, bounds."""

from collections.abc import Iterator

import pytest
from electionport import PORT, Member, Town, address, alone, frame, host, opening, vote, warnings

from zktw.net.cnxmanager import DIAL_BACK_WAIT_MS, REDIAL_SETTLED_MS
from zktw.wire.votes import OBSERVER_SID, encode_opening

OPENINGS = {
    "one address": encode_opening(5, [f"{host(5)}:{PORT}"], False),
    "addresses": encode_opening(5, [f"{host(5)}:{PORT}", f"[::1]:{PORT}"], True),
    "bare sid": (5).to_bytes(8, "big"),
}


@pytest.fixture
def lines() -> Iterator[list[str]]:
    with warnings() as found:
        yield found


# -- who says what first -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", OPENINGS.values(), ids=OPENINGS.keys())
def test_a_greater_sid_is_kept_whatever_its_opening(data: bytes) -> None:
    town, member = alone(5)
    talk = town.dial(3, data, frame(vote(5)))
    assert member.manager.is_connected(5)
    assert [(heard.sid, heard.vote.leader) for heard in member.heard] == [(5, 5)]
    member.manager.send(5, vote(3))
    town.run()
    assert talk.open
    assert talk.received == frame(vote(3))


@pytest.mark.parametrize("data", OPENINGS.values(), ids=OPENINGS.keys())
def test_an_opening_in_single_bytes_with_a_message_behind_it(data: bytes) -> None:
    town, member = alone(5)
    stream = data + frame(vote(4))
    town.dial(3, *(stream[at : at + 1] for at in range(len(stream))))
    assert [heard.vote.leader for heard in member.heard] == [4]


def test_opening_and_messages_in_one_segment() -> None:
    town, member = alone(5)
    town.dial(3, OPENINGS["one address"] + frame(vote(4)) + frame(vote(5)))
    assert [heard.vote.leader for heard in member.heard] == [4, 5]


def test_what_we_open_with() -> None:
    town = Town()
    accepted = town.listen(1)
    alone(1, town=town)
    town.run()
    assert accepted[0].received == opening(3)


# -- who keeps which connection ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
@pytest.mark.parametrize("apart_ms", [0, 1, 2, 5, 50, 1500])
def test_two_servers_keep_the_one_that_the_greater_has_dialled(order: tuple[int, int], apart_ms: float) -> None:
    town = Town()
    members = {sid: Member(town, sid, {1: address(1), 2: address(2)}) for sid in order}
    for member in members.values():
        member.start()
        town.run(apart_ms)
    town.run(1500)
    assert town.pipes() == [(host(2), host(1))]
    members[1].manager.send(2, vote(1))
    members[2].manager.send(1, vote(2))
    town.run()
    assert [heard.sid for heard in members[1].heard] == [2]
    assert [heard.sid for heard in members[2].heard] == [1]


def test_a_smaller_sid_knocks_and_is_dialled_back() -> None:
    town, member = alone(1)
    accepted = town.listen(1)
    knock = town.dial(3, opening(1))
    town.run(20)
    assert not knock.open
    assert knock.received == b""
    assert [talk.received for talk in accepted] == [opening(3)]
    assert member.manager.is_connected(1)


def test_a_knock_is_answered_where_the_last_dial_failed_a_moment_ago() -> None:
    town, member = alone(1)
    member.manager.hurry(False)
    town.run(REDIAL_SETTLED_MS * 1.5)
    town.listen(1)
    town.dial(3, opening(1))
    town.run(20)
    assert member.manager.is_connected(1)


def test_an_unknown_smaller_sid_is_dialled_back_where_it_says() -> None:
    town, member = alone()
    accepted = town.listen(77)
    town.dial(3, encode_opening(1, [f"0.0.0.0:{PORT}", f"{host(77)}:{PORT}"], True))
    town.run(20)
    assert len(accepted) == 1
    assert member.manager.is_connected(1)


def test_a_voter_is_dialled_back_where_it_is_configured_and_nowhere_else() -> None:
    town, member = alone(1)
    member.manager.hurry(False)
    town.run(20)
    elsewhere, configured = town.listen(77), town.listen(1)
    town.dial(3, opening(1, f"{host(77)}:{PORT}"))
    town.run(20)
    assert (len(elsewhere), len(configured)) == (0, 1)
    assert member.manager.is_connected(1)


def test_an_opening_with_wildcards_only_is_dialled_back_where_it_is_configured() -> None:
    town = Town()
    observer = town.listen(2)
    member = Member(town, 3, {3: address(3)}, {2: address(2)}).start()
    town.dial(3, encode_opening(2, [f"0.0.0.0:{PORT}", f"[::]:{PORT}"], True))
    town.run(20)
    assert len(observer) == 1
    assert member.manager.is_connected(2)


def test_a_newer_connection_of_a_greater_sid_takes_the_older_one_s_place() -> None:
    town, member = alone(5)
    older = town.dial(3, opening(5))
    newer = town.dial(3, opening(5), frame(vote(5)))
    town.run(20)
    assert (older.open, newer.open) == (False, True)
    assert [told for told in member.told if told[0] != "refused"] == [("connected", 5), ("connected", 5)]
    assert len(member.heard) == 1


def test_a_knock_ends_a_connection_that_its_sender_has_forgotten() -> None:
    town = Town()
    accepted = town.listen(1)
    _, member = alone(1, town=town)
    town.run(DIAL_BACK_WAIT_MS + 100)
    town.dial(3, opening(1))
    town.run(20)
    assert [talk.open for talk in accepted] == [False, True]
    assert member.told == [("connected", 1), ("disconnected", 1), ("connected", 1)]


def test_our_own_sid_is_closed_with_one_line(lines: list[str]) -> None:
    town, member = alone()
    talk = town.dial(3, opening(3) + frame(vote(3)) + b"\xff" * 8)
    assert not talk.open
    assert member.told == []
    assert member.heard == []
    assert len(lines) == 1
    assert "server 3, as we are" in lines[0]


def test_observers_without_an_id_are_numbered_and_forgotten() -> None:
    town, member = alone()
    data = OBSERVER_SID.to_bytes(8, "big")
    first, second = town.dial(3, data), town.dial(3, data, frame(vote(1)))
    assert member.told == [("connected", -1), ("connected", -2)]
    member.manager.send(-2, vote(3))
    town.run()
    assert (first.received, second.received) == (b"", frame(vote(3)))
    assert [heard.sid for heard in member.heard] == [-2]
    second.transport.loseConnection()
    town.run()
    assert member.told[2:] == [("disconnected", -2)]
    assert not member.manager.is_connected(-2)


# -- bad input ---------------------------------------------------------------------------------------------------------

GARBAGE = {
    "unknown version": (-4).to_bytes(8, "big", signed=True) + bytes(20),
    "no address": (-65536).to_bytes(8, "big", signed=True) + (5).to_bytes(8, "big") + bytes(4),
    "long address": (-65536).to_bytes(8, "big", signed=True) + (5).to_bytes(8, "big") + b"\x7f\xff\xff\xff",
    "address that is none": encode_opening(5, ["nono"], False),
    "oversized frame": opening(5) + (512 * 1024 + 1).to_bytes(4, "big"),
    "negative frame": opening(5) + b"\xff\xff\xff\xff",
    "empty frame": opening(5) + bytes(4),
    "short message": opening(5) + (12).to_bytes(4, "big") + bytes(12),
    "unknown state": opening(5) + (28).to_bytes(4, "big") + b"\0\0\0\x09" + bytes(24),
    "two bad frames": opening(5) + bytes(8),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("size", [1, 1000])
def test_garbage_ends_one_connection_with_one_line(data: bytes, size: int, lines: list[str]) -> None:
    town, member = alone(4, 5)
    good = town.dial(3, opening(4))
    bad = town.dial(3, *(data[at : at + size] for at in range(0, len(data), size)))
    town.run(20)
    good.transport.write(frame(vote(4)))
    town.run(20)
    assert not bad.open
    assert good.open
    assert [heard.sid for heard in member.heard] == [4]
    assert len(lines) == 1
    assert lines[0].startswith("closing election connection of ")


@pytest.mark.parametrize("data", [b"", opening(5)[:20], opening(5) + frame(vote(5))[:-1]])
def test_one_that_hangs_up_halfway_is_no_fault(data: bytes, lines: list[str]) -> None:
    town, member = alone(5)
    talk = town.dial(3, data)
    talk.transport.loseConnection()
    town.run()
    assert lines == []
    assert member.heard == []
    assert not member.manager.is_connected(5)


def test_those_that_say_nothing_are_bounded_and_closed_in_time(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zktw.net.cnxmanager.ELECTION_STRANGERS_MAX", 3)
    town = Town()
    member = Member(town, 3, {3: address(3), 5: address(5)}, opening_timeout_ms=1000).start()
    silent = [town.dial(3) for _ in range(3)]
    one_more = town.dial(3)
    assert [talk.open for talk in (*silent, one_more)] == [True, True, True, False]
    assert len(lines) == 1
    silent[0].transport.write(opening(5))
    town.run(10)
    town.dial(3)
    assert len(lines) == 1
    town.run(1100)
    assert [talk.open for talk in silent] == [True, False, False]
    assert len(lines) == 1 + 3
    assert member.manager.is_connected(5)


def test_servers_that_are_not_configured_are_bounded(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zktw.net.cnxmanager.ELECTION_STRANGERS_MAX", 2)
    town, _ = alone(5)
    talks = [town.dial(3, opening(sid)) for sid in (7, 8, 9, 5)]
    assert [talk.open for talk in talks] == [True, True, False, True]
    assert len(lines) == 1
    talks[0].transport.loseConnection()
    town.run(10)
    assert town.dial(3, opening(9)).open


@pytest.mark.parametrize("data", [(1).to_bytes(8, "big"), opening(1), opening(1, "unknown.example:3888")])
def test_one_that_can_not_be_dialled_back_leaves_nothing_behind(
    data: bytes, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zktw.net.cnxmanager.ELECTION_STRANGERS_MAX", 2)
    town, _ = alone()
    for sid in (0, 1, 2):
        assert not town.dial(3, data.replace((1).to_bytes(8, "big"), sid.to_bytes(8, "big"))).open
    town.run(100)
    assert town.dial(3, opening(9)).open
    assert town.dial(3, opening(8)).open
    assert lines == []
