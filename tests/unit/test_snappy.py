"""Snappy: its stream and blocks, ours and those that a real compressor makes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zktw.storage.snappy import BLOCK_BYTES, STREAM_HEADER, StreamDecoder, decode_block, encode_blocks
from zktw.terms.errors import WireError

# What Java's SnappyOutputStream makes of REPEATING.
BY_JAVA = bytes.fromhex(
    "82534e415050590000000001000000010000007adc01282f6170702f6e6f64652d30110100314a1400003205141c6f746865"
    "72616263fe03005a0300f04f000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425"
    "262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f"
)
REPEATING = b"/app/node-0000000001/app/node-0000000002/app/other" + b"abc" * 30 + bytes(range(80))


def stream(data: bytes) -> bytes:
    return STREAM_HEADER + b"".join(encode_blocks(data))


@given(data=st.binary(max_size=300), times=st.integers(1, 400), piece=st.integers(1, 70_000))
def test_what_is_packed_comes_out_again(data: bytes, times: int, piece: int) -> None:
    packed = stream(data * times)
    decoder = StreamDecoder()
    out = b"".join(decoder.feed(packed[at : at + piece]) for at in range(0, len(packed), piece))
    assert out == data * times
    assert decoder.is_between_blocks


@pytest.mark.parametrize("size", [1, 60, 61, 255, 256, 257, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1])
def test_sizes_at_the_bounds_of_literals(size: int) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    assert StreamDecoder().feed(stream(data)) == data


@pytest.mark.parametrize(
    ("block", "data"),
    [
        (b"\x00", b""),
        (b"\x03\x08abc", b"abc"),
        # A literal of 61 bytes has its length in one byte of its own.
        (b"\x3d\xf0\x3c" + b"x" * 61, b"x" * 61),
        # A copy of 4 to 11 bytes from nearby, one that runs into what it makes, and ones with longer offsets.
        (b"\x08\x0cabcd\x01\x04", b"abcdabcd"),
        (b"\x0a\x04ab\x11\x02", b"ab" * 5),
        (b"\x08\x0cabcd\x0e\x04\x00", b"abcdabcd"),
        (b"\x08\x0cabcd\x0f\x04\x00\x00\x00", b"abcdabcd"),
    ],
)
def test_blocks_by_hand(block: bytes, data: bytes) -> None:
    assert decode_block(block) == data


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\xff\xff\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\x0f",
        b"\x04\x08abc",
        b"\x02\x08abc",
        b"\x03\x08ab",
        b"\x08\x0cabcd\x01\x05",
        b"\x08\x0cabcd\x01\x00",
        b"\x08\x0cabcd\x01",
    ],
    ids=[
        "nothing", "endless size", "4 GiB", "too little", "too much", "literal cut off", "copy from before",
        "copy from here", "copy cut off",
    ],
)  # fmt: skip
def test_blocks_that_are_none(block: bytes) -> None:
    with pytest.raises(WireError):
        decode_block(block)


@given(block=st.binary(max_size=64))
def test_nonsense_is_told_or_bounded(block: bytes) -> None:
    try:
        data = decode_block(block)
    except WireError:
        return
    assert len(data) <= 64 * 64


@pytest.mark.parametrize("packed", [b"SNAPPY of another kind", STREAM_HEADER + struct.pack(">i", -1)])
def test_streams_that_are_none(packed: bytes) -> None:
    with pytest.raises(WireError):
        StreamDecoder().feed(packed)


def test_a_stream_cut_off_is_known() -> None:
    packed = stream(b"some text")
    for size in range(len(packed)):
        decoder = StreamDecoder()
        decoder.feed(packed[:size])
        assert decoder.is_between_blocks == (size == len(STREAM_HEADER))


def test_a_stream_that_java_has_written() -> None:
    decoder = StreamDecoder()
    assert len(BY_JAVA) < len(REPEATING), "it holds copies"
    assert b"".join(decoder.feed(BY_JAVA[at : at + 10]) for at in range(0, len(BY_JAVA), 10)) == REPEATING
    assert decoder.is_between_blocks
