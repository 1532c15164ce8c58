"""recover: which snapshot, which logs, what is cut, what is refused and what is only told."""

import gzip
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import DATA, create, entries, start, zxids
from memory_files import MemoryFiles

from zktw.storage.datadir import LOG_BASE, DataDir
from zktw.storage.logformat import HEADER, HEADER_BYTES, encode_entry
from zktw.storage.recovery import Rules, recover, reload
from zktw.storage.snapformat import SnapshotEncoder
from zktw.storage.txnlog import TxnLog
from zktw.terms.codes import OpCode
from zktw.terms.errors import StorageError
from zktw.tree.database import Database
from zktw.wire.records import OPEN_ACL
from zktw.wire.txn import CloseSessionTxn, CreateSessionTxn, CreateTxn, TxnHeader, encode_txn


def log(*zxids: int) -> bytes:
    return HEADER + b"".join(encode_entry(create(zxid)) for zxid in zxids)


def database(*zxids: int) -> Database:
    made = Database()
    for zxid in zxids:
        made.replay(create(zxid))
    return made


def snapshot(made: Database, *, digest: int | None = None, digest_zxid: int = 0, last_zxid: int | None = None) -> bytes:
    image = made.image()
    encoder = SnapshotEncoder()
    content = encoder.begin() + b"".join(encoder.add(piece) for piece in image.pieces())
    return content + encoder.end(digest_zxid, digest=digest, last_zxid=last_zxid)


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def session(zxid: int, client: int, type_: int, txn: CreateSessionTxn | CloseSessionTxn | CreateTxn) -> bytes:
    return encode_entry(encode_txn(TxnHeader(client, 0, zxid, 5, type_), txn, None))


@pytest.fixture
def files() -> MemoryFiles:
    files = MemoryFiles()
    files.put(f"{DATA}/snapshot.0", snapshot(database()))
    return files


def put(files: MemoryFiles, **contents: bytes) -> None:
    for name, content in contents.items():
        files.put(f"{DATA}/{name.replace('_', '.')}", content)


def directory(files: MemoryFiles) -> DataDir:
    return DataDir(files, "/data", "/data")


def refusal(files: MemoryFiles, *, epochs: bool = False) -> str:
    before = {name: files.read(f"{DATA}/{name}") for name in files.list(DATA)}
    with pytest.raises(StorageError) as caught:
        start(directory(files), epochs=epochs)
    assert {name: files.read(f"{DATA}/{name}") for name in files.list(DATA)} == before, "nothing may be changed"
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestReplay:
    def test_the_newest_snapshot_and_what_follows_it(self, files: MemoryFiles) -> None:
        put(files, snapshot_3=snapshot(database(1, 2, 3)), log_1=log(1, 2, 3, 4), log_5=log(5, 6))
        seen: list[tuple[int, bytes]] = []
        recovered = recover(
            directory(files), Database, Rules(epochs=False), lambda zxid, payload: seen.append((zxid, payload))
        )
        assert seen == entries(4, 6)
        assert recovered.last_zxid == 6
        assert recovered.txns_replayed == 3
        assert recovered.warnings == ()
        assert not recovered.snapshot_wanted
        assert zxids(recovered) == [1, 2, 3, 4, 5, 6]

    def test_logs_from_before_the_snapshot_are_not_read(self, files: MemoryFiles) -> None:
        put(files, snapshot_5=snapshot(database(1, 2, 3, 4, 5)), log_1=b"garbage", log_3=log(3, 4, 5), log_6=log(6))
        assert zxids(start(directory(files))) == [1, 2, 3, 4, 5, 6]

    def test_the_epochs_are_those_of_the_last_transaction(self, files: MemoryFiles) -> None:
        first = 0x3_0000_0001
        put(files, log_1=log(1, 2), log_300000001=log(first, first + 1))
        recovered = start(directory(files), epochs=True)
        assert (recovered.last_zxid, recovered.current_epoch, recovered.accepted_epoch) == (first + 1, 3, 3)
        assert files.read(f"{DATA}/currentEpoch") == b"3"
        assert recovered.warnings == ()

    def test_sessions_and_their_ephemerals(self, files: MemoryFiles) -> None:
        """A session that was closed is gone; an ephemeral that no session stands behind goes too."""
        content = HEADER
        content += session(1, 7, OpCode.CREATE_SESSION, CreateSessionTxn(4000))
        content += session(2, 8, OpCode.CREATE_SESSION, CreateSessionTxn(5000))
        content += session(3, 7, OpCode.CREATE, CreateTxn("/kept", b"", OPEN_ACL, True, 1))
        content += session(4, 8, OpCode.CREATE, CreateTxn("/closed", b"", OPEN_ACL, True, 2))
        content += session(5, 9, OpCode.CREATE, CreateTxn("/orphan", b"", OPEN_ACL, True, 3))
        content += session(6, 8, OpCode.CLOSE_SESSION, CloseSessionTxn(("/closed",)))
        put(files, log_1=content)
        recovered = start(directory(files))
        assert recovered.database.sessions == {7: 4000}
        assert {"/kept"} == {path for path in recovered.database.tree.nodes if path[1:] in ("kept", "closed", "orphan")}
        assert any("removed 1 ephemerals" in warning and "/orphan" in warning for warning in recovered.warnings)

    def test_what_takes_an_orphan_s_place_is_kept(self, files: MemoryFiles) -> None:
        """Its removal is no transaction: a later replay must not begin before it."""
        put(files, log_1=HEADER + session(1, 9, OpCode.CREATE, CreateTxn("/orphan", b"", OPEN_ACL, True, 1)))
        assert "/orphan" not in start(directory(files)).database.tree.nodes
        put(files, log_2=HEADER + session(2, 0, OpCode.CREATE, CreateTxn("/orphan", b"new", OPEN_ACL, False, 2)))
        assert "/orphan" in start(directory(files)).database.tree.nodes

    def test_a_transaction_that_cannot_be_read_is_named(self, files: MemoryFiles) -> None:
        bad = encode_entry(struct.pack(">qiqqi", 1, 1, 2, 1, 999))
        put(files, log_1=log(1) + bad + log(3)[HEADER_BYTES:])
        assert refusal(files).startswith(f"{DATA}/log.1 at byte {len(log(1))}: transaction 0x2 cannot be read: ")


