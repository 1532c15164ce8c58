"""The client port before a real data service: sessions, order, pauses, takeover, expiry, and a disk that fails."""

import errno
import struct

import pytest
from dataport import PING, DataLink, DataPort, body_of, create, framed, get_data, handshake, request, set_data, text
from twisted.logger import LogLevel, capturedLogs, formatEvent

from zktw.pipeline.sessions import password_of
from zktw.terms.codes import CreateMode, ErrorCode, OpCode
from zktw.terms.limits import CLIENT_BACKLOG_BYTES_MAX, CLIENT_HELD_BYTES_MAX, CLIENT_WAITING_MAX

OK, NO_NODE, NODE_EXISTS = 0, int(ErrorCode.NO_NODE), int(ErrorCode.NODE_EXISTS)
UNIMPLEMENTED = int(ErrorCode.UNIMPLEMENTED)
EVENT_XID = -1
CLOSE = request(9, OpCode.CLOSE_SESSION)


@pytest.fixture
def port() -> DataPort:
    return DataPort()


def warned(link: DataLink, *pieces: bytes) -> list[str]:
    """What the log says, from warnings up, of a client that sends this."""
    with capturedLogs() as events:
        link.send(*pieces)
    return [formatEvent(event) for event in events if event["log_level"] >= LogLevel.warn]


# -- handshake


@pytest.mark.parametrize(("read_only", "rest"), [(True, b"\0"), (False, b"")])
def test_a_session_begins_once_its_beginning_is_on_disk(port: DataPort, read_only: bool, rest: bytes) -> None:
    link = port.connect()
    link.send(handshake(8000, read_only=read_only))
    assert not link.written
    assert not link.reading
    port.settle()
    assert link.welcome() == rest
    assert link.reading
    assert link.timeout_ms == 8000
    assert link.password == password_of(link.session)
    assert port.host.database.sessions == {link.session: 8000}


@pytest.mark.parametrize(("asked", "given"), [(1, 6000), (7000, 7000), (10**6, 60_000), (-1, 6000)])
def test_a_timeout_is_brought_within_bounds(port: DataPort, asked: int, given: int) -> None:
    assert port.session(asked).timeout_ms == given


def test_what_comes_with_the_handshake_waits_for_the_session(port: DataPort) -> None:
    link = port.connect()
    link.send(handshake() + create(1, "/a", b"1") + framed(PING), get_data(2, "/a"))
    assert not link.written
    port.settle()
    link.welcome()
    assert link.replies() == [(1, OK), (-2, OK), (2, OK)]


def test_a_handshake_in_pieces_is_one(port: DataPort) -> None:
    link = port.connect()
    link.send(*[bytes([byte]) for byte in handshake() + framed(PING)])
    port.settle()
    link.welcome()
    assert link.replies() == [(-2, OK)]


def test_a_client_that_has_seen_more_is_turned_away_without_a_reply(port: DataPort) -> None:
    first = port.session()
    link = port.connect()
    with capturedLogs() as events:
        link.send(handshake(zxid=2) + framed(PING))
    assert link.closed
    assert not link.written
    assert any("it has seen zxid 0x2, this server only 0x1" in formatEvent(event) for event in events)
    other = port.connect()
    other.send(handshake(zxid=1, session=first.session, password=first.password))
    other.welcome()
    assert other.session == first.session


# -- order


def test_replies_come_in_the_order_of_requests(port: DataPort) -> None:
    link = port.session()
    link.send(create(1, "/a") + get_data(2, "/a") + create(3, "/a") + get_data(4, "/b") + create(5, "/b"))
    assert not link.written
    port.settle()
    assert link.replies() == [(1, OK), (2, OK), (3, NODE_EXISTS), (4, NO_NODE), (5, OK)]


def test_reads_behind_a_write_see_it(port: DataPort) -> None:
    link = port.session()
    link.send(create(1, "/a", b"old") + set_data(2, "/a", b"new") + get_data(3, "/a"))
    port.settle()
    *_, reply = link.frames()
    assert body_of(reply).startswith(framed(b"new"))


