"""LogTail: what follows a transaction, from files that are being written, cut or damaged; in parts, and once each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import DATA, create, entries, start
from memory_files import MemoryFiles

from zktw.storage.datadir import LOG_BASE, DataDir
from zktw.storage.logformat import HEADER, encode_entry
from zktw.storage.logtail import LogTail, Tail
from zktw.storage.txnlog import TxnLog
from zktw.terms.errors import StorageError

EPOCH = 0x1_0000_0000


class CountingFiles(MemoryFiles):
    """Counts the bytes that are read."""

    bytes_read = 0

    def read(self, path: str, count: int = -1, offset: int = 0) -> bytes:
        data = super().read(path, count, offset)
        self.bytes_read += len(data)
        return data


@pytest.fixture
def files() -> CountingFiles:
    files = CountingFiles()
    files.put(f"{DATA}/snapshot.0", b"a tree" + bytes(50) + b"\0\0\0\1/")
    return files


def put_log(files: MemoryFiles, *numbers: int, room: int = 0) -> None:
    content = HEADER + b"".join(encode_entry(create(number)) for number in numbers)
    files.put(f"{DATA}/log.{numbers[0]:x}", content + bytes(room))


def tail_of(files: MemoryFiles) -> LogTail:
    return LogTail(DataDir(files, "/data", "/data"), 1 << 20)


def numbers(tail: Tail) -> list[int]:
    return [zxid for zxid, _ in tail.entries]


class TestRead:
    def test_what_follows_a_transaction(self, files: CountingFiles) -> None:
        put_log(files, 1, 2, 3)
        put_log(files, 4, 5, room=5000)
        assert tail_of(files).read(2) == Tail(True, 2, entries(3, 5))
        assert tail_of(files).read(5) == Tail(True, 5, [])
        assert tail_of(files).read(9) == Tail(False, 5, [])

    def test_one_that_is_not_there(self, files: CountingFiles) -> None:
        """A learner's from an epoch of its own, between two of ours."""
        put_log(files, 1, 2)
        put_log(files, 2 * EPOCH + 1, 2 * EPOCH + 2)
        tail = tail_of(files).read(EPOCH + 1)
        assert (tail.held, tail.previous, numbers(tail)) == (False, 2, [2 * EPOCH + 1, 2 * EPOCH + 2])

    def test_one_from_before_all(self, files: CountingFiles) -> None:
        put_log(files, 5, 6)
        assert tail_of(files).read(3) == Tail(False, -1, entries(5, 6))

    @pytest.mark.parametrize("count_max", [1, 3, 7, 100])
    def test_in_parts(self, files: CountingFiles, count_max: int) -> None:
        put_log(files, *range(1, 11))
        put_log(files, *range(11, 15))
        put_log(files, *range(15, 31), room=3000)
        tail = tail_of(files)
        found: list[tuple[int, bytes]] = []
        at = 4
        while (part := tail.read(at, count_max)).entries:
            assert part.held
            assert part.previous == at
            assert len(part.entries) <= count_max
            found += part.entries
            at = found[-1][0]
        assert found == entries(5, 30)

    def test_a_part_ends_by_its_bytes_too(self, files: CountingFiles) -> None:
        log = TxnLog(DataDir(files, "/data", "/data"), preallocate_bytes=0)
        log.append(entries(1, 9, b"x" * 1000))
        assert len(tail_of(files).read(1, bytes_max=2500).entries) == 3
        assert len(tail_of(files).read(1, bytes_max=1).entries) == 1, "else it would never come further"

    def test_a_long_log_is_read_once(self, files: CountingFiles) -> None:
        log = TxnLog(DataDir(files, "/data", "/data"), preallocate_bytes=1 << 16, size_limit_bytes=1 << 22)
        for first in range(1, 20_000, 500):
            log.append(entries(first, first + 499, b"x" * 1000))
        tail = tail_of(files)
        files.bytes_read = 0
        at = parts = 0
        while found := numbers(tail.read(at, 2000)):
            assert found[0] == at + 1
            at = found[-1]
            parts += 1
        assert at == 20_000
        assert parts >= 20
        # Each part begins with a look at the last entry of the one before, and readers read whole mebibytes.
        assert files.bytes_read < 23_000_000 + parts * (4 << 20)

    def test_it_goes_on_when_more_has_come(self, files: CountingFiles) -> None:
        log = TxnLog(DataDir(files, "/data", "/data"), preallocate_bytes=10_000)
        tail = tail_of(files)
        log.append(entries(1, 3))
        assert numbers(tail.read(1)) == [2, 3]
        assert numbers(tail.read(3)) == []
        log.append(entries(4, 5))
        assert numbers(tail.read(3)) == [4, 5]
        log.roll()
        log.append(entries(6, 6))
        assert tail.read(5) == Tail(True, 5, entries(6, 6))

    def test_another_place_than_where_it_ended(self, files: CountingFiles) -> None:
        put_log(files, *range(1, 11))
        tail = tail_of(files)
        assert numbers(tail.read(3, 2)) == [4, 5]
        assert numbers(tail.read(1, 2)) == [2, 3]
        assert numbers(tail.read(5, 2)) == [6, 7]

    def test_files_that_were_cut_meanwhile(self, files: CountingFiles) -> None:
        put_log(files, *range(1, 11))
        tail = tail_of(files)
        assert numbers(tail.read(1, 7)) == [2, 3, 4, 5, 6, 7, 8]
        files.remove(f"{DATA}/log.1")
        put_log(files, 1, 2)
        put_log(files, EPOCH + 1)
        assert tail.read(8) == Tail(False, 2, [(EPOCH + 1, create(EPOCH + 1))])

    @given(cut=st.integers(0, len(encode_entry(create(6)))), noise=st.sampled_from([b"", b"\xee" * 600]))
    def test_a_batch_that_is_being_written_is_the_end(self, cut: int, noise: bytes) -> None:
        """Its pages come in any order: what follows its first may be there before."""
        files = MemoryFiles()
        put_log(files, 1, 2, 3)
        whole = [encode_entry(create(number)) for number in (4, 5, 6)]
        torn = whole[2][:cut] + bytes(len(whole[2]) - cut) if cut else bytes(len(whole[2]))
        files.put(f"{DATA}/log.4", HEADER + whole[0] + whole[1] + torn + encode_entry(create(7)) + noise + bytes(99))
        expected = [2, 3, 4, 5] if torn != whole[2] else [2, 3, 4, 5, 6, 7]
        assert numbers(tail_of(files).read(1)) == expected

    @pytest.mark.parametrize("content", [b"", HEADER[:7], HEADER, HEADER + bytes(500), bytes(500)])
    def test_a_file_that_has_only_begun(self, files: CountingFiles, content: bytes) -> None:
        put_log(files, 1, 2, 3)
        files.put(f"{DATA}/log.4", content)
        assert tail_of(files).read(2) == Tail(True, 2, entries(3, 3))
        assert tail_of(files).read(4) == Tail(False, 3, [])

    def test_damage_in_an_older_file_is_told(self, files: CountingFiles) -> None:
        put_log(files, 1, 2, 3)
        put_log(files, 4, 5)
        content = files.read(f"{DATA}/log.1")
        for damaged in (content[:60] + b"\xee" + content[61:], content + b"\xee" * 60):
            files.put(f"{DATA}/log.1", damaged)
            with pytest.raises(StorageError, match=rf"^{DATA}/log.1: damaged at byte "):
                tail_of(files).read(1)

    def test_a_file_that_is_gone(self, files: CountingFiles, monkeypatch: pytest.MonkeyPatch) -> None:
        """Old files are purged while learners are read to."""
        put_log(files, 1, 2)
        put_log(files, 3, 4)
        names = files.list(DATA)
        files.remove(f"{DATA}/log.1")
        monkeypatch.setattr(files, "list", lambda path: names)
        with pytest.raises(StorageError, match=rf"^{DATA}/log.1: "):
            tail_of(files).read(1)