class TestTail:
    @given(cut=st.integers(0, len(log(4, 5)) - 1), padding=st.sampled_from([0, 300]))
    def test_the_newest_log_is_cut(self, cut: int, padding: int) -> None:
        files = MemoryFiles()
        put(files, snapshot_0=snapshot(database()), log_1=log(1, 2, 3), log_4=log(4, 5)[:cut] + bytes(padding))
        recovered = start(directory(files))
        whole = [zxid for zxid in (4, 5) if len(log(*range(4, zxid + 1))) <= cut]
        assert zxids(recovered) == [1, 2, 3, *whole]
        files.lose_power(0, lambda durable, now: durable)
        again = start(directory(files))
        assert zxids(again) == [1, 2, 3, *whole]
        assert again.warnings == (), "the next start finds nothing to cut"

    def test_the_warning_names_file_and_offset(self, files: MemoryFiles) -> None:
        put(files, log_1=log(1, 2, 3)[:-3])
        assert start(directory(files)).warnings == (
            f"{DATA}/log.1: cut at byte {len(log(1, 2))}: an entry is cut off; a crash came before it was acknowledged",
        )

    def test_what_was_read_is_made_durable_before_it_counts(self, files: MemoryFiles) -> None:
        """A killed server's last write may be in memory only: read, voted with, and gone after a power cut."""
        put(files, log_1=log(1, 2))
        files.names[f"{DATA}/log.1"].durable = log(1)
        assert start(directory(files)).last_zxid == 2
        files.lose_power(0, lambda durable, now: durable)
        assert start(directory(files)).last_zxid == 2

    def test_damage_before_the_last_entry_is_refused(self, files: MemoryFiles) -> None:
        content = log(1, 2)
        put(files, log_1=content[:-5] + b"\xee" + content[-4:] + log(3)[HEADER_BYTES:])
        text = refusal(files)
        assert text.startswith(f"{DATA}/log.1: damaged at byte {len(log(1))}: the checksum of an entry is ")
        assert text.endswith(f"another follows at byte {len(content)}")


