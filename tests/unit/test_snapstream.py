"""The tree behind a SNAP packet: read in any pieces, bounded, refused where it holds data."""

import struct
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zktw.terms.errors import ProtocolError, WireError
from zktw.terms.limits import ACL_ITEMS_MAX, SNAPSHOT_BYTES_MAX
from zktw.wire.jute import ByteFeed
from zktw.wire.snapstream import (
    CONFIG_NODE,
    FRESH_NODES,
    SNAPSHOT_FRAME_BYTES,
    SnapStreamParser,
    fresh_snapshot_body,
    fresh_snapshot_stream,
)

LENGTH_MAX = 2 * 0xFFFFF
BODY = fresh_snapshot_body(b"server.1=h:2888:3888:participant\nversion=0")
SIGNATURE = struct.pack(">i", 10) + b"BenWasHere"
STAT = bytes(60)
# No sessions, no lists.
NO_LISTS = bytes(8)


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">i", len(data)) + data


def node(path: str, data: bytes = b"") -> bytes:
    return text(path) + struct.pack(">i", len(data)) + data + struct.pack(">q", -1) + STAT


def parse(stream: bytes) -> bytes | None:
    feed = ByteFeed()
    feed.feed(stream)
    return SnapStreamParser(LENGTH_MAX).advance(feed)


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


@given(cuts=st.lists(st.integers(0, len(BODY + SIGNATURE)), max_size=12), rest=st.binary(max_size=20))
def test_any_pieces_give_the_same_tree_and_leave_what_follows(cuts: list[int], rest: bytes) -> None:
    feed = ByteFeed()
    parser = SnapStreamParser(LENGTH_MAX)
    arrived = 0
    tree = None
    for piece in pieces_of(BODY + SIGNATURE + rest, cuts):
        feed.feed(piece)
        arrived += len(piece)
        if tree is None:
            tree = parser.advance(feed)
            assert (tree is not None) == (arrived >= len(BODY + SIGNATURE)), "no sooner and no later than it is whole"
    assert tree == BODY
    assert feed.rest() == rest


def test_one_byte_at_a_time() -> None:
    feed = ByteFeed()
    parser = SnapStreamParser(LENGTH_MAX)
    stream = fresh_snapshot_stream()
    for at in range(len(stream)):
        feed.feed(stream[at : at + 1])
        answer = parser.advance(feed)
        assert (answer is None) == (at < len(stream) - 1)
    assert answer == fresh_snapshot_body()