class TestNumbers:
    def test_what_is_in_two_files_comes_once(self, files: CountingFiles) -> None:
        """Apache's servers leave an entry cut off, or whole, and begin the next file with it."""
        put_log(files, 1, 2, 3, 4)
        put_log(files, 3, 4, 5)
        put_log(files, 5, 6)
        assert tail_of(files).read(1) == Tail(True, 1, entries(2, 6))
        assert tail_of(files).read(4) == Tail(True, 4, entries(5, 6))

    def test_a_cut_off_end_that_the_next_file_goes_on_from(self, files: CountingFiles) -> None:
        put_log(files, 1, 2, 3)
        files.put(f"{DATA}/log.1", files.read(f"{DATA}/log.1")[:-9])
        put_log(files, 3, 4)
        assert tail_of(files).read(1) == Tail(True, 1, entries(2, 4))

    @pytest.mark.parametrize(
        ("held", "asked", "gap"),
        [
            ([1, 2, 3], 1, False),
            ([1, 2, 4], 1, True),
            ([1, 2, 4], 2, True),
            ([1, 2, 4], 4, False),
            ([1, 3, 4, 5], 3, False),
            ([1, 2, EPOCH + 1], 1, False),
            ([1, 2, EPOCH + 2], 1, True),
        ],
    )
    def test_numbers_left_out_are_told(self, files: CountingFiles, held: list[int], asked: int, gap: bool) -> None:
        put_log(files, *held)
        assert tail_of(files).read(asked).gap == gap

    def test_between_parts_too(self, files: CountingFiles) -> None:
        put_log(files, 1, 2, 4)
        tail = tail_of(files)
        assert not tail.read(1, 1).gap
        assert tail.read(2, 1).gap