class TestOlderLogs:
    """Apache's servers never cut: a log that is not the newest may end with a part of an entry."""

    @pytest.mark.parametrize("padding", [0, 300])
    def test_one_cut_off_that_the_next_goes_on_from(self, files: MemoryFiles, padding: int) -> None:
        put(files, log_1=log(1, 2, 3)[:-10] + bytes(padding), log_3=log(3, 4))
        recovered = start(directory(files))
        assert zxids(recovered) == [1, 2, 3, 4]
        assert [warning.split(": ")[0] for warning in recovered.warnings] == [f"{DATA}/log.1"]

    def test_or_that_a_new_epoch_follows(self, files: MemoryFiles) -> None:
        put(files, log_1=log(1, 2, 3)[:-10], log_100000001=log(0x1_0000_0001))
        assert zxids(start(directory(files))) == [1, 2, 0x1_0000_0001]

    def test_one_cut_off_that_it_does_not_go_on_from(self, files: MemoryFiles) -> None:
        put(files, log_1=log(1, 2, 3)[:-10], log_4=log(4, 5))
        text = refusal(files)
        assert text.startswith(f"{DATA}/log.1: damaged at byte {len(log(1, 2))}: an entry is cut off; ")
        assert f"{DATA}/log.4 goes on with 0x4: if a quorum is up" in text

    @pytest.mark.parametrize("content", [damaged(log(1)), log(1) + b"garbage" * 10, b"", bytes(100), HEADER[:9]])
    def test_other_damage_is_refused(self, files: MemoryFiles, content: bytes) -> None:
        put(files, log_1=content, log_2=log(2))
        assert refusal(files).startswith(f"{DATA}/log.1: damaged at byte ")

    def test_one_without_an_entry_is_none_at_all(self, files: MemoryFiles) -> None:
        put(files, log_1=HEADER + bytes(100), log_2=log(1, 2))
        assert zxids(start(directory(files))) == [1, 2]


class TestGaps:
    """On a server alone the numbers of a log have no holes: what is missing at the seam of two files was lost."""

    @pytest.mark.parametrize(
        ("contents", "words"),
        [
            (
                {"log_1": log(1, 2), "log_5": log(5)},
                f"{DATA}/log.1 at byte {len(log(1))}: the last transaction of its file is 0x2, and {DATA}/log.5 goes on"
                " with 0x5: what was between them is lost",
            ),
            (
                {"snapshot_2": snapshot(database(1, 2)), "log_5": log(5)},
                f"{DATA}/snapshot.2: the last transaction of its file is 0x2, and {DATA}/log.5 goes on with 0x5",
            ),
        ],
        ids=["between logs", "between snapshot and log"],
    )
    def test_on_a_server_alone(self, files: MemoryFiles, contents: dict[str, bytes], words: str) -> None:
        put(files, **contents)
        assert refusal(files).startswith(words)

    def test_within_a_file_it_is_told(self, files: MemoryFiles) -> None:
        """Each entry there was written behind the other: its maker has left numbers out."""
        put(files, log_1=log(1, 2, 5))
        (warning,) = start(directory(files)).warnings
        assert warning.startswith(f"{DATA}/log.1 at byte {len(log(1, 2))}: 0x5 follows 0x2 of {DATA}/log.1 at byte ")

    def test_between_logs_of_a_member(self, files: MemoryFiles) -> None:
        """An old leader of Apache's leaves numbers out, in the logs of its followers too."""
        put(files, log_1=log(1, 2), log_5=log(5))
        assert start(directory(files), epochs=True).warnings == (
            f"{DATA}/log.5 at byte 16: 0x5 follows 0x2 of {DATA}/log.1 at byte {len(log(1))}: what was between them is"
            " missing",
        )

    def test_between_snapshot_and_log_of_a_member(self, files: MemoryFiles) -> None:
        put(files, snapshot_2=snapshot(database(1, 2)), log_5=log(5))
        (warning,) = start(directory(files), epochs=True).warnings
        assert warning.startswith(f"{DATA}/log.5 at byte 16: 0x5 follows 0x2 of {DATA}/snapshot.2: ")

    def test_a_new_epoch_that_does_not_begin_with_1(self, files: MemoryFiles) -> None:
        put(files, log_1=log(1), log_100000003=log(0x1_0000_0003))
        (warning,) = start(directory(files), epochs=True).warnings
        assert "0x100000003 follows 0x1 of" in warning

    def test_many_are_counted(self, files: MemoryFiles) -> None:
        put(files, log_1=log(*range(1, 100, 2)))
        warnings = start(directory(files)).warnings
        assert len(warnings) == 11
        assert warnings[-1] == f"{DATA}: 49 gaps in all"