def test_nothing_is_parsed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is cut, each byte is taken once."""
    taken = 0
    read = ByteFeed.read

    def counting(self: ByteFeed, count: int):  # type: ignore[no-untyped-def]  # a generator, passed through
        nonlocal taken
        data = yield from read(self, count)
        taken += len(data)
        return data

    monkeypatch.setattr(ByteFeed, "read", counting)
    feed = ByteFeed()
    parser = SnapStreamParser(LENGTH_MAX)
    for byte in fresh_snapshot_stream():
        feed.feed(bytes([byte]))
        parser.advance(feed)
    assert taken == len(fresh_snapshot_stream())


class TestFresh:
    def test_the_fresh_tree(self) -> None:
        assert parse(fresh_snapshot_stream()) == fresh_snapshot_body()

    @pytest.mark.parametrize("data", [b"", b"version=100000000", bytes(500_000)])
    def test_the_configuration_may_hold_text(self, data: bytes) -> None:
        body = fresh_snapshot_body(data)
        assert parse(body + SIGNATURE) == body

    def test_null_data_is_none(self) -> None:
        body = NO_LISTS + text("") + struct.pack(">iq", -1, -1) + STAT + text("/")
        assert parse(body + SIGNATURE) == body


class TestData:
    """The stream is left open behind the node: it is refused as soon as it is seen."""

    @pytest.mark.parametrize("path", ["/app", "/zookeeper/quota/app", "/zookeeper/configs", "/zookeeper2"])
    def test_a_node_more(self, path: str) -> None:
        with pytest.raises(ProtocolError, match=rf"^the tree holds '{path}', and this release carries no data$"):
            parse(NO_LISTS + node("") + node(path))

    @pytest.mark.parametrize("path", [path for path in FRESH_NODES if path != CONFIG_NODE])
    def test_data_in_a_node_of_the_fresh_tree(self, path: str) -> None:
        with pytest.raises(ProtocolError, match=rf"^the node '{path or '/'}' holds data"):
            parse(NO_LISTS + (node("") if path else b"") + node(path, b"x"))

    def test_a_session(self) -> None:
        with pytest.raises(ProtocolError, match=r"^the tree holds 3 session\(s\)"):
            parse(struct.pack(">i", 3))

    def test_a_long_path_is_not_repeated_in_full(self) -> None:
        with pytest.raises(ProtocolError) as caught:
            parse(NO_LISTS + node("") + node("/" + "x" * 100_000))
        assert len(str(caught.value)) < 200


class TestNoTree:
    @pytest.mark.parametrize(
        ("stream", "reason"),
        [
            (struct.pack(">i", -1), "-1 sessions"),
            (struct.pack(">ii", 0, -5), "-5 access control lists"),
            (struct.pack(">iiqi", 0, 1, 1, -1), "-1 entries"),
            (struct.pack(">iiqi", 0, 1, 1, ACL_ITEMS_MAX + 1), f"{ACL_ITEMS_MAX + 1} entries"),
            (struct.pack(">iiqiii", 0, 1, 1, 1, 31, LENGTH_MAX + 1), "unreasonable length"),
            (NO_LISTS + struct.pack(">i", LENGTH_MAX + 1), "unreasonable length"),
            (NO_LISTS + struct.pack(">i", -2), "unreasonable length -2"),
            (NO_LISTS + struct.pack(">i", -1), "without a path"),
            (NO_LISTS + text("") + struct.pack(">i", 2**31 - 1), "unreasonable length"),
            (NO_LISTS + text("/"), "begins with '/' instead of its root"),
            (NO_LISTS + text("/zookeeper"), "begins with '/zookeeper' instead"),
            (BODY + text("BenWasThere"), "unreasonable length 11"),
            (BODY + text("BenWasHerE"), "ends with 'BenWasHerE'"),
            (BODY + struct.pack(">i", -1), "ends with None"),
        ],
    )
    def test_what_is_none_is_refused_at_its_first_wrong_byte(self, stream: bytes, reason: str) -> None:
        with pytest.raises(WireError) as caught:
            parse(stream)
        assert reason in str(caught.value)

    @given(stream=st.binary(max_size=300))
    def test_noise_ends_or_waits(self, stream: bytes) -> None:
        with suppress(WireError, ProtocolError):
            assert parse(stream) is None

    def test_a_tree_given_up_is_never_taken_for_a_whole_one(self) -> None:
        feed = ByteFeed()
        parser = SnapStreamParser(LENGTH_MAX)
        feed.feed(NO_LISTS + node("") + node("/app"))
        with pytest.raises(ProtocolError):
            parser.advance(feed)
        with pytest.raises(AssertionError):
            parser.advance(feed)

    @pytest.mark.parametrize(
        ("opening", "repeated"),
        [
            (struct.pack(">ii", 0, 2**31 - 1), struct.pack(">qi", 1, 0)),
            (NO_LISTS, node("")),
            (NO_LISTS + node(""), node(CONFIG_NODE, bytes(10_000))),
        ],
        ids=["lists", "roots", "configurations"],
    )
    def test_a_tree_without_end_is_refused_before_it_fills_memory(self, opening: bytes, repeated: bytes) -> None:
        feed = ByteFeed()
        parser = SnapStreamParser(LENGTH_MAX)
        feed.feed(opening)
        block = repeated * (65536 // len(repeated) + 1)
        fed = len(opening)
        while fed + len(block) < SNAPSHOT_BYTES_MAX - SNAPSHOT_FRAME_BYTES:
            feed.feed(block)
            fed += len(block)
            assert parser.advance(feed) is None
        feed.feed(2 * block)
        with pytest.raises(ProtocolError, match=rf"^the tree has over {SNAPSHOT_BYTES_MAX} bytes"):
            parser.advance(feed)

    def test_one_that_ends_beyond_the_bound_is_refused_too(self) -> None:
        """Else it would be written, and refused at the next start."""
        room = SNAPSHOT_BYTES_MAX - SNAPSHOT_FRAME_BYTES - len(fresh_snapshot_body())
        assert parse(fresh_snapshot_body(bytes(room)) + SIGNATURE) is not None
        with pytest.raises(ProtocolError, match="bytes"):
            parse(fresh_snapshot_body(bytes(room + 1)) + SIGNATURE)