class TestReach:
    def test_the_bytes_of_the_files(self, files: CountingFiles) -> None:
        for held in ([1, 2], [3, 4, 5], [6]):
            put_log(files, *held)
        sizes = [files.size(f"{DATA}/log.{name}") for name in (1, 3, 6)]
        tail = tail_of(files)
        assert [tail.reach(zxid) for zxid in (0, 1, 2)] == [-1, sum(sizes), sum(sizes)]
        assert [tail.reach(zxid) for zxid in (3, 5, 6, 99)] == [sizes[1] + sizes[2]] * 2 + [sizes[2]] * 2

    @pytest.mark.parametrize("count", [1, 900, 3000])
    def test_room_that_is_reserved_is_none(self, files: CountingFiles, count: int) -> None:
        log = TxnLog(DataDir(files, "/data", "/data"), preallocate_bytes=64 << 20)
        size = len(HEADER) + log.append(entries(1, count, b"x" * 1000))
        assert files.size(f"{DATA}/log.1") == 64 << 20
        files.bytes_read = 0
        assert tail_of(files).reach(1) == size
        assert files.bytes_read < 16 << 20

    def test_a_file_that_has_only_begun_holds_nothing(self, files: CountingFiles) -> None:
        put_log(files, 1, 2, 3)
        files.put(f"{DATA}/log.4", HEADER + bytes(500))
        assert tail_of(files).reach(4) == files.size(f"{DATA}/log.1") + len(HEADER.rstrip(b"\0"))

    def test_an_empty_log(self, files: CountingFiles) -> None:
        assert tail_of(files).reach(0) == -1
        assert tail_of(files).read(0) == Tail(False, -1, [])

    def test_the_newest_snapshot(self, files: CountingFiles) -> None:
        tail = tail_of(files)
        size = files.size(f"{DATA}/snapshot.0")
        assert tail.newest_snapshot_bytes() == size
        files.put(f"{DATA}/snapshot.5", b"not written to its end")
        assert tail.newest_snapshot_bytes() == size
        files.put(f"{DATA}/snapshot.4.gz", b"\x1f\x8b" + bytes(7))
        assert tail.newest_snapshot_bytes() == 9
        assert tail_of(with_nothing()).newest_snapshot_bytes() == 0


def with_nothing() -> MemoryFiles:
    files = MemoryFiles()
    files.put(f"{DATA}/myid", b"1")
    return files


class TestTakenOver:
    """A leader's tree of 0x10 was taken over; what is older in the log is not what came before it."""

    @pytest.fixture
    def files(self, files: CountingFiles) -> CountingFiles:
        put_log(files, 1, 2, 3)
        put_log(files, 0x11, 0x12)
        files.put(f"{DATA}/{LOG_BASE}", b"16")
        files.put(f"{DATA}/snapshot.10", b"a tree" + bytes(50) + b"\0\0\0\1/")
        return files

    def test_the_log_reaches_back_to_it(self, files: CountingFiles) -> None:
        tail = tail_of(files)
        assert [tail.reach(zxid) for zxid in (0, 2, 3, 0xF)] == [-1] * 4
        assert tail.reach(0x10) > 0
        assert tail.read(0x10) == Tail(True, 0x10, entries(0x11, 0x12))
        assert tail.read(0x11) == Tail(True, 0x11, entries(0x12, 0x12))
        assert not tail.read(0x10).gap

    def test_on_a_disk_without_an_older_log(self, files: CountingFiles) -> None:
        files.remove(f"{DATA}/log.1")
        assert tail_of(files).reach(0x10) == files.size(f"{DATA}/log.11")
        assert tail_of(files).read(0x10) == Tail(True, 0x10, entries(0x11, 0x12))

    def test_when_its_snapshot_was_purged(self, files: CountingFiles) -> None:
        """Then it is not known any more, and an older one least of all."""
        files.remove(f"{DATA}/snapshot.10")
        assert tail_of(files).read(0x10) == Tail(False, -1, entries(0x11, 0x12))
        assert tail_of(files).read(0x11) == Tail(True, 0x11, entries(0x12, 0x12))

    @pytest.mark.parametrize("text", [b"", b"x", b"-5", b"9" * 30])
    def test_a_base_that_cannot_be_read_is_told(self, files: CountingFiles, text: bytes) -> None:
        files.put(f"{DATA}/{LOG_BASE}", text)
        with pytest.raises(StorageError, match=f"^{DATA}/{LOG_BASE}: damaged at byte 0"):
            tail_of(files).reach(0x11)


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    asked=st.integers(0, 32),
    count_max=st.integers(1, 9),
)
def test_it_agrees_with_what_a_start_replays(lengths: list[int], asked: int, count_max: int) -> None:
    files = MemoryFiles()
    files.put(f"{DATA}/myid", b"1")
    datadir = DataDir(files, "/data", "/data")
    start(datadir)
    log = TxnLog(datadir, preallocate_bytes=4096)
    last = 0
    for length in lengths:
        log.append(entries(last + 1, last + length))
        last += length
        log.roll()
    tail = LogTail(datadir)
    found, at = [], asked
    while part := tail.read(at, count_max).entries:
        found += part
        at = part[-1][0]
    assert found == entries(asked + 1, last)
    assert (tail.reach(asked) >= 0) == (asked > 0)
    assert start(datadir).last_zxid == last
