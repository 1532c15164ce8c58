"""The client port: words, first frames, limits, silence, and what the log says of each."""

import re
from itertools import accumulate

import pytest
from clientport import TIMEOUT_MS, ClientPort, Link, Service
from twisted.internet.address import IPv6Address
from twisted.logger import LogLevel, capturedLogs, formatEvent

from zktw.net.clientfactory import QUIET_MS
from zktw.net.hosts import java_host
from zktw.terms.limits import CONNECT_REQUEST_BYTES_MAX, CONNECT_REQUEST_BYTES_MIN

CONNECT = bytes.fromhex("00000000000000000000000000002710000000000000000000000010" + "00" * 16 + "00")
FRAMED = len(CONNECT).to_bytes(4, "big") + CONNECT


def warned(link: Link, *pieces: bytes) -> list[str]:
    """What the log says, from warnings up, of a client that sends this."""
    with capturedLogs() as events:
        link.send(*pieces)
    return [formatEvent(event) for event in events if event["log_level"] >= LogLevel.warn]


# -- words


@pytest.mark.parametrize(
    "pieces", [[b"ruok"], [b"ruok\r\n"], [b"r", b"u", b"o", b"k", b"\r\n"], [b"ruokruok", b"ruok"]]
)
def test_a_word_is_answered_once_however_it_comes(pieces: list[bytes]) -> None:
    port = ClientPort()
    link = port.connected()
    assert warned(link, *pieces) == []
    assert link.written == b"imok"
    assert link.closed
    assert not link.aborted
    assert (port.service.received, port.service.sent) == (1, 1)
    # What comes behind the piece that made the word whole is not looked at, nor counted.
    counted = next(count for count in accumulate(map(len, pieces)) if count >= len(b"ruok"))
    assert port.service.counts["bytes_received_count"] == counted


def test_what_comes_behind_a_word_is_not_kept() -> None:
    link = ClientPort().connected()
    link.send(b"ruok", *[b"x" * 65536] * 100)
    assert link.written == b"imok"
    assert link.cnxn is not None
    assert len(link.cnxn._start) == 0


def test_three_bytes_are_no_word_yet() -> None:
    link = ClientPort().connected()
    link.send(b"ruo")
    assert not link.written
    assert not link.closed


def test_a_mask_follows_its_word() -> None:
    port = ClientPort()
    link = port.connected()
    link.send(b"stmk\x00\x00", b"\x00\x00\x00\x00\x01")
    assert not link.closed
    link.send(b"\x32more")
    assert port.service.masks == [0x132]
    assert link.written == b"306"
    assert link.closed
    assert (port.service.received, port.service.sent) == (1, 1)


def test_a_mask_may_be_negative() -> None:
    port = ClientPort()
    port.connected().send(b"stmk" + b"\xff" * 8)
    assert port.service.masks == [-1]


def test_a_mask_that_is_not_allowed_is_not_waited_for() -> None:
    port = ClientPort()
    port.service.stmk_refusal = b"no\n"
    link = port.connected()
    link.send(b"stmk")
    assert link.written == b"no\n"
    assert link.closed
    assert port.service.masks == []


def test_a_telnet_that_ends_is_a_word_without_an_answer() -> None:
    port = ClientPort()
    link = port.connected()
    assert warned(link, b"\xff\xf4\xff\xfd\x06") == []
    assert port.service.asked == ["telnet close"]
    assert not link.written
    assert link.closed
    assert (port.service.received, port.service.sent) == (1, 0)


def test_a_word_shows_its_own_connection_as_one_that_is_not_read() -> None:
    port = ClientPort()
    shown: list[tuple[str, bool, int, int]] = []

    class Showing(Service):
        def answer(self, word: str) -> bytes:
            shown.extend((c.peer, c.is_reading, c.received, c.sent) for c in port.factory.connections())
            return super().answer(word)

    port.factory.service = Showing()
    port.connected("192.0.2.9")
    port.connected().send(b"ruok")
    assert shown == [("/192.0.2.9:40001", True, 0, 0), ("/192.0.2.1:40002", False, 1, 0)]


# -- first frames


@pytest.mark.parametrize("pieces", [[FRAMED], [FRAMED[:4], FRAMED[4:]], [bytes([byte]) for byte in FRAMED]])
def test_a_client_is_turned_away_without_a_reply(pieces: list[bytes]) -> None:
    port = ClientPort()
    link = port.connected()
    assert warned(link, *pieces) == []
    assert not link.written
    assert link.closed
    assert port.service.counts["cnxn_closed_without_zk_server_running"] == 1
    assert port.service.received == 1


