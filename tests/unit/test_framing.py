"""Frames out of a stream: the same however it is cut, and none of a length that is out of bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zktw.terms.errors import WireError
from zktw.wire.framing import FrameSplitter

MIN, MAX = 1, 40
FRAMES = st.lists(st.binary(min_size=MIN, max_size=MAX), max_size=8)


def framed(*frames: bytes) -> bytes:
    """Each with its length in front."""
    return b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)


@given(FRAMES, st.binary(max_size=3), st.lists(st.integers(0, 300), max_size=10))
def test_frames_are_the_same_however_the_stream_is_cut(frames: list[bytes], rest: bytes, cuts: list[int]) -> None:
    data = framed(*frames) + rest
    splitter = FrameSplitter(MIN, MAX)
    places = sorted(min(place, len(data)) for place in cuts)
    found = []
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        found += splitter.feed(data[start:end])
    assert found == frames
    assert splitter.waiting == len(rest)


@given(FRAMES)
def test_a_frame_is_there_with_its_last_byte(frames: list[bytes]) -> None:
    splitter = FrameSplitter(MIN, MAX)
    for frame in frames:
        data = framed(frame)
        for at in range(len(data) - 1):
            assert splitter.feed(data[at : at + 1]) == []
        assert splitter.waiting == len(data) - 1
        assert splitter.feed(data[-1:]) == [frame]
        assert splitter.waiting == 0


@pytest.mark.parametrize("length", [-(2**31), -1, 0, MAX + 1, 2**31 - 1])
def test_a_length_out_of_bounds_is_refused_before_the_frame_arrives(length: int) -> None:
    splitter = FrameSplitter(MIN, MAX)
    prefix = length.to_bytes(4, "big", signed=True)
    assert splitter.feed(prefix[:3]) == []
    with pytest.raises(WireError, match=rf"^a frame of {length} bytes \({MIN} to {MAX}\)$"):
        splitter.feed(prefix[3:])


def test_a_bad_length_behind_a_good_frame_is_refused() -> None:
    splitter = FrameSplitter(MIN, MAX)
    with pytest.raises(WireError):
        splitter.feed(framed(b"good") + (MAX + 1).to_bytes(4, "big"))


@pytest.mark.parametrize("length", [MIN, MAX])
def test_the_bounds_themselves_are_allowed(length: int) -> None:
    assert FrameSplitter(MIN, MAX).feed(framed(b"x" * length)) == [b"x" * length]


def test_an_empty_frame_is_a_frame_where_it_is_allowed() -> None:
    assert FrameSplitter(0, MAX).feed(framed(b"", b"a", b"")) == [b"", b"a", b""]


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_any_bytes_are_split_or_refused_and_what_waits_is_bounded(chunks: list[bytes]) -> None:
    splitter = FrameSplitter(MIN, MAX)
    for chunk in chunks:
        try:
            frames = splitter.feed(chunk)
        except WireError:
            return
        assert all(MIN <= len(frame) <= MAX for frame in frames)
        assert splitter.waiting < 4 + MAX