class TestSnapshots:
    def test_an_older_one_and_a_longer_replay(self, files: MemoryFiles) -> None:
        put(files, snapshot_3=damaged(snapshot(database(1, 2, 3))), log_1=log(1, 2), log_3=log(3), log_4=log(4))
        recovered = start(directory(files))
        assert zxids(recovered) == [1, 2, 3, 4]
        (warning,) = recovered.warnings
        assert warning.startswith(f"{DATA}/snapshot.3: damaged ")
        assert warning.endswith("an older snapshot is tried")

    @pytest.mark.parametrize("content", [damaged(snapshot(database(1, 2, 3))), b"", snapshot(database(1, 2, 3))[:-2]])
    def test_but_not_where_the_log_falls_short_of_it(self, files: MemoryFiles, content: bytes) -> None:
        put(files, snapshot_3=content, log_1=log(1, 2))
        assert refusal(files).startswith(f"{DATA}/snapshot.3: cannot be read, and what else there is ends at 0x2: ")

    def test_an_older_one_where_the_newest_is_cut_short(self, files: MemoryFiles) -> None:
        put(files, snapshot_3=snapshot(database(1, 2, 3))[:-2], log_1=log(1, 2), log_3=log(3))
        recovered = start(directory(files))
        assert recovered.last_zxid == 3
        assert recovered.warnings == (f"{DATA}/snapshot.3: not written to its end; an older snapshot is tried",)

    def test_an_older_one_under_another_s_name(self, files: MemoryFiles) -> None:
        put(files, snapshot_3=snapshot(database(1), last_zxid=1), log_1=log(1, 2), log_3=log(3))
        recovered = start(directory(files))
        assert zxids(recovered) == [1, 2, 3]
        (warning,) = recovered.warnings
        assert warning == (
            f"{DATA}/snapshot.3: it holds the tree of 0x1, which its name is not of; an older snapshot is tried"
        )
        put(files, snapshot_4=snapshot(database(1), last_zxid=1))
        assert refusal(files).startswith(f"{DATA}/snapshot.4: cannot be read, and what else there is ends at 0x3: ")

    def test_one_that_grew_while_it_was_written(self, files: MemoryFiles) -> None:
        put(files, snapshot_2=snapshot(database(1, 2, 3), last_zxid=3), log_1=log(1, 2), log_3=log(3))
        recovered = start(directory(files))
        assert recovered.last_zxid == 3
        assert recovered.warnings == ()

    def test_one_of_an_epoch_s_start_that_was_never_finished(self, files: MemoryFiles) -> None:
        put(files, snapshot_100000000=b"part", log_1=log(1, 2))
        assert start(directory(files)).last_zxid == 2

    @pytest.mark.parametrize("epochs", [True, False])
    def test_none_but_a_log_is_refused(self, epochs: bool) -> None:
        files = MemoryFiles()
        put(files, log_1=log(1, 2))
        text = refusal(files, epochs=epochs)
        assert text.startswith(f"{DATA}: no snapshot is whole, but {DATA} holds transactions")
        assert "snapshot.trust.empty=true" in text

    def test_unless_it_is_trusted(self) -> None:
        files = MemoryFiles()
        put(files, log_1=log(1, 2), log_3=log(3))
        recovered = start(directory(files), trust_empty=True)
        assert zxids(recovered) == [1, 2, 3]
        assert recovered.snapshot_wanted
        assert files.list(DATA) == ["log.1", "log.3"], "a snapshot.0 would hide that the first ones are missing"

    def test_a_digest_that_does_not_add_up_is_counted(self, files: MemoryFiles) -> None:
        made = database(1, 2)
        for digest, mismatches in ((made.tree.digest, 0), (made.tree.digest ^ 1, 1)):
            put(files, snapshot_2=snapshot(made, digest=digest, digest_zxid=2))
            assert start(directory(files)).database.digest_mismatches == mismatches

    def test_digests_are_not_compared_while_the_tree_is_ahead(self, files: MemoryFiles) -> None:
        """A fuzzy snapshot: named 1, with a node of 2 in it; its digest is of 2, where the dump ended."""
        made = database(1, 2)
        header = TxnHeader(1, 2, 2, 1002, OpCode.CREATE)
        txns = [
            encode_txn(header, CreateTxn("/n2", b"", OPEN_ACL, False, 2), made.tree.digest),
            encode_txn(TxnHeader(1, 3, 3, 1003, OpCode.CREATE), CreateTxn("/n3", b"", OPEN_ACL, False, 3), 12345),
        ]
        put(files, snapshot_1=snapshot(made, digest=made.tree.digest, digest_zxid=2))
        put(files, log_1=log(1) + b"".join(encode_entry(txn) for txn in txns))
        recovered = start(directory(files))
        assert zxids(recovered) == [1, 2, 3]
        assert recovered.database.digest_mismatches == 1, "that of the third, made up"

    @pytest.mark.parametrize("compression", ["", "gz", "snappy"])
    def test_the_first_one_is_packed_as_configured(self, compression: str) -> None:
        files = MemoryFiles()
        files.put(f"{DATA}/myid", b"1")
        rules = Rules(epochs=False, compression=compression)  # type: ignore[arg-type]  # from a list of strings
        recover(directory(files), Database, rules)
        name = "snapshot.0" + (f".{compression}" if compression else "")
        assert files.list(DATA) == ["myid", name]
        if compression == "gz":
            assert gzip.decompress(files.read(f"{DATA}/{name}")).startswith(b"ZKSN")
        put(files, log_1=log(1))
        assert zxids(start(directory(files))) == [1]