def test_a_client_is_not_turned_away_before_its_frame_is_whole() -> None:
    link = ClientPort().connected()
    link.send(FRAMED[:-1])
    assert not link.closed


def test_clients_that_are_turned_away_share_a_line_of_the_log() -> None:
    port = ClientPort()
    with capturedLogs() as events:
        for _ in range(50):
            port.connected().send(FRAMED)
        port.reactor.advance(QUIET_MS / 1000)
        port.connected().send(FRAMED)
    first, last = (formatEvent(event) for event in events if "sessions are not served" in formatEvent(event))
    assert "/192.0.2.1:40001" in first
    assert "50 more" not in first
    assert last.endswith("(and 49 more since the last such line)")


FOREIGN = {
    b"GET / HTTP/1.1\r\n": "HTTP request (GET...)",
    b"POST /commands": "HTTP request (POST...)",
    b"HEAD / HTTP/1.0\r\n\r\n": "HTTP request (HEAD...)",
    b"PRI * HTTP/2.0\r\n\r\n": "HTTP request (PRI...)",
    b"\x16\x03\x01\x02\x00\x01\x00": "TLS handshake",
    b"\x00\x00\x00\x00": "first frame of 0 bytes",
    (CONNECT_REQUEST_BYTES_MIN - 1).to_bytes(4, "big"): "first frame of 27 bytes",
    (CONNECT_REQUEST_BYTES_MAX + 1).to_bytes(4, "big"): "first frame of 1025 bytes",
    b"\x7f\xff\xff\xff": "first frame of 2147483647 bytes",
    b"\xff\xff\xff\xff": "first frame of -1 bytes",
    b"RUOK": "first frame of 1381322571 bytes",
    # A password that would reach beyond the frame.
    FRAMED[:28] + b"\x00\x00\x00\x40" + FRAMED[32:]: "",
}


@pytest.mark.parametrize("data", FOREIGN)
def test_what_is_none_of_a_client_ends_with_one_line(data: bytes) -> None:
    port = ClientPort()
    link, other = port.connected("198.51.100.7"), port.connected()
    (line,) = warned(link, data)
    assert "/198.51.100.7:40001" in line
    assert FOREIGN[data] in line
    assert "\n" not in line
    assert link.closed
    assert not link.written
    with capturedLogs() as events:
        link.end()
    assert events == []
    other.send(b"ruok")
    assert other.written == b"imok"


def test_a_smaller_bound_of_frames_holds_for_the_first_too() -> None:
    link = ClientPort(frame_bytes_max=40).connected()
    (line,) = warned(link, FRAMED)
    assert "first frame of 45 bytes (28 to 40)" in line


def test_a_connection_that_ends_within_a_frame_is_named() -> None:
    link = ClientPort().connected()
    link.send(FRAMED[:20])
    with capturedLogs() as events:
        link.end()
    (event,) = events
    assert event["log_level"] == LogLevel.warn
    assert "after 20 bytes" in formatEvent(event)


def test_one_that_only_looks_whether_the_port_is_open_is_not() -> None:
    link = ClientPort().connected()
    with capturedLogs() as events:
        link.end()
    assert events == []


# -- limits


def test_an_address_has_so_many_connections() -> None:
    port = ClientPort(max_client_cnxns=2)
    first, _ = port.connected(), port.connected()
    with capturedLogs() as events:
        assert port.connect() is None
        assert port.connect() is None
    (event,) = events
    assert event["log_level"] == LogLevel.warn
    assert re.search(r"192\.0\.2\.1.*2 connections \(maxClientCnxns\)", formatEvent(event))
    assert port.service.counts["connection_rejected"] == 2
    assert port.connect("192.0.2.2") is not None
    first.end()
    assert port.connect() is not None
    assert port.connect() is None


def test_all_addresses_have_so_many_connections() -> None:
    port = ClientPort(max_cnxns=3)
    links = [port.connected(f"192.0.2.{number}") for number in range(3)]
    with capturedLogs() as events:
        assert port.connect("192.0.2.9") is None
    assert "maxCnxns" in formatEvent(events[0])
    links[1].end()
    assert port.connect("192.0.2.9") is not None


def test_a_limit_of_nothing_is_none() -> None:
    port = ClientPort(max_client_cnxns=0, max_cnxns=0)
    assert all(port.connect() is not None for _ in range(500))
    assert len(port.factory) == 500


def test_what_is_counted_is_forgotten() -> None:
    port = ClientPort(max_client_cnxns=10)
    for _ in range(100):
        port.connected().end()
    assert len(port.factory) == 0
    assert port.factory._by_host == {}
    assert port.reactor.getDelayedCalls() == []


