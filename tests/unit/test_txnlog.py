"""TxnLog: what is on disk after append, roll and truncate, and what a crash at any point leaves of it."""

import errno
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import DATA, create, entries, start, zxids
from memory_files import MemoryFiles, PowerCut
from wholefiles import snapshot_file

from zktw.storage.datadir import DataDir, zxid_of_name
from zktw.storage.logformat import HEADER, HEADER_BYTES, encode_entry
from zktw.storage.txnlog import TxnLog
from zktw.terms.codes import OpCode
from zktw.terms.errors import StorageError
from zktw.wire.txn import CloseSessionTxn, TxnHeader, encode_txn

BLOCK = 10_000


@pytest.fixture
def files() -> MemoryFiles:
    files = MemoryFiles()
    files.put(f"{DATA}/myid", b"1")
    return files


@pytest.fixture
def datadir(files: MemoryFiles) -> DataDir:
    return DataDir(files, "/data", "/data")


def make_log(datadir: DataDir, **options: Any) -> TxnLog:
    return TxnLog(datadir, **{"preallocate_bytes": BLOCK, **options})


def logs(files: MemoryFiles) -> list[str]:
    return [name for name in files.list(DATA) if name.startswith("log.")]


class TestAppend:
    def test_a_file_is_named_by_its_first_transaction(self, files: MemoryFiles, datadir: DataDir) -> None:
        log = make_log(datadir)
        assert logs(files) == []
        size = log.append(entries(0x1F, 0x21))
        content = HEADER + b"".join(encode_entry(create(zxid)) for zxid in (0x1F, 0x20, 0x21))
        assert size == len(content) - HEADER_BYTES
        assert logs(files) == ["log.1f"]
        assert files.read(f"{DATA}/log.1f") == content.ljust(BLOCK, b"\0")

    def test_nothing_begins_no_file(self, files: MemoryFiles, datadir: DataDir) -> None:
        assert make_log(datadir).append([]) == 0
        assert logs(files) == []

    def test_each_batch_is_one_write(self, files: MemoryFiles, datadir: DataDir) -> None:
        log = make_log(datadir)
        log.append(entries(1, 2))
        assert files.operations[-5:] == [
            ("write", f"{DATA}/log.1"),
            ("pwrite", f"{DATA}/log.1"),
            ("allocate", f"{DATA}/log.1"),
            ("sync_directory", DATA),
            ("pwrite", f"{DATA}/log.1"),
        ]
        files.operations.clear()
        log.append(entries(3, 9))
        assert files.operations == [("pwrite", f"{DATA}/log.1")]

    def test_what_was_appended_is_durable(self, files: MemoryFiles, datadir: DataDir) -> None:
        log = make_log(datadir)
        for first in (1, 4, 7):
            log.append(entries(first, first + 2))
            before = files.read(f"{DATA}/log.1")
            files.lose_power(0, lambda durable, now: durable)
            assert files.read(f"{DATA}/log.1") == before

    def test_without_sync_nothing_is(self, files: MemoryFiles, datadir: DataDir) -> None:
        log = make_log(datadir, sync=False)
        log.append(entries(1, 2))
        assert "sync_directory" not in [operation for operation, _ in files.operations]
        files.lose_power(0, lambda durable, now: durable)
        assert logs(files) == []

    @pytest.mark.parametrize("block", [5000, BLOCK, 0])
    def test_room_is_made_in_blocks_before_it_runs_out(self, files: MemoryFiles, datadir: DataDir, block: int) -> None:
        log = make_log(datadir, preallocate_bytes=block)
        end = HEADER_BYTES
        for zxid in range(1, 60):
            end += log.append(entries(zxid, zxid, b"x" * 400))
            size = files.size(f"{DATA}/log.1")
            if block:
                assert size % block == 0
                assert end + 4096 <= size < end + 4096 + block
            else:
                assert size == end

    def test_a_file_that_has_grown_enough_is_followed_by_another(self, files: MemoryFiles, datadir: DataDir) -> None:
        log = make_log(datadir, size_limit_bytes=1000)
        for zxid in range(1, 10):
            log.append(entries(zxid, zxid, b"x" * 400))
        assert logs(files) == ["log.1", "log.4", "log.7"]
        assert files.size(f"{DATA}/log.1") == files.size(f"{DATA}/log.4") < 1600, "no reserved room is left in them"

    def test_a_file_with_transactions_is_never_written_again(self, files: MemoryFiles, datadir: DataDir) -> None:
        make_log(datadir).append(entries(1, 3))
        before = files.read(f"{DATA}/log.1")
        again = make_log(datadir)
        for _ in range(2):
            with pytest.raises(StorageError, match=rf"^{DATA}/log.1: holds transactions already"):
                again.append(entries(1, 1))
        assert files.read(f"{DATA}/log.1") == before

    def test_one_without_any_is(self, files: MemoryFiles, datadir: DataDir) -> None:
        files.put(f"{DATA}/log.1", HEADER + bytes(70_000))
        make_log(datadir).append(entries(1, 1))
        assert files.read(f"{DATA}/log.1") == (HEADER + encode_entry(create(1))).ljust(BLOCK, b"\0")


