"""Streams of sound and unsound frames, cut anywhere, before a client port with a data service and a slow disk.

How a stream arrives, when the disk writes and whether the client reads makes no difference to what it is answered; a
neighbour is served all the while, and nothing stays behind. ZKTW_FUZZ_EXAMPLES sets how many are tried (CI: a few).
"""

import os
import struct

from dataport import OPEN_ACL, PING, DataLink, DataPort, create, framed, get_data, request, set_data, text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import LogLevel, capturedLogs

from zktw.terms.codes import OpCode

EXAMPLES = int(os.environ.get("ZKTW_FUZZ_EXAMPLES", 60))
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
EVENT_XID = -1

paths = st.sampled_from(["/a", "/a/b", "/zookeeper", "/none", "/", "//", "", "/\0"])
xids = st.integers(1, 9)
multis = st.builds(
    lambda xid, path, count, end: request(
        xid,
        OpCode.MULTI,
        (struct.pack(">i?i", OpCode.SET_DATA, False, -1) + text(path) + framed(b"m") + b"\xff" * 4) * count
        + (b"\xff\xff\xff\xff\x01\xff\xff\xff\xff" if end else b""),
    ),
    xids,
    paths,
    st.integers(0, 3),
    st.booleans(),
)
sound = st.one_of(
    st.builds(lambda xid, path, flags: create(xid, path, b"1", flags), xids, paths, st.integers(0, 4)),
    st.builds(lambda xid, path, size: set_data(xid, path, bytes(size)), xids, paths, st.sampled_from([0, 10, 5000])),
    st.builds(lambda xid, path, watch: get_data(xid, path, watch=watch), xids, paths, st.booleans()),
    st.builds(lambda xid, path: request(xid, OpCode.DELETE, text(path) + b"\xff" * 4), xids, paths),
    st.builds(lambda xid, path: request(xid, OpCode.EXISTS, text(path) + b"\1"), xids, paths),
    multis,
    st.just(framed(PING)),
)
# No auth: it is answered at once, before what waits. Bodies that end too early, and what ends a connection.
unsound = st.one_of(
    st.builds(lambda frame, cut: framed(frame[4 : max(len(frame) - cut, 12)]), sound, st.integers(1, 9)),
    st.builds(lambda frame, cut: framed(frame[4 : max(len(frame) - cut, 12)]), sound, st.integers(1, 9)),
    st.builds(lambda xid: request(xid, OpCode.CREATE, text("/x") + b"\x7f\xff\xff\xff" + OPEN_ACL), xids),
)
ends = st.one_of(
    st.builds(lambda xid, op: request(xid, op), xids, st.sampled_from([0, 99, 13, -1, OpCode.CLOSE_SESSION])),
    st.sampled_from([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x10\x00\x01", framed(b""), framed(b"\0" * 7)]),
    st.binary(min_size=1, max_size=30),
)
streams = st.builds(
    lambda frames, end, more: b"".join(frames) + end + b"".join(more),
    st.lists(st.one_of(sound, sound, sound, unsound), max_size=14),
    st.one_of(st.just(b""), ends),
    st.lists(sound, max_size=4),
)
# Between two pieces: nothing, the disk writes, the client stops to read, it reads again, time goes by.
pauses = st.sampled_from(["", "", "disk", "choke", "unchoke", "time"])
arrivals = st.lists(st.tuples(st.integers(1, 60), pauses), min_size=1, max_size=12)


def played(port: DataPort, stream: bytes, arrival: list[tuple[int, str]]) -> tuple[DataLink, list[tuple[int, int]]]:
    """The client at the end, and what it was answered, events left out."""
    link = port.session()
    at = turn = 0
    # In at most some hundred pieces, so that no session expires in between.
    scale = 1 + len(stream) // 200
    choked = False
    while at < len(stream) and not link.closed:
        size, pause = arrival[turn % len(arrival)]
        link.send(stream[at : at + size * scale])
        at, turn = at + size * scale, turn + 1
        match pause:
            case "disk":
                port.settle()
            case "time":
                port.advance(20)
            case "choke" if not choked and not link.closed:
                link.choke()
                choked = True
            case "unchoke" if choked and not link.closed:
                link.unchoke()
                choked = False
    if choked and not link.closed:
        link.unchoke()
    port.settle()
    return link, [(xid, err) for xid, err in link.replies() if xid != EVENT_XID]


@fuzz
@given(streams, arrivals)
def test_how_a_stream_arrives_makes_no_difference(stream: bytes, arrival: list[tuple[int, str]]) -> None:
    with capturedLogs() as events:
        whole, at_once = played(DataPort(), stream, [(len(stream) or 1, "")])
        port = DataPort()
        neighbour = port.session()
        cut, in_pieces = played(port, stream, arrival)
    assert cut.closed == whole.closed
    if whole.closed:
        # What was still on its way to the disk when the connection had to end is chance.
        shorter, longer = sorted((at_once, in_pieces), key=len)
        assert longer[: len(shorter)] == shorter
    else:
        assert in_pieces == at_once
    assert all(event["log_level"] != LogLevel.critical for event in events)
    assert port.failures == []
    neighbour.send(set_data(1, "/zookeeper", b"n"), framed(PING))
    port.settle()
    assert [reply for reply in neighbour.replies() if reply[0] != EVENT_XID] == [(1, 0), (-2, 0)]


@fuzz
@given(streams, arrivals, st.booleans())
def test_nothing_stays_behind(stream: bytes, arrival: list[tuple[int, str]], aborted: bool) -> None:
    port = DataPort()
    link, _ = played(port, stream, arrival)
    if not link.closed:
        # In the middle of things.
        link.send(set_data(1, "/zookeeper", b"n") + get_data(2, "/") + framed(PING)[:5])
    link.aborted = aborted
    link.end()
    port.settle()
    service = port.host.service
    assert service.outstanding == 0
    assert service.clients == {}
    port.advance(30_000)
    # Its session ends when it expires, and takes its nodes along.
    assert service.tracker.sessions == {}
    assert port.host.database.sessions == {}
    assert port.host.database.tree.ephemerals == {}
    assert port.failures == []