def test_a_connection_that_ends_twice_is_counted_once() -> None:
    port = ClientPort(max_client_cnxns=2)
    first, _ = port.connected(), port.connected()
    first.end()
    first.end()
    assert port.connect() is not None
    assert port.connect() is None


# -- silence


def test_a_connection_that_says_nothing_is_closed_in_time() -> None:
    port = ClientPort()
    silent = port.connected()
    port.reactor.advance(5)
    later = port.connected()
    port.reactor.advance(4.75)
    assert not silent.closed
    port.reactor.advance(0.25)
    assert silent.closed
    assert not later.closed
    assert port.service.counts["sessionless_connections_expired"] == 1
    silent.end()
    port.reactor.advance(5)
    assert later.closed


@pytest.mark.parametrize("data", [b"ru", b"stmk\x00\x00", FRAMED[:10]])
def test_bytes_that_drip_in_do_not_move_the_deadline(data: bytes) -> None:
    port = ClientPort()
    link = port.connected()
    for byte in data:
        link.send(bytes([byte]))
        port.reactor.advance(TIMEOUT_MS / 1000 / len(data))
    assert link.closed


def test_an_answer_that_is_not_taken_is_not_kept() -> None:
    port = ClientPort()
    link = port.connected()
    port.reactor.advance(9)
    link.send(b"ruok")
    port.reactor.advance(9.5)
    assert not link.aborted
    port.reactor.advance(0.5)
    assert link.aborted


def test_a_silent_client_that_does_not_go_is_cut_off() -> None:
    port = ClientPort()
    link = port.connected()
    port.reactor.advance(10)
    assert link.closed
    assert not link.aborted
    port.reactor.advance(10)
    assert link.aborted


def test_no_timer_runs_for_nobody() -> None:
    port = ClientPort()
    assert port.reactor.getDelayedCalls() == []
    links = [port.connected() for _ in range(20)]
    assert len(port.reactor.getDelayedCalls()) == 1
    for link in links:
        link.end()
    assert port.reactor.getDelayedCalls() == []


def test_one_timer_serves_all_deadlines() -> None:
    port = ClientPort()
    links = []
    for _ in range(40):
        links.append(port.connected())
        port.reactor.advance(1)
        for link in links:
            if link.closed:
                link.end()
        assert len(port.reactor.getDelayedCalls()) == 1
    assert [link.closed for link in links] == [True] * 31 + [False] * 9


# -- the rest


@pytest.mark.parametrize("keepalive", [False, True])
def test_keepalive_is_set_as_configured(keepalive: bool) -> None:
    assert ClientPort(keepalive=keepalive).connected().keepalive is keepalive


def test_when_the_server_stops_every_connection_ends() -> None:
    port = ClientPort()
    links = [port.connected() for _ in range(3)]
    links[0].send(b"ruok")
    port.factory.close_all()
    assert all(link.closed for link in links)
    assert not any(link.aborted for link in links)
    assert links[0].written == b"imok"


def test_counts_of_connections_are_reset() -> None:
    port = ClientPort()
    link = port.connected()
    link.send(b"ruok")
    assert link.cnxn is not None
    link.cnxn.reset_stats()
    assert (link.cnxn.received, link.cnxn.sent) == (0, 0)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::1", "[0:0:0:0:0:0:0:1]"),
        ("2001:db8::a:0", "[2001:db8:0:0:0:0:a:0]"),
        ("fe80::1%eth0", "[fe80:0:0:0:0:0:0:1]"),
        ("no:address", "[no:address]"),
    ],
)
def test_addresses_are_shown_as_apache_shows_them(host: str, shown: str) -> None:
    assert java_host(host) == shown


def test_a_client_by_ipv4_is_that_on_a_socket_of_ipv6_too() -> None:
    port = ClientPort(max_client_cnxns=1)
    link = port.connected("::ffff:192.0.2.1")
    assert link.cnxn is not None
    assert link.cnxn.host == "192.0.2.1"
    assert link.cnxn.peer.startswith("/192.0.2.1:")
    assert port.connect("192.0.2.1") is None
    assert port.connect("::ffff:192.0.2.1") is None
    assert port.connect("::ffff:c000:201") is not None, "no address that a system shows so"


def test_a_client_by_ipv6_is_counted_by_its_address() -> None:
    port = ClientPort(max_client_cnxns=1)
    assert port.factory.buildProtocol(IPv6Address("TCP", "::1", 1)) is not None
    assert port.connect("::1") is not None
    assert port.factory.buildProtocol(IPv6Address("TCP", "::1", 2)) is None
