"""A transaction log as bytes: its entries, and the judgement on how it ends: clean, cut by a crash, or damaged."""

import struct
import zlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from zktw.storage.logformat import (
    BATCH_BYTES_MAX,
    HEADER,
    HEADER_BYTES,
    End,
    LogReader,
    encode_entry,
)
from zktw.terms.errors import StorageError

LENGTH_MAX = 4096
PATH = "/data/version-2/log.1"


def payload(zxid: int, body: bytes = b"") -> bytes:
    return struct.pack(">qiqqi", 1, 2, zxid, 3, 4) + body


def log(*bodies: bytes) -> bytes:
    """A file with one transaction for each of these, from zxid 1."""
    return HEADER + b"".join(encode_entry(payload(zxid, body)) for zxid, body in enumerate(bodies, 1))


def read(content: bytes, length_max: int = LENGTH_MAX) -> tuple[list[tuple[int, int, bytes]], LogReader]:
    reader = LogReader(PATH, lambda offset, count: content[offset : offset + count], length_max)
    return list(reader.entries()), reader


def damage(content: bytes) -> str:
    with pytest.raises(StorageError) as caught:
        read(content)
    return str(caught.value)


THREE = log(b"one", b"two", b"three")
ENDS = [HEADER_BYTES, len(log(b"one")), len(log(b"one", b"two")), len(THREE)]


def test_an_entry() -> None:
    data = payload(7)
    assert encode_entry(data) == struct.pack(">qi", zlib.adler32(data), 32) + data + b"B"


@given(bodies=st.lists(st.binary(max_size=200), max_size=20), padding=st.integers(0, 3_000_000))
def test_what_was_written_is_read(bodies: list[bytes], padding: int) -> None:
    content = log(*bodies)
    entries, reader = read(content + bytes(padding))
    assert [(zxid, data) for _, zxid, data in entries] == [(at, payload(at, body)) for at, body in enumerate(bodies, 1)]
    assert [content[offset : offset + 8] for offset, _, _ in entries] == [
        struct.pack(">q", zlib.adler32(data)) for _, _, data in entries
    ]
    assert (reader.end, reader.end_offset, reader.defect) == (End.CLEAN, len(content), "")
    assert reader.last_zxid == (len(bodies) or -1)


def test_entries_at_every_place_of_a_chunk() -> None:
    """Entries are read chunk by chunk; one may begin before a chunk's end, and one may be greater than a chunk."""
    bodies = [b"x" * 700_000, b"y" * 400_000, b"z" * 2_500_000] + [b"%d" % at * 100 for at in range(3000)]
    entries, reader = read(log(*bodies), 3 << 20)
    assert [data[32:] for _, _, data in entries] == bodies
    assert reader.end is End.CLEAN


@given(cut=st.integers(HEADER_BYTES, len(THREE) - 1), padding=st.sampled_from([0, 1, 12, 13, 100, 2_000_000]))
def test_a_file_cut_anywhere_keeps_what_is_whole(cut: int, padding: int) -> None:
    entries, reader = read(THREE[:cut] + bytes(padding))
    whole = max(at for at, end in enumerate(ENDS) if end <= cut)
    assert len(entries) == whole
    assert reader.end_offset == ENDS[whole]
    if cut in ENDS or not THREE[ENDS[whole] : cut].strip(b"\0"):
        assert reader.end is End.CLEAN
    else:
        assert reader.end is End.CUT_OFF
        assert reader.defect


@given(place=st.integers(ENDS[2], len(THREE) - 1), bit=st.integers(0, 7), padding=st.sampled_from([0, 100]))
def test_a_flipped_bit_in_the_last_entry_is_a_tail(place: int, bit: int, padding: int) -> None:
    content = bytearray(THREE + bytes(padding))
    content[place] ^= 1 << bit
    entries, reader = read(bytes(content))
    assert len(entries) == 2
    assert reader.end in (End.CUT_OFF, End.GARBAGE)
    assert reader.end_offset == ENDS[2]


@given(place=st.integers(ENDS[0], ENDS[2] - 1), bit=st.integers(0, 7), padding=st.sampled_from([0, 100]))
def test_a_flipped_bit_before_the_last_entry_is_damage(place: int, bit: int, padding: int) -> None:
    content = bytearray(THREE + bytes(padding))
    content[place] ^= 1 << bit
    text = damage(bytes(content))
    begin = ENDS[0] if place < ENDS[1] else ENDS[1]
    after = ENDS[1] if place < ENDS[1] else ENDS[2]
    assert text.startswith(f"{PATH}: damaged at byte {begin}: ")
    assert text.endswith(f"and another follows at byte {after}")


