"""A snapshot file: what we write, what we accept, and what is named as damage."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wholefiles import fresh_body, snapshot_file

from zktw.storage.snapformat import TAIL, Compression, Ending, SnapshotEncoder, looks_whole
from zktw.storage.snapformat import read_snapshot as read_chunks
from zktw.terms.errors import WireError
from zktw.tree.database import Database

LENGTH_MAX = 4096
HEADER = struct.pack(">iiq", 0x5A4B534E, 2, -1)
BODY = fresh_body(b"version=0")
NODES = ["/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"]
# Its header and one seal.
FRAME_BYTES = 29


def sealed(content: bytes) -> bytes:
    return content + struct.pack(">q", zlib.adler32(content)) + TAIL


def read(content: bytes, name: str = "snapshot.0", piece: int = 50) -> tuple[Ending, Database]:
    """Read a file in pieces of this many bytes."""
    database = Database()
    chunks = (content[at : at + piece] for at in range(0, len(content), piece))
    return read_chunks(name, chunks, database.parser(LENGTH_MAX)), database


def check(content: bytes, piece: int = 50) -> tuple[int, list[str]]:
    """The number of its sessions, and the paths."""
    _, database = read(content, piece=piece)
    return len(database.sessions), list(database.tree.nodes)


def test_header_tree_and_seal() -> None:
    content = snapshot_file(BODY)
    assert content == sealed(HEADER + BODY)
    assert len(content) == len(BODY) + FRAME_BYTES
    assert looks_whole(len(content), content[-len(TAIL) :])
    assert check(content) == (0, NODES)


DIGEST = struct.pack(">qiq", 7, 2, -1)
OLD_DIGEST = struct.pack(">qii", 7, 1, 9) + b"1a2b3c4d5"
LAST_ZXID = struct.pack(">q", 9)


@pytest.mark.parametrize(
    ("parts", "ending"),
    [
        ((), Ending()),
        ((DIGEST,), Ending(2**64 - 1, 7)),
        ((DIGEST, LAST_ZXID), Ending(2**64 - 1, 7, 9)),
        ((OLD_DIGEST,), Ending()),
        ((OLD_DIGEST, LAST_ZXID), Ending(last_zxid=9)),
        ((LAST_ZXID,), Ending(last_zxid=9)),
    ],
    ids=["3.5", "3.6", "3.9", "old digest", "old digest and zxid", "3.9 without digests"],
)
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_the_parts_of_every_release(parts: tuple[bytes, ...], ending: Ending, piece: int) -> None:
    content = snapshot_file(BODY)
    for part in parts:
        content = sealed(content + part)
    assert check(content, piece) == (0, NODES)
    assert read(content, piece=piece)[0] == ending


@given(
    pieces=st.lists(st.binary(max_size=100), max_size=10),
    digest=st.none() | st.integers(0, 2**64 - 1),
    last_zxid=st.none() | st.integers(0, 2**63 - 1),
    compression=st.sampled_from(["", "gz", "snappy"]),
    piece=st.integers(1, 500),
)
def test_what_is_written_is_read(
    pieces: list[bytes], digest: int | None, last_zxid: int | None, compression: Compression, piece: int
) -> None:
    """Whatever the pieces of the body are: they are not looked into."""

    class Body:
        """As long as what was written."""

        def __init__(self) -> None:
            self.taken = b""
            self.rest = b""

        def feed(self, data: bytes) -> bool:
            self.taken += data
            self.rest = self.taken[size:]
            self.taken = self.taken[:size]
            return len(self.taken) == size and bool(size or data)

    size = sum(map(len, pieces))
    encoder = SnapshotEncoder(compression)
    content = encoder.begin() + b"".join(encoder.add(part) for part in pieces)
    content += encoder.end(5, digest=digest, last_zxid=last_zxid)
    body = Body()
    chunks = (content[at : at + piece] for at in range(0, len(content), piece))
    ending = read_chunks("snapshot.5" + (f".{compression}" if compression else ""), chunks, body)
    assert body.taken == b"".join(pieces)
    assert ending == Ending(digest, None if digest is None else 5, last_zxid)
    if compression == "gz":
        assert content.startswith(b"\x1f\x8b")


@pytest.mark.parametrize("compression", ["gz", "snappy"])
def test_a_packed_file_cut_off_or_damaged_is_found(compression: Compression) -> None:
    encoder = SnapshotEncoder(compression)
    content = encoder.begin() + encoder.add(BODY) + encoder.end(0, digest=1, last_zxid=2)
    name = f"snapshot.0.{compression}"
    read(content, name)
    for size in range(len(content)):
        if compression == "gz":
            with pytest.raises(WireError, match="damaged"):
                read(content[:size], name)
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        try:
            ending, database = read(bytes(damaged), name)
        except WireError:
            continue
        # What gzip says of file and time, what snappy says of its release, and the text of the last seal.
        assert ending == Ending(1, 0, 2)
        assert list(database.tree.nodes)[1:] == NODES[1:]


def test_a_small_file_with_an_endless_tree_takes_no_memory() -> None:
    """A gzip file of a megabyte may hold a gigabyte."""
    packer = zlib.compressobj(wbits=31)
    content = packer.compress(HEADER + BODY[:-5] + b"\x00\x00\x10\x01" + bytes(50_000_000)) + packer.flush()
    assert len(content) < 100_000
    with pytest.raises(WireError, match=r"damaged behind byte 16: .*4097"):
        read(content, "snapshot.0.gz", piece=len(content))


@given(sessions=st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**31 - 1)), max_size=5))
def test_sessions_are_counted(sessions: list[tuple[int, int]]) -> None:
    body = struct.pack(">i", len(sessions)) + b"".join(struct.pack(">qi", *session) for session in sessions) + BODY[4:]
    assert check(snapshot_file(body)) == (len(dict(sessions)), NODES)


@given(place=st.integers(0, len(sealed(HEADER + BODY)) - len(TAIL) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(place: int, bit: int) -> None:
    """Anywhere before the text of the seal, which has no meaning, the dbid included."""
    content = bytearray(snapshot_file(BODY))
    content[place] ^= 1 << bit
    with pytest.raises(WireError, match=r"^damaged (at|behind) byte \d+: "):
        check(bytes(content))


@given(bit=st.integers(0, 7), data=st.data())
def test_a_flipped_bit_is_found_in_later_parts(bit: int, data: st.DataObject) -> None:
    first = snapshot_file(BODY)
    content = bytearray(sealed(sealed(first + DIGEST) + LAST_ZXID))
    places = range(len(first), len(content) - len(TAIL))
    content[data.draw(st.sampled_from(places))] ^= 1 << bit
    with pytest.raises(WireError, match=r"^damaged (at|behind) byte \d+: "):
        check(bytes(content))


@given(length=st.integers(0, len(sealed(HEADER + BODY)) - 1))
def test_a_file_cut_off_is_found(length: int) -> None:
    with pytest.raises(WireError, match=r"^damaged (at|behind) byte \d+: "):
        check(snapshot_file(BODY)[:length])


@given(content=st.binary(max_size=200))
def test_noise_is_found(content: bytes) -> None:
    for prefix in (b"", HEADER):
        with pytest.raises(WireError):
            check(prefix + content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (sealed(struct.pack(">iiq", 0x5A4B4C47, 2, 0) + BODY), "damaged at byte 0: its magic number is 5a4b4c47"),
        (sealed(struct.pack(">iiq", 0x5A4B534E, 3, -1) + BODY), "damaged at byte 4: its version is 3, not 2"),
        (HEADER + BODY + bytes(8) + TAIL, f"damaged at byte {16 + len(BODY)}: its seal is 00000000"),
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
