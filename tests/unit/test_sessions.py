"""Sessions: ids and passwords, expiry in buckets, stalls of ours, takeover, and a session's end among its requests."""

import pytest
from dataserver import TICK_MS, DataServer, buf, create_body, i32, text
from hypothesis import given
from hypothesis import strategies as st

from zktw.pipeline.request import Client
from zktw.pipeline.sessions import NO_PASSWORD, SessionTracker, first_session_id, password_of
from zktw.terms.codes import OpCode
from zktw.terms.limits import STALL_MS
from zktw.wire.client import ConnectRequest


def tracker(now_ms: float = 0.0) -> SessionTracker:
    return SessionTracker(1, TICK_MS, now_ms, 0)


def ring(sessions: SessionTracker) -> list[int]:
    """Let the clock ring in time; who has expired."""
    return [session.id for session in sessions.on_clock(sessions.deadline_ms)]


def drop(server: DataServer, client: Client) -> None:
    server.service.closed(client)
    client.out.clear()


# -- ids and passwords -----------------------------------------------------------------------------------------------


def test_passwords_are_those_of_apache() -> None:
    assert password_of(0x0100000000000000).hex() == "f22acd4a97e69d6d20a49bb638eadb38"
    assert password_of(0x01000123456789AB).hex() == "237710bc62d77989a42e8da77022789d"


@given(st.integers(0, 255), st.integers(0, 2**50))
def test_ids_begin_with_the_number_of_the_server(sid: int, wall_ms: int) -> None:
    first = first_session_id(sid, wall_ms)
    assert (first >> 56) & 0xFF == sid
    assert -(2**63) < first < 2**63


def test_an_id_that_lives_is_not_given_again() -> None:
    sessions = tracker()
    first = sessions.new_id()
    sessions.add(first + 1, 4000, 0.0)
    sessions.add(first + 2, 4000, 0.0)
    assert sessions.new_id() == first + 3


# -- expiry ----------------------------------------------------------------------------------------------------------


def test_silence_ends_a_session_and_a_word_in_time_does_not() -> None:
    sessions = tracker()
    silent, talking = sessions.add(1, 4000, 0.0), sessions.add(2, 4000, 0.0)
    expired: list[int] = []
    while sessions.deadline_ms < 12_000:
        talking.heard_ms = sessions.deadline_ms - 1
        expired += ring(sessions)
    assert expired == [silent.id]
    assert silent.closing
    assert not talking.closing


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 20_000)), max_size=30), st.integers(1, 40))
def test_nobody_ends_before_his_time_nor_long_after_it(words: list[tuple[int, int]], timeout_ticks: int) -> None:
    sessions = tracker()
    timeout_ms = timeout_ticks * 500
    for number in range(1, 6):
        sessions.add(number, timeout_ms, 0.0)
    waiting = sorted(words, key=lambda word: word[1])
    heard = dict.fromkeys(range(1, 6), 0)
    while sessions.deadline_ms < 60_000:
        now_ms = sessions.deadline_ms
        while waiting and waiting[0][1] <= now_ms:
            number, at_ms = waiting.pop(0)
            session = sessions.sessions.get(number)
            if session is not None and not session.closing:
                session.heard_ms = heard[number] = at_ms
        for number in ring(sessions):
            assert heard[number] + timeout_ms <= now_ms <= heard[number] + timeout_ms + TICK_MS
            sessions.remove(number)
    assert not sessions.sessions


def test_a_stall_of_ours_ends_nobody_who_was_talking() -> None:
    sessions = tracker()
    session = sessions.add(1, 4000, 0.0)
    late_ms = sessions.deadline_ms + 60_000
    assert sessions.on_clock(late_ms) == []
    # What it sent meanwhile is read before the next tick.
    session.heard_ms = late_ms
    assert ring(sessions) == []
    assert not session.closing


def test_after_a_stall_who_is_silent_still_ends() -> None:
    sessions = tracker()
    sessions.add(1, 4000, 0.0)
    assert sessions.on_clock(sessions.deadline_ms + 60_000) == []
    assert ring(sessions) == [1]


def test_a_clock_that_is_a_little_late_is_no_stall() -> None:
    sessions = tracker()
    sessions.add(1, 500, 0.0)
    assert [one.id for one in sessions.on_clock(sessions.deadline_ms + STALL_MS)] == [1]


@pytest.mark.parametrize("timeout_ms", [0, -1, -(2**31), 2**31 - 1])
def test_timeouts_of_a_snapshot_may_be_anything(timeout_ms: int) -> None:
    sessions = tracker(5000.0)
    sessions.add(1, timeout_ms, 5000.0)
    expired = ring(sessions)
    assert expired == ([1] if timeout_ms <= 0 else [])
    assert sessions.remove(1) is not None
    assert sessions.remove(1) is None
    assert ring(sessions) == []


def test_buckets_tell_who_ends_when() -> None:
    sessions = tracker()
    sessions.add(1, 2500, 0.0)
    sessions.add(2, 2999, 0.0)
    sessions.add(3, 3000, 0.0)
    assert sessions.buckets() == [(3000, [1, 2]), (4000, [3])]


# -- the service -----------------------------------------------------------------------------------------------------


def expire(server: DataServer) -> list[int]:
    """Let time pass until sessions expire; nobody says anything."""
    for _ in range(30):
        server.service.now_ms = server.service.deadline_ms
        expired = server.service.on_clock()
        if expired:
            return [session.id for session in expired]
    return []