@pytest.mark.parametrize("zeros", [12, 40, 512])
def test_zeros_in_the_middle_are_damage_not_the_end(zeros: int) -> None:
    """A page that was never written looks like reserved room, but for what follows it."""
    bodies = [b"%d" % at * 50 for at in range(20)]
    content = log(*bodies)
    at = len(log(*bodies[:5]))
    text = damage(content[:at] + bytes(zeros) + content[at + zeros :] + bytes(5000))
    assert text.startswith(f"{PATH}: damaged at byte {at}: ")


def test_garbage_is_searched_to_its_end() -> None:
    """The next whole entry may be megabytes away, on the seam of two windows."""
    for gap in (1, 1 << 20, (1 << 20) - HEADER_BYTES - 7, 2_500_000):
        text = damage(log(b"one") + b"\xee" * gap + encode_entry(payload(2)))
        assert text.endswith(f"and another follows at byte {ENDS[1] + gap}")
    _, reader = read(log(b"one") + b"\xee" * 2_500_000)
    assert reader.end is End.GARBAGE


@given(garbage=st.binary(min_size=1, max_size=300))
def test_garbage_behind_the_last_entry(garbage: bytes) -> None:
    assume(garbage.strip(b"\0"))
    entries, reader = read(THREE + garbage)
    assert len(entries) == 3
    assert reader.end in (End.CUT_OFF, End.GARBAGE)
    assert reader.end_offset == len(THREE)


@pytest.mark.parametrize("length", [-1, LENGTH_MAX + 1, 2**31 - 1])
def test_a_length_out_of_bounds_takes_no_memory(length: int) -> None:
    asked = []

    def source(offset: int, count: int) -> bytes:
        asked.append(count)
        return content[offset : offset + count]

    content = THREE + struct.pack(">qi", 5, length) + bytes(range(1, 100))
    reader = LogReader(PATH, source, LENGTH_MAX)
    assert len(list(reader.entries())) == 3
    assert reader.end is End.GARBAGE
    assert str(length) in reader.defect
    assert max(asked) <= (1 << 20) + 12


def test_an_entry_too_short_for_a_transaction() -> None:
    _, reader = read(HEADER + encode_entry(bytes(31)))
    assert reader.end is End.GARBAGE
    assert "31 bytes" in reader.defect


@pytest.mark.parametrize(
    "content",
    [HEADER[:size] for size in range(HEADER_BYTES)] + [HEADER[:size] + bytes(70_000) for size in range(4)],
    ids=len,
)
def test_a_file_whose_header_was_never_written(content: bytes) -> None:
    entries, reader = read(content)
    assert entries == []
    assert (reader.end, reader.end_offset) == (End.UNBORN, 0)


@pytest.mark.parametrize("content", [b"x", b"ZKLGx", b"ZKSN" + bytes(100), bytes(16) + b"x"])
def test_a_file_of_another_kind(content: bytes) -> None:
    assert damage(content).startswith(f"{PATH}: damaged at byte 0: it begins with ")


def test_bytes_made_to_delay_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these could be an entry, and its checksum has to be looked at: in the end it's taken for one."""
    monkeypatch.setattr("zktw.storage.logformat._SEARCH_BYTES_MAX", 100_000)
    content = HEADER + b"garbage" + (struct.pack(">qi", 1, 3000) + b"B" * 8) * 1000
    assert "and another follows" in damage(content)


@given(content=st.binary(max_size=200))
def test_nonsense_is_judged(content: bytes) -> None:
    for begun in (b"", HEADER, THREE):
        try:
            entries, reader = read(begun + content)
        except StorageError:
            continue
        assert reader.end_offset <= len(begun + content)
        assert len(entries) >= (3 if begun is THREE else 0)


def torn(count: int, hole: int, size: int) -> bytes:
    """A log of so many entries, with zeros where a part of it should be."""
    content = bytearray(log(*[b"x" * 60] * count))
    content[hole : hole + size] = bytes(size)
    return bytes(content)


def test_a_sector_that_was_never_written_is_a_tail() -> None:
    """A disk brings the sectors of one write to its platter in any order."""
    entries, reader = read(torn(40, 1024, 512))
    assert reader.end is not End.CLEAN
    assert reader.end_offset <= 1024
    assert [zxid for _, zxid, _ in entries] == list(range(1, len(entries) + 1))


@pytest.mark.parametrize(("hole", "size"), [(1024, 400), (1100, 600)])
def test_a_hole_that_is_no_sector_is_damage(hole: int, size: int) -> None:
    assert "and another follows" in damage(torn(40, hole, size))


def test_a_hole_far_from_the_end_is_damage() -> None:
    assert "and another follows" in damage(torn(2 * BATCH_BYTES_MAX // 100, 1024, 512))
