"""DataDir: what a server starts from, what it refuses, and what purge removes."""

import gzip
from dataclasses import dataclass

import pytest
from memory_files import MemoryFiles
from wholefiles import fresh_body, snapshot_file

from zktw.storage.datadir import NEW_PREFIX, DataDir
from zktw.storage.recovery import Recovered, Rules, recover
from zktw.terms.errors import StorageError
from zktw.tree.database import Database

DATA = "/data/version-2"
LOGS = "/logs/version-2"
FRESH = snapshot_file(fresh_body())
LOG_HEADER = b"ZKLG" + bytes([0, 0, 0, 2]) + bytes(8)


def with_node(path: str) -> bytes:
    """A whole snapshot file whose tree has one node more."""
    body = fresh_body()
    node = len(path).to_bytes(4, "big") + path.encode() + bytes(4) + b"\xff" * 8 + bytes(60)
    return snapshot_file(body[:-5] + node + body[-5:])


def with_damage(content: bytes) -> bytes:
    """One bit of the tree flipped; the end, which the first look is at, is as it was."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.fixture
def files() -> MemoryFiles:
    return MemoryFiles()


@pytest.fixture
def datadir(files: MemoryFiles) -> DataDir:
    return DataDir(files, "/data", "/logs")


@dataclass
class Found:
    """The numbers that a server starts with."""

    last_zxid: int
    current_epoch: int
    accepted_epoch: int


def load(datadir: DataDir, *, db_autocreate: bool = True, epochs: bool = True) -> Recovered:
    datadir.prepare(True)
    return recover(datadir, Database, Rules(db_autocreate=db_autocreate, epochs=epochs))


def start(datadir: DataDir, *, db_autocreate: bool = True, epochs: bool = True) -> Found:
    recovered = load(datadir, db_autocreate=db_autocreate, epochs=epochs)
    return Found(recovered.last_zxid, recovered.current_epoch, recovered.accepted_epoch)


def refusal(datadir: DataDir, **options: bool) -> str:
    with pytest.raises(StorageError) as caught:
        start(datadir, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


class TestPrepare:
    def test_makes_both_directories_durable(self, files: MemoryFiles, datadir: DataDir) -> None:
        datadir.prepare(True)
        files.lose_power(0, lambda durable, now: durable)
        assert files.exists(DATA)
        assert files.exists(LOGS)

    def test_makes_nothing_where_that_is_forbidden(self, files: MemoryFiles, datadir: DataDir) -> None:
        with pytest.raises(StorageError, match=r"^/data/version-2: is missing, and datadir.autocreate=false"):
            datadir.prepare(False)
        assert files.operations == []

    def test_takes_directories_that_are_there(self, files: MemoryFiles, datadir: DataDir) -> None:
        files.put(f"{DATA}/snapshot.0", FRESH)
        files.put(f"{LOGS}/log.1", LOG_HEADER)
        datadir.prepare(False)
        # A killed process may have made them: their names are made durable, and nothing else is touched.
        assert [operation for operation, _ in files.operations] == ["sync_directory", "sync_directory"]

    @pytest.mark.parametrize(
        ("path", "key"), [(f"{LOGS}/snapshot.0", "dataLogDir"), (f"{DATA}/log.1", "dataDir")], ids=["snapshot", "log"]
    )
    def test_refuses_swapped_directories(self, files: MemoryFiles, datadir: DataDir, path: str, key: str) -> None:
        files.put(path, b"")
        with pytest.raises(StorageError, match=rf"^{path}: does not belong into {key};"):
            datadir.prepare(True)

    @pytest.mark.parametrize("path", [DATA, LOGS])
    def test_refuses_what_cannot_be_written_to(self, files: MemoryFiles, datadir: DataDir, path: str) -> None:
        datadir.prepare(True)
        files.read_only.add(path)
        with pytest.raises(StorageError, match=f"^{path}: no files can be made in it$"):
            datadir.prepare(True)

    def test_one_directory_for_both_is_never_swapped(self, files: MemoryFiles) -> None:
        files.put(f"{DATA}/snapshot.0", FRESH)
        files.put(f"{DATA}/log.1", LOG_HEADER)
        assert start(DataDir(files, "/data", "/data")).last_zxid == 0


class TestEmptyDirectory:
    def test_begins_with_the_fresh_tree_and_epoch_0(self, files: MemoryFiles, datadir: DataDir) -> None:
        assert start(datadir) == Found(0, 0, 0)
        assert files.list(DATA) == ["acceptedEpoch", "currentEpoch", "snapshot.0"]
        content = files.read(f"{DATA}/snapshot.0")
        assert content.startswith(FRESH)
        assert content[len(FRESH) :][:20] == bytes(8) + bytes([0, 0, 0, 2]) + bytes(8), "a digest that tells nothing"
        assert files.read(f"{DATA}/currentEpoch") == b"0"

    def test_standalone_needs_no_epochs(self, files: MemoryFiles, datadir: DataDir) -> None:
        assert start(datadir, epochs=False) == Found(0, 0, 0)
        assert files.list(DATA) == ["snapshot.0"]

    def test_waits_for_a_snapshot_where_it_may_not_begin(self, files: MemoryFiles, datadir: DataDir) -> None:
        assert start(datadir, db_autocreate=False) == Found(-1, 0, 0)
        assert files.list(DATA) == ["acceptedEpoch", "currentEpoch"]

    def test_the_marker_allows_one_start_only(self, files: MemoryFiles, datadir: DataDir) -> None:
        files.put("/logs/initialize", b"")
        assert start(datadir, db_autocreate=False).last_zxid == 0
        files.lose_power(0, lambda durable, now: durable)
        assert not files.exists("/logs/initialize")
        files.remove(f"{DATA}/snapshot.0")
        assert start(datadir, db_autocreate=False).last_zxid == -1

    def test_the_marker_goes_where_there_is_a_tree_already(self, files: MemoryFiles, datadir: DataDir) -> None:
        files.put(f"{DATA}/snapshot.0", FRESH)
        files.put("/logs/initialize", b"")
        start(datadir)
        assert not files.exists("/logs/initialize")


class TestLogs:
    @pytest.mark.parametrize(
        "content",
        [LOG_HEADER, LOG_HEADER + bytes(5), LOG_HEADER + bytes(65536), LOG_HEADER + bytes(8)],
        ids=["header", "torn", "padding", "checksum only"],
    )
    def test_a_log_without_an_entry_is_no_data(self, files: MemoryFiles, datadir: DataDir, content: bytes) -> None:
        files.put(f"{LOGS}/log.100000001", content)
        assert start(datadir).last_zxid == 0
        assert files.read(f"{LOGS}/log.100000001") == content

    @pytest.mark.parametrize("content", [b"", LOG_HEADER[:9], bytes(70000)], ids=["nothing", "part", "zeros"])
    def test_one_without_a_header_goes(self, files: MemoryFiles, datadir: DataDir, content: bytes) -> None:
        """A crash has left it: each transaction is preceded by a header that is durable."""
        files.put(f"{LOGS}/log.1", content)
        recovered = load(datadir)
        assert recovered.last_zxid == 0
        assert recovered.warnings == (
            f"{LOGS}/log.1: removed: it has no header; a crash came before its first transaction",
        )
        files.lose_power(0, lambda durable, now: durable)
        assert files.list(LOGS) == []

    def test_what_is_no_log_is_named(self, files: MemoryFiles, datadir: DataDir) -> None:
        files.put(f"{LOGS}/log.1", b"some text")
        assert refusal(datadir).startswith(f"{LOGS}/log.1: damaged at byte 0: it begins with 736f6d65")
        assert files.list(DATA) == [], "nothing may be written into a directory that is refused"


class TestSnapshots:
    def test_the_zxid_is_that_of_the_newest_name(self, files: MemoryFiles, datadir: DataDir) -> None:
        for name in ("snapshot.0", "snapshot.900000000", "snapshot.a00000000", "snapshot.nonsense"):
            files.put(f"{DATA}/{name}", FRESH)
        assert start(datadir) == Found(0xA_00000000, 10, 10)

    def test_packed_snapshots_are_read(self, files: MemoryFiles, datadir: DataDir) -> None:
        files.put(f"{DATA}/snapshot.200000000.gz", gzip.compress(FRESH))
        assert start(datadir).last_zxid == 2 << 32

    def test_the_configuration_node_may_hold_its_text(self, files: MemoryFiles, datadir: DataDir) -> None:
        content = snapshot_file(fresh_body(b"server.1=h:2888:3888:participant\nversion=0"))
        files.put(f"{DATA}/snapshot.100000000", content)
        assert start(datadir).last_zxid == 1 << 32

    def test_its_tree_is_there(self, files: MemoryFiles, datadir: DataDir) -> None:
        files.put(f"{DATA}/snapshot.100000001", with_node("/app"))
        assert "/app" in load(datadir).database.tree.nodes

    def test_one_that_was_never_finished_counts_for_nothing(self, files: MemoryFiles, datadir: DataDir) -> None:
        files.put(f"{DATA}/snapshot.100000000", FRESH)
        files.put(f"{DATA}/snapshot.200000000", FRESH[:-1])
        files.put(f"{DATA}/snapshot.300000000.gz", b"")
        assert start(datadir).last_zxid == 1 << 32

    def test_one_that_cannot_be_read_is_not_passed_over(self, files: MemoryFiles, datadir: DataDir) -> None:
        """Its name tells of history that nothing else has. With a log that goes on behind it, see test_recovery."""
        files.put(f"{DATA}/snapshot.100000000", FRESH)
        for name, content in (
            ("snapshot.200000000", with_damage(FRESH)),
            ("snapshot.300000000.gz", gzip.compress(FRESH)[:-9]),
            ("snapshot.200000001", b"never finished"),
        ):
            files.put(f"{DATA}/{name}", content)
            text = refusal(datadir)
            assert text.startswith(f"{DATA}/{name}: cannot be read, and what else there is ends at 0x100000000")
            files.remove(f"{DATA}/{name}")
        assert start(datadir).last_zxid == 1 << 32

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("snapshot.200000000", with_damage(FRESH)),
            ("snapshot.200000000.gz", gzip.compress(FRESH)[:-9]),
            ("snapshot.200000000.gz", with_damage(gzip.compress(FRESH))),
        ],
        ids=["plain", "cut off gz", "bad gz"],
    )
    def test_damage_is_no_reason_to_begin_empty(
        self, files: MemoryFiles, datadir: DataDir, name: str, content: bytes
    ) -> None:
        files.put(f"{DATA}/{name}", content)
        text = refusal(datadir)
        assert text.startswith(f"{DATA}/{name}: damaged")
        assert "move it away" in text
        assert files.list(DATA) == [name]

    def test_our_leftover_is_no_snapshot(self, files: MemoryFiles, datadir: DataDir) -> None:
        """It may not be durable, and it is removed: history taken from it would be gone at the next start."""
        files.put(f"{DATA}/{NEW_PREFIX}snapshot.500000000", FRESH)
        assert start(datadir, epochs=False) == Found(0, 0, 0)
        assert files.list(DATA) == ["snapshot.0"]

    @pytest.mark.parametrize("number", ["", "x", "0x5", "1_0", " 5", "-5", "8000000000000000", "\u0665"])
    def test_a_name_without_a_number_is_none_of_ours(self, files: MemoryFiles, datadir: DataDir, number: str) -> None:
        files.put(f"{DATA}/snapshot.{number}", with_node("/mine"))
        assert start(datadir) == Found(0, 0, 0)
        assert files.read(f"{DATA}/snapshot.{number}") == with_node("/mine")

    def test_numbers_may_be_capital(self, files: MemoryFiles, datadir: DataDir) -> None:
        files.put(f"{DATA}/snapshot.A00000000", FRESH)
        assert start(datadir) == Found(0xA_0000_0000, 10, 10)


class TestEpochs:
    @staticmethod
    def have(files: MemoryFiles, history: int, **contents: str) -> None:
        files.put(f"{DATA}/snapshot.{history << 32:x}", FRESH)
        for name, text in contents.items():
            files.put(f"{DATA}/{name.replace('_', '.')}", text.encode())

    def test_they_are_read(self, files: MemoryFiles, datadir: DataDir) -> None:
        self.have(files, 3, currentEpoch="4", acceptedEpoch="5\n")
        assert start(datadir) == Found(3 << 32, 4, 5)
        assert "write" not in [operation for operation, _ in files.operations]

    def test_missing_ones_are_those_of_the_history(self, files: MemoryFiles, datadir: DataDir) -> None:
        self.have(files, 3)
        assert start(datadir) == Found(3 << 32, 3, 3)
        assert files.read(f"{DATA}/acceptedEpoch") == files.read(f"{DATA}/currentEpoch") == b"3"

    def test_an_apache_server_that_waited_for_a_snapshot_leaves_minus_1(
        self, files: MemoryFiles, datadir: DataDir
    ) -> None:
        files.put(f"{DATA}/currentEpoch", b"-1")
        files.put(f"{DATA}/acceptedEpoch", b"-1")
        assert start(datadir) == Found(0, 0, 0)

    def test_history_ahead_of_the_epoch_raises_it_durably(self, files: MemoryFiles, datadir: DataDir) -> None:
        self.have(files, 6, currentEpoch="5", acceptedEpoch="6")
        assert start(datadir) == Found(6 << 32, 6, 6)
        files.lose_power(0, lambda durable, now: durable)
        assert files.read(f"{DATA}/currentEpoch") == b"6"

    def test_an_apache_server_s_unfinished_epoch_is_adopted(self, files: MemoryFiles, datadir: DataDir) -> None:
        self.have(files, 6, currentEpoch="5", currentEpoch_tmp="7", acceptedEpoch="7")
        assert start(datadir) == Found(6 << 32, 7, 7)

    @pytest.mark.parametrize("text", ["", "garbage", "5"])
    def test_one_that_is_torn_or_old_is_not(self, files: MemoryFiles, datadir: DataDir, text: str) -> None:
        self.have(files, 6, currentEpoch="5", currentEpoch_tmp=text, acceptedEpoch="6")
        assert start(datadir) == Found(6 << 32, 6, 6)

    def test_it_is_not_adopted_where_no_crash_was(self, files: MemoryFiles, datadir: DataDir) -> None:
        self.have(files, 5, currentEpoch="5", currentEpoch_tmp="7", acceptedEpoch="7")
        assert start(datadir) == Found(5 << 32, 5, 7)

    def test_our_own_unfinished_epoch_is_removed_unread(self, files: MemoryFiles, datadir: DataDir) -> None:
        self.have(files, 6, currentEpoch="5", acceptedEpoch="7")
        files.put(f"{DATA}/{NEW_PREFIX}currentEpoch", b"7")
        assert start(datadir) == Found(6 << 32, 6, 7)
        assert not [name for name in files.list(DATA) if name.startswith(NEW_PREFIX)]

    @pytest.mark.parametrize("name", ["currentEpoch", "acceptedEpoch"])
    @pytest.mark.parametrize("text", ["", "x", "1 2", "-7", "1.0", "٣", str(2**63), "9" * 60])
    def test_damaged_ones_are_named(self, files: MemoryFiles, datadir: DataDir, name: str, text: str) -> None:
        self.have(files, 0, **{"currentEpoch": "1", "acceptedEpoch": "1", name: text})
        before = {path: files.read(path) for path in files.names if not files.names[path].directory}
        refused = refusal(datadir)
        assert refused.startswith(f"{DATA}/{name}: damaged at byte 0: ")
        assert "let it join anew" in refused
        assert {path: files.read(path) for path in before} == before

    def test_an_accepted_epoch_below_the_current_one_is_refused(self, files: MemoryFiles, datadir: DataDir) -> None:
        self.have(files, 0, currentEpoch="6", acceptedEpoch="5")
        text = refusal(datadir)
        assert text.startswith(f"{DATA}/acceptedEpoch: 5 is below currentEpoch 6")
        assert "let it join anew" in text

    def test_a_lost_accepted_epoch_is_refused(self, files: MemoryFiles, datadir: DataDir) -> None:
        """What it promised is unknown."""
        self.have(files, 3, currentEpoch="6")
        assert refusal(datadir).startswith(f"{DATA}/acceptedEpoch: is missing, though currentEpoch is 6")

    def test_a_disk_that_fails_is_named(
        self, files: MemoryFiles, datadir: DataDir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start(datadir)

        def full(path: str) -> None:
            raise OSError(28, "No space left on device", path)

        monkeypatch.setattr(files, "sync", full)
        with pytest.raises(StorageError, match=rf"^{DATA}/currentEpoch: cannot be written: No space left on device$"):
            datadir.write_epoch("currentEpoch", 1)
        assert files.read(f"{DATA}/currentEpoch") == b"0"


class TestPurge:
    @staticmethod
    def have(files: MemoryFiles, snapshots: str, logs: str) -> None:
        for zxid in snapshots.split():
            files.put(f"{DATA}/snapshot.{zxid}", gzip.compress(FRESH) if zxid.endswith(".gz") else FRESH)
        for zxid in logs.split():
            files.put(f"{LOGS}/log.{zxid}", LOG_HEADER)

    def test_older_snapshots_and_the_logs_that_only_they_need(self, files: MemoryFiles, datadir: DataDir) -> None:
        self.have(files, "0 10 20 30.gz 40", "1 11 1f 21 31")
        assert datadir.purge(3) == ["snapshot.0", "snapshot.10", "log.1", "log.11"]
        assert files.list(DATA) == ["snapshot.20", "snapshot.30.gz", "snapshot.40"]
        assert files.list(LOGS) == ["log.1f", "log.21", "log.31"], "log.1f may hold what follows snapshot.20"

    def test_a_log_that_begins_at_the_oldest_snapshot_ends_the_need_for_older(
        self, files: MemoryFiles, datadir: DataDir
    ) -> None:
        self.have(files, "20 30 40", "1 11 20 21")
        assert datadir.purge(3) == ["log.1", "log.11"]

    def test_snapshots_that_are_not_whole_protect_nothing(self, files: MemoryFiles, datadir: DataDir) -> None:
        self.have(files, "10 20 30", "1 8 11")
        for name in ("snapshot.40", "snapshot.50.gz", "snapshot.60.snappy", "snapshot.5"):
            files.put(f"{DATA}/{name}", b"torn")
        assert datadir.purge(3) == ["snapshot.5", "log.1"]
        assert files.list(DATA)[:3] == ["snapshot.10", "snapshot.20", "snapshot.30"]

    def test_order_is_that_of_numbers(self, files: MemoryFiles, datadir: DataDir) -> None:
        self.have(files, "9 a 10 100", "1")
        assert datadir.purge(3) == ["snapshot.9"]

    def test_nothing_without_a_whole_snapshot(self, files: MemoryFiles, datadir: DataDir) -> None:
        files.put(f"{DATA}/snapshot.40", b"torn")
        self.have(files, "", "1 11 21")
        assert datadir.purge(3) == []

    def test_other_files_are_left_alone(self, files: MemoryFiles, datadir: DataDir) -> None:
        self.have(files, "10 20 30 40", "1")
        for path in (f"{DATA}/currentEpoch", f"{DATA}/snapshot.x", f"{LOGS}/log", f"{LOGS}/logbook.1"):
            files.put(path, b"mine")
        assert datadir.purge(3) == ["snapshot.10"]


def test_sizes(files: MemoryFiles, datadir: DataDir) -> None:
    files.put(f"{DATA}/snapshot.0", b"12345")
    files.put(f"{DATA}/currentEpoch", b"7")
    files.put(f"{LOGS}/log.1", b"123")
    assert datadir.sizes() == (6, 3)