class TestPassedBy:
    """What cannot be read was perhaps a leader's tree: an older snapshot will do only where the log leads by that."""

    @pytest.mark.parametrize("epochs", [True, False])
    @pytest.mark.parametrize("content", [damaged(snapshot(database(1, 2, 3, 4))), b"", snapshot(database(1, 2))[:-2]])
    def test_what_the_log_does_not_come_by_is_refused(self, files: MemoryFiles, content: bytes, epochs: bool) -> None:
        put(files, snapshot_4=content, log_1=log(1, 2), log_3=log(3, 5, 6))
        assert refusal(files, epochs=epochs).startswith(
            f"{DATA}/snapshot.4: cannot be read, and the log does not come by 0x4, so what leads there may be missing: "
        )
        put(files, log_3=log(3, 4, 5, 6))
        assert zxids(start(directory(files), epochs=epochs)) == [1, 2, 3, 4, 5, 6]

    def test_nor_what_another_file_begins_behind(self, files: MemoryFiles) -> None:
        """A tree was installed at 5: what follows it goes on from there, and 3 and 4 were never in our log."""
        put(files, snapshot_5=damaged(snapshot(database(1, 2, 3, 4, 5))), log_1=log(1, 2), log_6=log(6, 7))
        assert refusal(files, epochs=True).startswith(f"{DATA}/snapshot.5: cannot be read, and the log does not come")

    def test_each_of_several(self, files: MemoryFiles) -> None:
        put(files, snapshot_3=b"", snapshot_5=damaged(snapshot(database(1, 2))), log_1=log(1, 2, 3, 4, 5, 6))
        assert start(directory(files), epochs=True).last_zxid == 6
        for numbers, name in (((1, 2, 4, 5, 6), "snapshot.3"), ((1, 2, 3, 4, 6), "snapshot.5")):
            put(files, log_1=log(*numbers))
            assert refusal(files, epochs=True).startswith(f"{DATA}/{name}: cannot be read, and the log does not come")

    def test_a_newer_whole_one_makes_up_for_it(self, files: MemoryFiles) -> None:
        put(files, snapshot_3=b"", snapshot_5=snapshot(database(1, 2, 3, 4, 5)), log_1=log(1, 2), log_6=log(6))
        assert start(directory(files), epochs=True).last_zxid == 6

    def test_without_any_snapshot_too(self) -> None:
        files = MemoryFiles()
        put(files, snapshot_3=b"", log_1=log(1, 2, 4))
        with pytest.raises(StorageError, match=f"^{DATA}/snapshot.3: cannot be read, and the log does not come by 0x3"):
            start(directory(files), trust_empty=True)
        put(files, log_1=log(1, 2, 3, 4))
        assert start(directory(files), trust_empty=True).last_zxid == 4

    def test_the_start_of_an_epoch_is_no_transaction(self, files: MemoryFiles) -> None:
        """So the log cannot tell that it leads there; behind the tree that was taken over last it lacks nothing."""
        first = 0x3_0000_0001
        begun = snapshot(database(1, 2, 3))
        put(files, snapshot_300000000=damaged(begun), log_1=log(1, 2, 3), log_300000001=log(first))
        assert refusal(files, epochs=True).startswith(
            f"{DATA}/snapshot.300000000: cannot be read, and the log does not come by 0x300000000, "
        )
        put(files, snapshot_2=snapshot(database(1, 2)))
        files.put(f"{DATA}/{LOG_BASE}", b"2")
        assert zxids(start(directory(files), epochs=True)) == [1, 2, 3, first]

    def test_and_may_be_one_that_was_never_finished(self, files: MemoryFiles) -> None:
        first = 0x3_0000_0001
        put(files, snapshot_300000000=b"part", log_1=log(1, 2, 3), log_300000001=log(first))
        assert zxids(start(directory(files), epochs=True)) == [1, 2, 3, first]

    def test_nothing_older_than_a_tree_that_was_taken_over(self, files: MemoryFiles) -> None:
        """The log comes by it, but what it holds from before is not what came before the tree."""
        put(files, snapshot_5=damaged(snapshot(database(1, 2))), log_1=log(1, 2, 3, 4, 5, 6))
        files.put(f"{DATA}/{LOG_BASE}", b"5")
        assert refusal(files, epochs=True).startswith(
            f"{DATA}/snapshot.5: cannot be read, and nothing older may take its place: by {DATA}/{LOG_BASE} the tree of"
            " 0x5 came from a leader: "
        )
        put(files, snapshot_6=snapshot(database(1, 2, 6)))
        assert zxids(start(directory(files), epochs=True)) == [1, 2, 6]

    def test_but_one_that_never_came_is_none(self, files: MemoryFiles) -> None:
        """A crash came between the word that it is about to come, and its snapshot."""
        put(files, log_1=log(1, 2, 3, 4, 5, 6))
        files.put(f"{DATA}/{LOG_BASE}", b"5")
        assert start(directory(files), epochs=True).last_zxid == 6

    def test_without_a_log_a_tree_that_is_lost_is_not_nothing(self) -> None:
        files = MemoryFiles()
        put(files, snapshot_5=snapshot(database(1))[:-1])
        files.put(f"{DATA}/{LOG_BASE}", b"5")
        assert "nothing older may take its place" in refusal(files, epochs=True)

    def test_a_base_that_cannot_be_read_is_refused(self, files: MemoryFiles) -> None:
        files.put(f"{DATA}/{LOG_BASE}", b"0x5")
        assert refusal(files, epochs=True).startswith(f"{DATA}/{LOG_BASE}: damaged at byte 0: '0x5' is no zxid; ")


