"""Arbitrary bytes in arbitrary pieces on the client port: no exception, bounded memory, and neighbours undisturbed."""

from clientport import ClientPort, Link
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel, capturedLogs

from zktw.terms.limits import CONNECT_REQUEST_BYTES_MAX

STARTS = st.sampled_from(
    [b"", b"ruok", b"stmk", b"\xff\xf4\xff\xfd", b"GET ", b"\x16\x03\x01", b"\x00\x00\x00\x2d", b"\x00\x00\x04\x00"]
)
LENGTHS = st.integers(0, 60).map(lambda length: length.to_bytes(4, "big"))
STREAMS = st.builds(lambda start, rest: start + rest, STARTS | LENGTHS, st.binary(max_size=1200))


@st.composite
def pieces(draw: st.DrawFn) -> list[bytes]:
    """A stream, cut anywhere."""
    data = draw(STREAMS)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if begin < end]


def outcome(link: Link, chunks: list[bytes]) -> tuple[bytes, bool, list[tuple[str, LogLevel]]]:
    """What the client saw, and what kind of lines the log has."""
    with capturedLogs() as events:
        link.send(*chunks)
        if link.closed:
            link.end()
    return link.written, link.closed, [(event["log_format"], event["log_level"]) for event in events]


@given(pieces())
def test_no_bytes_do_harm(chunks: list[bytes]) -> None:
    port = ClientPort()
    link, neighbour = port.connected(), port.connected("192.0.2.2")
    _, closed, events = outcome(link, chunks)
    assert all(level != LogLevel.critical for _, level in events)
    # One connection, one reason.
    assert len(events) <= 1
    assert len(port.factory) == (1 if closed else 2)
    neighbour.send(b"ruok")
    assert neighbour.written == b"imok"


@given(pieces())
def test_it_makes_no_difference_how_a_stream_is_cut(chunks: list[bytes]) -> None:
    port = ClientPort()
    assert outcome(port.connected(), chunks) == outcome(port.connected(), [b"".join(chunks)])


@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=30), STARTS | LENGTHS)
def test_what_is_kept_of_a_client_is_bounded(chunks: list[bytes], start: bytes) -> None:
    port = ClientPort()
    link = port.connected()
    link.send(*([start] if start else []))
    for chunk in chunks:
        link.send(chunk)
        assert link.cnxn is not None
        # One piece of the transport may be more than the bound; it is looked at and forgotten.
        assert len(link.cnxn._start) < 4 + CONNECT_REQUEST_BYTES_MAX
    port.reactor.advance(60)
    assert link.closed