def test_reads_of_others_do_not_wait(port: DataPort) -> None:
    writer, reader = port.session(), port.session()
    writer.send(create(1, "/a") + framed(PING))
    reader.send(get_data(1, "/a") + framed(PING))
    assert reader.replies() == [(1, NO_NODE), (-2, OK)]
    assert not writer.written
    port.settle()
    assert writer.replies() == [(1, OK), (-2, OK)]


def test_an_event_comes_before_the_reply_that_shows_its_effect(port: DataPort) -> None:
    link, other = port.session(), port.session()
    link.send(create(1, "/a"))
    port.settle()
    for watcher in (link, other):
        watcher.send(get_data(2, "/a", watch=True))
    assert other.replies() == [(2, OK)]
    link.frames()
    link.send(set_data(3, "/a", b"x") + get_data(4, "/a"))
    other.send(create(3, "/b") + get_data(4, "/a"))
    port.settle()
    assert [xid for xid, _ in link.replies()] == [EVENT_XID, 3, 4]
    assert [xid for xid, _ in other.replies()] == [EVENT_XID, 3, 4]


# -- pauses


def test_at_the_limit_the_rest_of_a_read_stays_untaken() -> None:
    port = DataPort(global_outstanding_limit=3)
    link, other = port.session(), port.session()
    link.send(b"".join(create(xid, f"/n{xid}") for xid in range(1, 11)))
    assert port.host.service.outstanding == 4
    assert not link.reading
    # Who has nothing waiting is still served.
    other.send(framed(PING))
    assert other.replies() == [(-2, OK)]
    assert other.reading
    for _ in range(3):
        port.settle()
    assert link.replies() == [(xid, OK) for xid in range(1, 11)]
    assert link.reading
    assert port.host.service.outstanding == 0


def test_reads_that_wait_are_bounded_for_each_client(port: DataPort) -> None:
    link = port.session()
    link.send(create(0, "/a") + b"".join(get_data(xid, "/a") for xid in range(1, 501)))
    assert port.host.service.outstanding == CLIENT_WAITING_MAX
    assert not link.reading
    port.settle()
    assert [xid for xid, _ in link.replies()] == list(range(501))
    assert link.reading


def test_requests_of_a_client_that_does_not_read_are_not_taken(port: DataPort) -> None:
    link = port.session()
    link.choke()
    link.send(create(1, "/a"))
    port.settle()
    assert not link.written
    assert "/a" not in port.host.database.tree.nodes
    link.unchoke()
    port.settle()
    assert link.replies() == [(1, OK)]
    assert link.reading


