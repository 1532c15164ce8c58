"""The client port at its very bounds: the shortest and longest first frame, and each line of the log, spelt out."""

import pytest
from clientport import TIMEOUT_MS, ClientPort
from twisted.logger import LogLevel, capturedLogs, formatEvent

from zktw.net.clientfactory import QUIET_MS

FIELDS = bytes.fromhex("000000000000000000000000000027100000000000000000")


def frame(length: int) -> bytes:
    """A ConnectRequest of so many bytes, without a password and with bytes behind it that nobody reads."""
    return length.to_bytes(4, "big") + (FIELDS + b"\xff\xff\xff\xff").ljust(length, b"\0")


@pytest.mark.parametrize(("length", "taken"), [(27, False), (28, True), (1024, True), (1025, False)])
def test_a_first_frame_has_28_to_1024_bytes(length: int, taken: bool) -> None:
    port = ClientPort()
    link = port.connected()
    with capturedLogs() as events:
        link.send(frame(length))
    (event,) = events
    assert event["log_level"] == (LogLevel.info if taken else LogLevel.warn)
    assert port.service.counts.get("cnxn_closed_without_zk_server_running", 0) == taken
    assert link.closed
    assert not link.written
    if not taken:
        reason = f"a first frame of {length} bytes (28 to 1024) is no client's"
        assert formatEvent(event) == f"closing client connection of /192.0.2.1:40001: {reason}"


def test_one_that_is_turned_away_is_told_by_its_session() -> None:
    lines = []
    for session in (0, -1):
        with capturedLogs() as events:
            ClientPort().connected().send(frame(28)[:20] + session.to_bytes(8, "big", signed=True) + b"\xff" * 4)
        lines += [formatEvent(event) for event in events]
    head = "closing client connection of /192.0.2.1:40001: sessions are not served here yet"
    assert lines == [f"{head} (a new one)", f"{head} (it has session 0xffffffffffffffff)"]


def test_silent_ones_share_a_line_of_the_log() -> None:
    port = ClientPort()
    with capturedLogs() as events:
        for _ in range(3):
            port.connected()
        port.reactor.advance(TIMEOUT_MS / 1000)
        for cnxn in list(port.factory.connections()):
            port.factory.closed(cnxn)
        port.connected()
        port.reactor.advance(max(TIMEOUT_MS, QUIET_MS) / 1000)
    first, last = ((event["log_level"], formatEvent(event)) for event in events)
    text = "closing client connection of /192.0.2.1:{}: nothing whole came from it in 10000 ms"
    assert first == (LogLevel.info, text.format(40001))
    assert last == (LogLevel.info, text.format(40004) + " (and 2 more since the last such line)")


def test_a_mask_that_is_refused_is_a_packet_too() -> None:
    port = ClientPort()
    port.service.stmk_refusal = b"no\n"
    link = port.connected()
    link.send(b"stmk")
    assert (port.service.received, port.service.sent) == (1, 1)
    assert link.cnxn is not None
    assert link.cnxn.received == 1