class TestFailure:
    @staticmethod
    def failing(files: MemoryFiles, monkeypatch: pytest.MonkeyPatch, names: str, code: int) -> None:
        real = files.operation

        def operation(name: str, path: str) -> None:
            if name in names.split():
                raise OSError(code, "No space left on device" if code == errno.ENOSPC else "Input/output error")
            real(name, path)

        monkeypatch.setattr(files, "operation", operation)

    @pytest.mark.parametrize("name", ["write", "pwrite", "sync_directory"])
    def test_it_names_the_file_and_lasts(
        self, files: MemoryFiles, datadir: DataDir, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        log = make_log(datadir)
        with monkeypatch.context() as patch:
            self.failing(files, patch, name, errno.EIO)
            with pytest.raises(StorageError, match=rf"^{DATA}/log.1: cannot be written: Input/output error$"):
                log.append(entries(1, 1))
        with pytest.raises(StorageError, match=r"Input/output error$"):
            log.append(entries(2, 2))
        log.close()

    def test_a_disk_without_room_to_reserve_may_do_for_the_entries(
        self, files: MemoryFiles, datadir: DataDir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.failing(files, monkeypatch, "allocate", errno.ENOSPC)
        make_log(datadir).append(entries(1, 3))
        assert zxids(start_trusting(datadir)) == [1, 2, 3]

    def test_other_trouble_with_it_is_told(
        self, files: MemoryFiles, datadir: DataDir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.failing(files, monkeypatch, "allocate", errno.EIO)
        with pytest.raises(StorageError, match="Input/output error"):
            make_log(datadir).append(entries(1, 1))

    def test_what_could_not_be_read_again_is_not_written(self, files: MemoryFiles, datadir: DataDir) -> None:
        log = make_log(datadir, entry_bytes_max=500)
        log.append(entries(1, 1, b"x" * 300))
        for batch in (entries(2, 2, b"x" * 500), entries(2, 2)):
            with pytest.raises(StorageError, match=rf"^{DATA}: transaction 0x2 has \d+ bytes$"):
                log.append(batch)
        assert zxids(start_trusting(datadir)) == [1]

    def test_the_end_of_a_session_with_many_ephemerals_is(self, files: MemoryFiles, datadir: DataDir) -> None:
        """Its transaction names each of them, and is bounded by no frame."""
        paths = tuple(f"/some/where/ephemeral-{number:010}" for number in range(100_000))
        payload = encode_txn(TxnHeader(7, 0, 1, 1, OpCode.CLOSE_SESSION), CloseSessionTxn(paths), None)
        assert len(payload) > 3_000_000
        make_log(datadir).append([(1, payload)])
        assert start_trusting(datadir).last_zxid == 1

    def test_a_roll_that_fails(self, files: MemoryFiles, datadir: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
        log = make_log(datadir)
        log.append(entries(1, 1))
        self.failing(files, monkeypatch, "truncate", errno.EIO)
        with pytest.raises(StorageError, match=rf"^{DATA}/log.1: cannot be cut: Input/output error$"):
            log.roll()


def start_trusting(datadir: DataDir) -> Any:
    return start(datadir, trust_empty=True)


def test_roll_and_close_give_the_reserved_room_back(files: MemoryFiles, datadir: DataDir) -> None:
    log = make_log(datadir)
    log.roll()
    size = log.append(entries(1, 2)) + HEADER_BYTES
    log.roll()
    log.roll()
    assert files.size(f"{DATA}/log.1") == size
    log.append(entries(3, 4))
    log.close()
    assert logs(files) == ["log.1", "log.3"]
    assert files.size(f"{DATA}/log.3") == size
    assert zxids(start_trusting(datadir)) == [1, 2, 3, 4]


# -- TRUNC -------------------------------------------------------------------------------------------------------------


def with_history(files: MemoryFiles) -> TxnLog:
    """Snapshots 0, 4 and 8; logs 1-4, 5-8 and 9-12."""
    datadir = DataDir(files, "/data", "/data")
    start(datadir)
    log = make_log(datadir)
    for first in (1, 5, 9):
        log.append(entries(first, first + 3))
        log.roll()
        if first < 9:
            recovered = start(datadir)
            datadir.put_snapshot(first + 3, snapshot_file(b"".join(recovered.database.image().pieces())))
    return log


class TestTruncate:
    @pytest.mark.parametrize(
        ("zxid", "left"),
        [
            (12, ["log.1", "log.5", "log.9", "snapshot.0", "snapshot.4", "snapshot.8"]),
            (10, ["log.1", "log.5", "log.9", "snapshot.0", "snapshot.4", "snapshot.8"]),
            (8, ["log.1", "log.5", "snapshot.0", "snapshot.4", "snapshot.8"]),
            (7, ["log.1", "log.5", "snapshot.0", "snapshot.4"]),
            (4, ["log.1", "snapshot.0", "snapshot.4"]),
            (1, ["log.1", "snapshot.0"]),
            (0, ["snapshot.0"]),
        ],
    )
    def test_what_follows_is_gone(self, files: MemoryFiles, datadir: DataDir, zxid: int, left: list[str]) -> None:
        log = with_history(files)
        log.truncate(zxid)
        files.lose_power(0, lambda durable, now: durable)
        assert [name for name in files.list(DATA) if "." in name] == left
        recovered = start(datadir)
        assert recovered.last_zxid == zxid
        assert zxids(recovered) == list(range(1, zxid + 1))
        assert recovered.warnings == ()
        log.append(entries(zxid + 1, zxid + 2))
        assert zxids(start(datadir)) == list(range(1, zxid + 3))

    def test_the_file_that_is_being_written_too(self, files: MemoryFiles, datadir: DataDir) -> None:
        log = with_history(files)
        log.append(entries(13, 15))
        log.truncate(14)
        assert zxids(start(datadir)) == list(range(1, 15))

    def test_what_is_not_held_is_refused_and_nothing_changed(self, files: MemoryFiles) -> None:
        log = with_history(files)
        before = {name: files.read(f"{DATA}/{name}") for name in files.list(DATA)}
        for zxid in (13, 1 << 32):
            with pytest.raises(StorageError, match=rf"^{DATA}: no transaction 0x{zxid:x} to cut behind$"):
                log.truncate(zxid)
        files.remove(f"{DATA}/snapshot.0")
        with pytest.raises(StorageError, match=rf"^{DATA}: no snapshot at or below 0x3 to go back to$"):
            log.truncate(3)
        del before["snapshot.0"]
        assert {name: files.read(f"{DATA}/{name}") for name in files.list(DATA)} == before

    def test_a_snapshot_that_was_not_written_to_its_end_is_none_to_go_back_to(self, files: MemoryFiles) -> None:
        log = with_history(files)
        files.put(f"{DATA}/snapshot.0", files.read(f"{DATA}/snapshot.0")[:-1])
        with pytest.raises(StorageError, match=rf"^{DATA}: no snapshot at or below 0x3 to go back to$"):
            log.truncate(3)
        assert zxids(start(DataDir(files, "/data", "/data"))) == list(range(1, 13))

    def test_a_start_of_an_epoch_that_we_have_not_lived_through(self, files: MemoryFiles, datadir: DataDir) -> None:
        """What came before it in the history of who names it, we cannot know."""
        log = with_history(files)
        log.append(entries(2 * EPOCH + 1, 2 * EPOCH + 3))
        with pytest.raises(StorageError, match="no transaction 0x100000000 to cut behind"):
            log.truncate(EPOCH)
        log.truncate(2 * EPOCH)
        assert zxids(start(datadir, epochs=True)) == list(range(1, 13))

    @pytest.mark.parametrize("zxid", [10, 8, 6, 0])
    def test_a_crash_leaves_a_beginning_of_history(self, zxid: int) -> None:
        """At every point, whatever of the names is kept: no gap, nothing of it forgotten, and it can be done again."""

        def crashed(cut_after: int) -> MemoryFiles:
            files = MemoryFiles()
            files.put(f"{DATA}/myid", b"1")
            log = with_history(files)
            files.cut_after = len(files.operations) + cut_after
            with suppress(PowerCut):
                log.truncate(zxid)
            return files

        files = crashed(100)
        lengths = set()
        for cut_after in range(20):
            for index in range(len(list(crashed(cut_after).losses()))):
                files = crashed(cut_after)
                files.lose_power(*list(files.losses())[index])
                datadir = DataDir(files, "/data", "/data")
                recovered = start(datadir)
                assert zxids(recovered) == list(range(1, recovered.last_zxid + 1))
                assert recovered.last_zxid >= zxid
                lengths.add(recovered.last_zxid)
                if recovered.last_zxid > zxid:
                    make_log(datadir).truncate(zxid)
                    assert zxids(start(datadir)) == list(range(1, zxid + 1))
        assert {zxid, 12} <= lengths


EPOCH = 0x1_0000_0000
# Our history: two epochs, some numbers of them left out, snapshots between and at their starts.
HISTORY = [1, 2, 3, 5, EPOCH + 1, EPOCH + 2, 3 * EPOCH + 1, 3 * EPOCH + 2, 3 * EPOCH + 4]


def with_epochs(rolls: set[int], snapshots: set[int]) -> MemoryFiles:
    files = MemoryFiles()
    files.put(f"{DATA}/myid", b"1")
    datadir = DataDir(files, "/data", "/data")
    log = make_log(datadir)
    database = start(datadir).database
    for zxid in HISTORY:
        if zxid in rolls:
            log.roll()
        log.append([(zxid, create(zxid))])
        database.replay(create(zxid))
        # At the start of the next epoch the tree is that of the last transaction before it.
        for at in snapshots & {zxid, (zxid // EPOCH + 1) * EPOCH}:
            datadir.put_snapshot(at, snapshot_file(b"".join(database.image().pieces())))
    log.close()
    return files


# Zxids that we hold, the starts of epochs, and some between and behind.
OTHERS = [*(epoch * EPOCH for epoch in range(6)), 4, EPOCH + 7, 2 * EPOCH + 1, 3 * EPOCH + 3]


@settings(deadline=None, max_examples=60)
@given(
    rolls=st.sets(st.sampled_from(HISTORY)),
    snapshots=st.sets(st.sampled_from([*HISTORY, EPOCH, 2 * EPOCH, 3 * EPOCH])),
    zxid=st.sampled_from(HISTORY + OTHERS),
    cut_after=st.integers(0, 25),
    data=st.data(),
)
def test_a_cut_anywhere(rolls: set[int], snapshots: set[int], zxid: int, cut_after: int, data: st.DataObject) -> None:
    """Refused with nothing changed, or done; with a power cut, on the way from the one history to the other."""
    files = with_epochs(rolls, snapshots)
    wanted = [held for held in HISTORY if held <= zxid]
    # The start of an epoch is held by who has lived through it.
    lived = not zxid % EPOCH and any(held // EPOCH == zxid // EPOCH for held in HISTORY)
    shot = zxid in snapshots and (zxid in HISTORY or zxid // EPOCH - 1 in {held // EPOCH for held in HISTORY})
    held = zxid in HISTORY or lived or shot or not zxid
    before = {name: files.read(f"{DATA}/{name}") for name in files.list(DATA)}
    files.cut_after = len(files.operations) + cut_after
    try:
        make_log(DataDir(files, "/data", "/data")).truncate(zxid)
    except StorageError:
        assert not held
        assert {name: files.read(f"{DATA}/{name}") for name in files.list(DATA)} == before
        return
    except PowerCut:
        files.lose_power(*data.draw(st.sampled_from(list(files.losses())), label="what is left"))
        assert zxids(start(DataDir(files, "/data", "/data"), epochs=True)) == [
            number for number in HISTORY if number <= max(wanted[-1:] + left_of(files))
        ]
        if max(left_of(files)) > zxid:
            make_log(DataDir(files, "/data", "/data")).truncate(zxid)
    assert held
    files.cut_after = None
    assert zxids(start(DataDir(files, "/data", "/data"), epochs=True)) == wanted
    make_log(DataDir(files, "/data", "/data")).append(entries(zxid + 1, zxid + 1))
    assert zxids(start(DataDir(files, "/data", "/data"), epochs=True)) == [*wanted, zxid + 1]


def left_of(files: MemoryFiles) -> list[int]:
    """The transactions that logs and snapshots hold, as their names and readers tell."""
    datadir = DataDir(files, "/data", "/data")
    found = [zxid for name in datadir.log_names() for _, zxid, _ in datadir.log_reader(name).entries()]
    return [*found, *(zxid_of_name(name) for name in datadir.snapshot_names()), 0]


def test_a_crash_before_any_operation_keeps_what_was_acknowledged() -> None:
    """For one in the middle of a write see the simulated disk's tests."""

    def live(files: MemoryFiles, acknowledged: list[int]) -> None:
        datadir = DataDir(files, "/data", "/data")
        start(datadir)
        log = make_log(datadir, size_limit_bytes=500)
        for first, last in ((1, 2), (3, 4), (5, 7), (8, 8), (9, 12)):
            log.append(entries(first, last))
            acknowledged.append(last)

    def crashed(cut_after: int) -> tuple[MemoryFiles, int]:
        files = MemoryFiles()
        files.put(f"{DATA}/myid", b"1")
        files.cut_after = cut_after
        acknowledged = [0]
        with suppress(PowerCut):
            live(files, acknowledged)
        return files, acknowledged[-1]

    whole = MemoryFiles()
    whole.put(f"{DATA}/myid", b"1")
    live(whole, [])
    assert len(logs(whole)) > 1
    for cut_after in range(len(whole.operations) + 1):
        for index in range(len(list(crashed(cut_after)[0].losses()))):
            files, promised = crashed(cut_after)
            files.lose_power(*list(files.losses())[index])
            recovered = start(DataDir(files, "/data", "/data"))
            assert recovered.last_zxid >= promised
            assert zxids(recovered) == list(range(1, recovered.last_zxid + 1))