def test_what_is_read_of_a_client_that_does_not_read_is_bounded(port: DataPort) -> None:
    link = port.session()
    link.choke()
    sent = 0
    while link.reading:
        assert sent <= CLIENT_HELD_BYTES_MAX
        link.send(framed(PING))
        sent += len(framed(PING))
    assert sent > CLIENT_HELD_BYTES_MAX
    assert not link.written
    link.unchoke()
    assert link.reading
    assert link.replies() == [(-2, OK)] * (sent // len(framed(PING)))


def test_who_reads_slowly_but_pings_does_not_expire(port: DataPort) -> None:
    link, silent = port.session(4_000), port.session(4_000)
    for client in (link, silent):
        client.choke()
    for _ in range(10):
        port.advance(1_000)
        link.send(framed(PING))
    assert list(port.host.database.sessions) == [link.session]
    link.unchoke()
    assert link.replies() == [(-2, OK)] * 10
    port.advance(2 * link.timeout_ms)
    assert not port.host.database.sessions


def test_who_is_choked_while_its_requests_wait_is_heard_again(port: DataPort) -> None:
    link = port.session(4_000)
    link.send(create(0, "/a") + b"".join(get_data(xid, "/a") for xid in range(1, 501)))
    assert not link.reading
    link.choke()
    port.settle()
    assert link.reading
    for _ in range(10):
        port.advance(1_000)
        link.send(framed(PING))
    assert list(port.host.database.sessions) == [link.session]
    link.unchoke()
    port.settle()
    assert [xid for xid, _ in link.replies()] == [*range(501), *[-2] * 10]


def test_what_a_client_that_never_reads_is_told_is_bounded(port: DataPort) -> None:
    link, writer = port.session(60_000), port.session(60_000)
    link.send(request(1, OpCode.ADD_WATCH, text("/") + (1).to_bytes(4, "big")))
    link.frames()
    link.choke()
    size = 500_000
    writer.send(create(1, "/" + "x" * size))
    port.settle()
    told = 2 * (size + 30)
    with capturedLogs() as events:
        while not link.aborted and told < 2 * CLIENT_BACKLOG_BYTES_MAX:
            assert told <= CLIENT_BACKLOG_BYTES_MAX + size + 50
            writer.send(set_data(2, "/" + "x" * size, b""))
            port.settle()
            told += size + 30
    assert link.aborted
    assert len(link.written) <= CLIENT_BACKLOG_BYTES_MAX + size + 50
    assert sum("does not take what it is told" in formatEvent(event) for event in events) == 1
    link.end()
    assert len(port.host.service.watches) == 0
    # Its session is still there, and so is everybody else's.
    assert len(port.host.database.sessions) == 2
    assert writer.replies()[-1] == (2, OK)


def test_who_is_choked_in_the_middle_of_an_answer_gets_the_rest_later(port: DataPort) -> None:
    link = port.session()
    link.send(create(0, "/a", b"x" * 100_000))
    port.settle()
    link.frames()
    chokes: list[int] = []

    def write(data: bytes) -> None:
        link.written += data
        if len(chokes) < 3:
            chokes.append(len(data))
            link.choke()

    link.write = write  # type: ignore[method-assign]
    link.send(b"".join(get_data(xid, "/a") for xid in range(1, 31)))
    rounds = 0
    while rounds < len(chokes):
        link.unchoke()
        rounds += 1
    assert rounds == 3
    assert max(chokes) < 500_000
    assert [xid for xid, _ in link.replies()] == list(range(1, 31))


# -- sessions


def test_a_second_connection_takes_the_session_over(port: DataPort) -> None:
    first = port.session()
    first.send(create(1, "/e", flags=CreateMode.EPHEMERAL))
    port.settle()
    first.frames()
    second = port.connect()
    second.send(handshake(session=first.session, password=first.password))
    second.welcome()
    assert second.session == first.session
    assert first.closed
    assert not first.written
    second.send(get_data(2, "/e"))
    assert second.replies() == [(2, OK)]
    # The end of the first one is none of the session.
    first.end()
    second.send(framed(PING))
    assert second.replies() == [(-2, OK)]


def test_what_comes_with_the_handshake_of_a_known_session_is_answered(port: DataPort) -> None:
    first = port.session()
    second = port.connect()
    second.send(handshake(session=first.session, password=first.password) + get_data(1, "/"))
    second.welcome()
    assert second.replies() == [(1, OK)]


def test_what_the_first_connection_still_had_under_way_happens_unheard(port: DataPort) -> None:
    first = port.session()
    first.send(create(1, "/a"))
    second = port.connect()
    second.send(handshake(session=first.session, password=first.password))
    second.welcome()
    port.settle()
    assert not first.written
    assert not second.written
    second.send(get_data(1, "/a"))
    assert second.replies() == [(1, OK)]
    assert port.host.service.outstanding == 0


@pytest.mark.parametrize("session", ["its own", 4711])
def test_a_wrong_password_and_an_unknown_session_are_told_so(port: DataPort, session: int | str) -> None:
    first = port.session()
    asked = first.session if isinstance(session, str) else session
    link = port.connect()
    link.send(handshake(session=asked, password=b"\1" * 16))
    assert link.welcome() == b"\0"
    assert not link.written
    assert (link.session, link.timeout_ms, link.password) == (0, 0, bytes(16))
    assert link.closed
    first.send(framed(PING))
    assert first.replies() == [(-2, OK)]


def test_a_session_that_says_nothing_expires_with_its_nodes(port: DataPort) -> None:
    link, other = port.session(6000), port.session(60_000)
    link.send(create(1, "/e", flags=CreateMode.EPHEMERAL))
    port.settle()
    link.frames()
    other.send(get_data(1, "/e", watch=True))
    other.frames()
    port.advance(5000)
    assert not link.closed
    port.advance(3000)
    assert link.closed
    assert not link.written
    assert list(port.host.database.sessions) == [other.session]
    other.send(get_data(2, "/e"))
    assert other.replies() == [(EVENT_XID, OK), (2, NO_NODE)]
    assert port.server.stats.counters["stale_sessions_expired"] == 1


def test_pings_keep_a_session(port: DataPort) -> None:
    link = port.session(6000)
    for _ in range(20):
        port.advance(2000)
        link.send(framed(PING))
    assert len(link.replies()) == 20
    assert not link.closed


def test_a_session_without_a_connection_expires_too(port: DataPort) -> None:
    link = port.session(6000)
    link.end()
    port.advance(5000)
    assert port.host.database.sessions
    port.advance(3000)
    assert not port.host.database.sessions


def test_a_stall_of_ours_is_not_held_against_clients(port: DataPort) -> None:
    talking, silent = port.session(6000), port.session(6000)
    port.reactor.advance(20)
    # What came meanwhile is read behind the clock's call.
    talking.send(framed(PING))
    port.settle()
    assert not talking.closed
    assert not silent.closed
    port.advance(2000)
    assert talking.replies() == [(-2, OK)]
    assert not talking.closed
    assert silent.closed


def test_the_last_request_is_answered_and_ends_the_connection(port: DataPort) -> None:
    link = port.session()
    link.send(create(1, "/e", flags=CreateMode.EPHEMERAL) + CLOSE + create(10, "/late"))
    port.settle()
    assert link.replies() == [(1, OK), (9, OK)]
    assert link.closed
    assert not link.aborted
    assert not port.host.database.sessions
    assert "/e" not in port.host.database.tree.nodes
    assert "/late" not in port.host.database.tree.nodes
    again = port.connect()
    again.send(handshake(session=link.session, password=link.password))
    again.welcome()
    assert again.session == 0


# -- what no client sends


@pytest.mark.parametrize("length", [-1, -(2**31), 0x100000, 2**31 - 1])
def test_a_frame_of_no_length_ends_its_connection_before_memory_is_taken(port: DataPort, length: int) -> None:
    link, other = port.session(), port.session()
    (line,) = warned(link, framed(PING), struct.pack(">i", length))
    assert f"a frame of {length} bytes" in line
    assert link.replies() == [(-2, OK)]
    assert link.closed
    other.send(framed(PING))
    assert other.replies() == [(-2, OK)]
    assert len(port.host.database.sessions) == 2


@pytest.mark.parametrize("size", range(8))
def test_a_frame_without_a_header_ends_its_connection(port: DataPort, size: int) -> None:
    link = port.session()
    (line,) = warned(link, framed(PING), framed(bytes(size)) + create(1, "/never"))
    assert f"a request of {size} bytes" in line
    assert link.replies() == [(-2, OK)]
    assert link.closed
    port.settle()
    assert "/never" not in port.host.database.tree.nodes


def test_a_word_within_a_session_is_named_and_not_answered(port: DataPort) -> None:
    link = port.session()
    (line,) = warned(link, b"ruok")
    assert "the word 'ruok'" in line
    assert link.closed
    assert not link.written


def test_an_operation_that_does_not_exist_is_answered_in_its_turn_and_ends_the_connection(port: DataPort) -> None:
    link = port.session()
    link.send(get_data(1, "/") + create(2, "/a") + get_data(3, "/a") + request(4, 9999) + create(5, "/b"))
    assert link.replies() == [(1, OK)]
    port.settle()
    assert link.replies() == [(2, OK), (3, OK), (4, UNIMPLEMENTED)]
    assert link.closed
    assert port.host.service.outstanding == 0


def test_many_operations_that_do_not_exist_are_answered_once(port: DataPort) -> None:
    link = port.session()
    link.send(request(1, 9999) * 5)
    assert link.replies() == [(1, UNIMPLEMENTED)]
    assert link.closed


def test_a_request_that_nobody_can_read_is_answered_in_its_turn(port: DataPort) -> None:
    link = port.session()
    link.send(create(1, "/a") + request(2, OpCode.CREATE, b"\0\0\0\x7f/") + get_data(3, "/a"))
    port.settle()
    assert link.replies() == [(1, OK), (2, int(ErrorCode.MARSHALLING_ERROR)), (3, OK)]
    assert not link.closed


@pytest.mark.parametrize("scheme", ["nonsense", "", "x509"])
def test_who_fails_to_say_who_he_is_is_told_and_ends_alone(port: DataPort, scheme: str) -> None:
    link, other = port.session(), port.session()
    link.send(request(-4, OpCode.AUTH, bytes(4) + text(scheme) + framed(b"me")) + get_data(1, "/"))
    assert link.replies() == [(-4, int(ErrorCode.AUTH_FAILED))]
    assert link.closed
    other.send(framed(PING))
    assert other.replies() == [(-2, OK)]
    assert not port.failures
    assert "zk_auth_failed_count\t1\n" in port.text("mntr")


# -- the disk


def fail_writes(port: DataPort) -> None:
    def before(operation: str, path: str) -> None:
        if path.rpartition("/")[2].startswith("log."):
            raise OSError(errno.EIO, "Input/output error", path)

    port.disk.before = before


def test_nothing_is_acknowledged_that_the_disk_did_not_take(port: DataPort) -> None:
    link = port.session()
    fail_writes(port)
    link.send(create(1, "/a") + get_data(2, "/a"))
    port.settle()
    assert not link.written
    ((status, reason),) = port.failures
    assert status == 1
    assert "Input/output error" in reason
    # Nor what comes later, whatever became of the disk.
    port.disk.before = lambda operation, path: None
    link.send(create(3, "/b"))
    port.settle()
    assert not link.written
    assert "/b" not in port.host.database.tree.nodes


def test_no_session_begins_on_a_full_disk() -> None:
    port = DataPort()
    port.disk.full = True
    link = port.connect()
    link.send(handshake())
    port.settle()
    assert not link.written
    assert port.failures[0][0] == 1
    assert not port.host.database.sessions


def test_what_was_acknowledged_is_there_after_a_power_cut() -> None:
    port = DataPort()
    link = port.session()
    link.send(create(1, "/kept", b"x") + create(2, "/e", flags=CreateMode.EPHEMERAL))
    port.settle()
    assert link.replies() == [(1, OK), (2, OK)]
    link.send(create(3, "/unheard"))
    port.disk.lose_power()
    reborn = DataPort(disk=port.disk)
    assert "/kept" in reborn.host.database.tree.nodes
    again = reborn.connect()
    again.send(handshake(session=link.session, password=link.password), get_data(1, "/e"))
    again.welcome()
    assert again.replies() == [(1, OK)]
    reborn.advance(20_000)
    assert "/e" not in reborn.host.database.tree.nodes


def test_a_long_frame_in_many_pieces_is_one(port: DataPort) -> None:
    link = port.session()
    whole = create(1, "/long", bytes(300_000)) + get_data(2, "/long")
    link.send(*(whole[start : start + 4096] for start in range(0, len(whole), 4096)))
    port.settle()
    assert link.replies() == [(1, OK), (2, OK)]


def test_a_long_frame_that_ends_with_the_next_ones_beginning(port: DataPort) -> None:
    link = port.session()
    whole = create(1, "/long", bytes(50_000)) + get_data(2, "/long")
    link.send(whole[:100], whole[100:-3], whole[-3:])
    port.settle()
    assert link.replies() == [(1, OK), (2, OK)]
