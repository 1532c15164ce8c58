"""A snapshot file: what we write, what we accept, and what is named as damage."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zktw.storage.snapformat import TAIL, check_snapshot, encode_snapshot, looks_whole
from zktw.terms.errors import WireError
from zktw.wire.snapstream import FRESH_NODES, SNAPSHOT_FRAME_BYTES, fresh_snapshot_body

LENGTH_MAX = 4096
HEADER = struct.pack(">iiq", 0x5A4B534E, 2, -1)
BODY = fresh_snapshot_body(b"version=0")


def sealed(content: bytes) -> bytes:
    return content + struct.pack(">q", zlib.adler32(content)) + TAIL


def check(content: bytes) -> tuple[int, list[str]]:
    paths: list[str] = []
    sessions = check_snapshot(content, LENGTH_MAX, lambda path, data, acl, stat: paths.append(path))
    return sessions, paths


def test_header_tree_and_seal() -> None:
    content = encode_snapshot(BODY)
    assert content == sealed(HEADER + BODY)
    assert len(content) == len(BODY) + SNAPSHOT_FRAME_BYTES
    assert looks_whole(len(content), content[-len(TAIL) :])
    assert check(content) == (0, list(FRESH_NODES))


DIGEST = struct.pack(">qiq", 7, 2, -1)
OLD_DIGEST = struct.pack(">qii", 7, 1, 9) + b"1a2b3c4d5"
LAST_ZXID = struct.pack(">q", 7)


@pytest.mark.parametrize(
    "parts",
    [(), (DIGEST,), (DIGEST, LAST_ZXID), (OLD_DIGEST,), (OLD_DIGEST, LAST_ZXID), (LAST_ZXID,)],
    ids=["3.5", "3.6", "3.9", "old digest", "old digest and zxid", "3.9 without digests"],
)
def test_the_parts_of_every_release(parts: tuple[bytes, ...]) -> None:
    content = encode_snapshot(BODY)
    for part in parts:
        content = sealed(content + part)
    assert check(content) == (0, list(FRESH_NODES))


@given(sessions=st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**31 - 1)), max_size=5))
def test_sessions_are_counted(sessions: list[tuple[int, int]]) -> None:
    body = struct.pack(">i", len(sessions)) + b"".join(struct.pack(">qi", *session) for session in sessions) + BODY[4:]
    assert check(encode_snapshot(body)) == (len(sessions), list(FRESH_NODES))


@given(place=st.integers(0, len(sealed(HEADER + BODY)) - len(TAIL) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(place: int, bit: int) -> None:
    """Anywhere before the text of the seal, which has no meaning, the dbid included."""
    content = bytearray(encode_snapshot(BODY))
    content[place] ^= 1 << bit
    with pytest.raises(WireError, match=r"^damaged at byte \d+: "):
        check(bytes(content))


@given(bit=st.integers(0, 7), data=st.data())
def test_a_flipped_bit_is_found_in_later_parts(bit: int, data: st.DataObject) -> None:
    first = encode_snapshot(BODY)
    content = bytearray(sealed(sealed(first + DIGEST) + LAST_ZXID))
    places = range(len(first), len(content) - len(TAIL))
    content[data.draw(st.sampled_from(places))] ^= 1 << bit
    with pytest.raises(WireError, match=r"^damaged at byte \d+: "):
        check(bytes(content))


@given(length=st.integers(0, len(sealed(HEADER + BODY)) - 1))
def test_a_file_cut_off_is_found(length: int) -> None:
    with pytest.raises(WireError, match=r"^damaged at byte \d+: "):
        check(encode_snapshot(BODY)[:length])


@given(content=st.binary(max_size=200))
def test_noise_is_found(content: bytes) -> None:
    for prefix in (b"", HEADER):
        with pytest.raises(WireError):
            check(prefix + content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (sealed(struct.pack(">iiq", 0x5A4B4C47, 2, 0) + BODY), "damaged at byte 16: its magic number is 5a4b4c47"),
        (sealed(struct.pack(">iiq", 0x5A4B534E, 3, -1) + BODY), "damaged at byte 16: its version is 3, not 2"),
        (HEADER + BODY + bytes(8) + TAIL, f"damaged at byte {29 + len(BODY)}: its seal is 00000000"),
        (b"", "damaged at byte 0: it ends too early"),
    ],
)
def test_damage_is_told(content: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        check(content)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(("size", "tail"), [(9, TAIL), (100, TAIL[:-1] + b"x"), (100, TAIL[1:]), (0, b"")])
def test_a_file_that_does_not_look_whole(size: int, tail: bytes) -> None:
    assert not looks_whole(size, tail)