def test_an_expired_session_loses_its_nodes_and_its_connection_without_a_word() -> None:
    server = DataServer()
    client = server.connect()
    assert client.session is not None
    session_id = client.session.id
    assert server.create(client, "/mine", flags=1) == 0
    server.send(client, OpCode.SET_DATA, text("/mine") + buf(b"last") + i32(-1))
    assert expire(server) == [session_id]
    server.send(client, OpCode.CREATE, create_body("/late"))
    server.persist()
    assert client.closing
    assert not client.out
    assert client.out_bytes == 0
    assert {"/mine", "/late"}.isdisjoint(server.database.tree.nodes)
    assert session_id not in server.database.sessions
    assert server.service.outstanding == 0
    server.hold_to_log()


def test_a_session_on_its_way_out_cannot_be_taken_over() -> None:
    server = DataServer()
    client = server.connect()
    assert client.session is not None
    session_id = client.session.id
    server.send(client, OpCode.CLOSE_SESSION)
    other = server.connect(session_id)
    assert other.session is None
    assert other.closing


def test_another_connection_takes_a_session_over() -> None:
    server = DataServer()
    first = server.connect()
    assert first.session is not None
    session_id = first.session.id
    assert server.create(first, "/mine", flags=1) == 0
    server.send(first, OpCode.SET_DATA, text("/mine") + buf(b"in flight") + i32(-1))
    second = Client(99, "127.0.0.1", None)
    server.service.opened(second)
    server.service.connect(second, ConnectRequest(0, 0, 4000, session_id, password_of(session_id), None))
    assert second.session is not None
    assert second.session.id == session_id
    assert first.closing
    assert not first.waiting
    server.persist()
    assert not first.out, "its write happens, but it is told nothing"
    assert server.database.tree.nodes["/mine"][24:33] == b"in flight"
    drop(server, first)
    assert second.session.owner is second, "the end of the former connection takes nothing from the new one"
    assert server.ask(second, OpCode.GET_DATA, text("/mine") + b"\0")[0] == 0


@pytest.mark.parametrize("password", [None, b"", bytes(16), b"x" * 16])
def test_a_wrong_password_is_told_so(password: bytes | None) -> None:
    server = DataServer()
    client = server.connect()
    assert client.session is not None
    other = Client(99, "127.0.0.1", None)
    server.service.opened(other)
    server.service.connect(other, ConnectRequest(0, 0, 4000, client.session.id, password, None))
    assert other.out == [i32(36) + i32(0) + i32(0) + bytes(8) + i32(16) + NO_PASSWORD]
    assert other.closing


def test_a_session_whose_beginning_may_still_be_lost_is_not_taken_over() -> None:
    server = DataServer()
    first = Client(1, "127.0.0.1", None)
    server.service.opened(first)
    server.service.connect(first, ConnectRequest(0, 0, 4000, 0, None, None))
    assert first.session is not None
    second = Client(2, "127.0.0.1", None)
    server.service.opened(second)
    session_id = first.session.id
    server.service.connect(second, ConnectRequest(0, 0, 4000, session_id, password_of(session_id), None))
    assert second.closing
    assert second.session is None


def test_who_has_seen_more_is_turned_away_without_a_word() -> None:
    server = DataServer()
    client = Client(1, "127.0.0.1", None)
    server.service.opened(client)
    assert "0x5" in server.service.connect(client, ConnectRequest(0, 5, 4000, 0, None, None))
    assert client.closing
    assert not client.out
    assert not server.tracker.sessions


@pytest.mark.parametrize(("asked", "got"), [(-(2**31), 2000), (0, 2000), (5000, 5000), (2**31 - 1, 20_000)])
def test_timeouts_are_brought_within_bounds(asked: int, got: int) -> None:
    server = DataServer()
    client = server.connect(timeout_ms=asked)
    assert client.session is not None
    assert client.session.timeout_ms == got
    assert server.database.sessions == {client.session.id: got}
    server.hold_to_log()


def test_what_follows_the_end_of_a_session_is_not_taken() -> None:
    server = DataServer()
    client = server.connect()
    server.send(client, OpCode.CREATE, create_body("/a"), 1)
    server.send(client, OpCode.CLOSE_SESSION, b"", 2)
    server.send(client, OpCode.CREATE, create_body("/b"), 3)
    server.send(client, OpCode.GET_DATA, text("/a") + b"\0", 4)
    server.persist()
    assert [xid for xid, _, _ in server.take(client)] == [1, 2]
    assert client.closing
    assert "/b" not in server.database.tree.nodes


def test_nothing_is_left_of_connections_that_came_and_went() -> None:
    server = DataServer()
    for _ in range(20):
        client = server.connect()
        server.ask(client, OpCode.EXISTS, text("/nowhere") + b"\1")
        server.send(client, OpCode.CREATE, create_body("/e", flags=3))
        server.send(client, OpCode.CLOSE_SESSION)
        server.persist()
        drop(server, client)
    assert not server.service.clients
    assert not server.tracker.sessions
    assert server.service.watches.is_empty
    assert len(server.service.watches) == 0
    assert not server.database.sessions
    assert not server.database.tree.ephemerals
    assert not any(server.tracker._buckets.values())
    server.hold_to_log()