class TestReload:
    """A member reads its disk again after a TRUNC, in the middle of its life."""

    @pytest.mark.parametrize("zxid", [3, 5, 6])
    def test_what_is_left_after_a_cut(self, files: MemoryFiles, zxid: int) -> None:
        put(files, snapshot_3=snapshot(database(1, 2, 3)), log_1=log(1, 2, 3, 4), log_5=log(5, 6))
        put(files, acceptedEpoch=b"7", currentEpoch=b"6")
        files.put("/data/initialize", b"")
        directory(files).write_log_base(2)
        TxnLog(directory(files)).truncate(zxid)
        before = {name: files.read(f"{DATA}/{name}") for name in files.list(DATA)}
        files.operations.clear()
        seen: list[tuple[int, bytes]] = []
        found = reload(directory(files), Database, Rules(), lambda zxid, payload: seen.append((zxid, payload)))
        assert found.tree.nodes == database(*range(1, zxid + 1)).tree.nodes
        assert found.last_zxid == zxid
        assert seen == entries(4, zxid)
        assert {name: files.read(f"{DATA}/{name}") for name in files.list(DATA)} == before
        assert files.exists("/data/initialize"), "that is for a start"
        assert {operation for operation, _ in files.operations} <= {"sync"}

    def test_what_cannot_be_used_is_refused(self, files: MemoryFiles) -> None:
        put(files, snapshot_5=b"", log_1=log(1, 2, 3))
        with pytest.raises(StorageError, match=f"^{DATA}/snapshot.5: cannot be read"):
            reload(directory(files), Database, Rules())
