"""recover: from what is on disk to the database that a server starts with (wire document, c.5). Blocks.

Nothing is skipped that may have been acknowledged. What a crash leaves at the end of the newest log is cut; all else
that cannot be read is refused, with its file and offset, and until then nothing on disk is changed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from zktw.storage.datadir import JOIN_ANEW, LOG_BASE, MOVE_AWAY, DataDir, Epochs, zxid_of_name
from zktw.storage.logformat import ENTRY_BYTES_MAX, HEADER_BYTES, End, LogReader, follows
from zktw.storage.snapformat import Compression, Ending, SnapshotEncoder, read_snapshot
from zktw.terms.errors import StorageError, WireError
from zktw.terms.limits import JUTE_MAXBUFFER
from zktw.terms.zxid import counter_of, format_zxid
from zktw.tree.database import Database

_CHUNK_BYTES = 1 << 20
# Apache looks no further back either.
_CANDIDATES_MAX = 100
_GAPS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a server starts from. last_zxid is -1 for an empty member that must wait for a snapshot."""

    last_zxid: int
    current_epoch: int
    accepted_epoch: int
    database: Database
    # Each one line for the log.
    warnings: tuple[str, ...] = ()
    txns_replayed: int = 0
    # What was read is in the log alone: the next start needs a snapshot of it.
    snapshot_wanted: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """How to recover, as configured. length_max and entry_bytes_max bound a field and a whole entry, in bytes."""

    db_autocreate: bool = True
    trust_empty: bool = False
    # A server outside of an ensemble needs no epochs: they are then neither read nor written.
    epochs: bool = True
    length_max: int = JUTE_MAXBUFFER
    entry_bytes_max: int = ENTRY_BYTES_MAX
    digest: bool = True
    serialize_last_zxid: bool = True
    compression: Compression = ""


def recover(
    datadir: DataDir,
    make_database: Callable[[], Database],
    rules: Rules | None = None,
    replayed: Callable[[int, bytes], None] = lambda zxid, payload: None,
) -> Recovered:
    """Load the newest whole snapshot and replay the log behind it; replayed(zxid, payload) is told of each entry.

    Raises StorageError for what cannot be used.
    """
    return _Recovery(datadir, make_database, rules or Rules(), replayed).run()


def begin_anew(datadir: DataDir, make_database: Callable[[], Database]) -> Recovered:
    """An observer that keeps nothing on disk: what lies there is left as it is, the epochs excepted."""
    epochs = datadir.read_epochs(-1)
    datadir.settle_epochs(epochs)
    return Recovered(-1, epochs.current, epochs.accepted, make_database())


def reload(
    datadir: DataDir,
    make_database: Callable[[], Database],
    rules: Rules,
    replayed: Callable[[int, bytes], None] = lambda zxid, payload: None,
) -> Database:
    """What is on disk once more, after a truncation; nothing there is changed, and no epochs are looked at.

    Raises StorageError for what cannot be used.
    """
    database, _ = _Recovery(datadir, make_database, rules, replayed).load()
    database.drop_orphans()
    return database


@dataclass
class _Recovery:
    """One recovery under way."""

    datadir: DataDir
    make_database: Callable[[], Database]
    rules: Rules
    replayed: Callable[[int, bytes], None]
    warnings: list[str] = field(default_factory=list)
    txns: int = 0
    gaps: int = 0
    # The zxid that the next transaction is to follow, and where it was found.
    last_zxid: int = -1
    last_place: str = ""
    # The zxid of the snapshot that was taken, and whether the log holds that transaction as well.
    snapshot_zxid: int = -1
    is_logged: bool = False
    # Snapshots newer than the one that was taken, newest first, and whether they seemed to be whole.
    passed_by: dict[str, bool] = field(default_factory=dict)
    # The zxids of these that replay has not come through yet.
    awaited: set[int] = field(default_factory=set)
    # What is to be done to the newest log once nothing is refused any more.
    mend: Callable[[], None] = lambda: None

    def run(self) -> Recovered:
        datadir = self.datadir
        datadir.clear_leftovers()
        self._make_names_last()
        database, fresh = self.load()
        snapshot_wanted = fresh and self.txns > 0
        if snapshot_wanted and not self.rules.trust_empty:
            raise StorageError(
                f"{datadir.snapshots}: no snapshot is whole, but {datadir.logs} holds transactions; what the log does"
                f" not hold is lost. {JOIN_ANEW}; if the log is known to be complete, snapshot.trust.empty=true"
                " replays it"
            )
        # Only members have somebody to wait for.
        waits = fresh and not self.txns and not (self.rules.db_autocreate or datadir.has_marker())
        waits = waits and self.rules.epochs
        last_zxid = -1 if waits else database.last_zxid
        orphans = database.drop_orphans()
        epochs = datadir.read_epochs(last_zxid) if self.rules.epochs else Epochs(0, 0)
        self.mend()
        if fresh and not self.txns and not waits:
            self._begin_empty(database)
        if orphans:
            # No transaction says that they are gone: a replay from before would find them again, and take what has
            # come in their place for a node that exists.
            self._put_snapshot(database)
            shown = ", ".join(orphans[:_GAPS_SHOWN])
            self.warnings.append(f"removed {len(orphans)} ephemerals of sessions that are over: {shown}")
        datadir.remove_marker()
        if self.rules.epochs:
            self._note_hole()
            datadir.settle_epochs(epochs)
        return Recovered(
            last_zxid, epochs.current, epochs.accepted, database, tuple(self.warnings), self.txns, snapshot_wanted
        )

    def _note_hole(self) -> None:
        """A tree may be on disk before the log has all that led to it: a quorum need not wait for us (and a tree that
        an Apache server has taken over never has it). No learner may be served across that.
        """
        zxid = self.snapshot_zxid
        if counter_of(zxid) and zxid > 0 and not self.is_logged and zxid > self.datadir.read_log_base():
            self.datadir.write_log_base(zxid)

    def load(self) -> tuple[Database, bool]:
        """What is on disk, and whether it begins without a snapshot. Changes nothing there."""
        database = self._load_snapshot()
        fresh = database is None
        self._check_floor(-1 if database is None else database.last_zxid)
        if database is None:
            database = self.make_database()
        first_zxid = database.last_zxid
        if 0 < first_zxid == self.datadir.read_log_base():
            database.take_for_fuzzy()
        self._replay(database)
        if self.gaps > _GAPS_SHOWN:
            self.warnings.append(f"{self.datadir.logs}: {self.gaps} gaps in all")
        self._check_history(first_zxid, database.last_zxid)
        return database, fresh

    def _make_names_last(self) -> None:
        """A process that died left names and contents that are read now and could be gone after a power cut."""
        for path in dict.fromkeys((self.datadir.snapshots, self.datadir.logs)):
            self.datadir.guard(path, partial(self.datadir.files.sync_directory, path))

    def _begin_empty(self, database: Database) -> None:
        # The digest of a tree that no transaction has touched tells nothing.
        self._put_snapshot(database, digest=0)

    def _put_snapshot(self, database: Database, digest: int | None = None) -> None:
        """Write what there is as a snapshot, durably."""
        image = database.image()
        encoder = SnapshotEncoder(self.rules.compression)
        content = encoder.begin() + b"".join([encoder.add(piece) for piece in image.pieces()])
        content += encoder.end(
            image.zxid,
            digest=(image.digest if digest is None else digest) if self.rules.digest else None,
            last_zxid=image.zxid if self.rules.serialize_last_zxid else None,
        )
        self.datadir.put_snapshot(image.zxid, content, self.rules.compression)

    # -- snapshots ---------------------------------------------------------------------------------------------------

    def _load_snapshot(self) -> Database | None:
        """The newest snapshot that is whole; None if there is none."""
        damage = ""
        tried = 0
        for name in reversed(self.datadir.snapshot_names()):
            path = f"{self.datadir.snapshots}/{name}"
            if not self.datadir.is_whole(name):
                self.warnings.append(f"{path}: not written to its end; an older snapshot is tried")
                self._pass_by(name, whole=False)
                continue
            if tried == _CANDIDATES_MAX:
                break
            tried += 1
            database = self.make_database()
            try:
                ending = read_snapshot(name, self._chunks(path), database.parser(self.rules.length_max))
                zxid = zxid_of_name(name)
                # A tree may have grown while it was read, as Apache's do; an older one has got another's name.
                if ending.last_zxid is not None and ending.last_zxid < zxid:
                    raise WireError(f"it holds the tree of {format_zxid(ending.last_zxid)}, which its name is not of")
                database.settle(zxid)
            except WireError as error:
                damage = damage or f"{path}: {error}"
                self.warnings.append(f"{path}: {error}; an older snapshot is tried")
                self._pass_by(name, whole=True)
                continue
            self._expect_digest(database, ending)
            self.datadir.guard(path, partial(self.datadir.files.sync, path))
            self.last_zxid, self.last_place = database.last_zxid, path
            self.snapshot_zxid = database.last_zxid
            return database
        if damage:
            raise StorageError(f"{damage}; no other snapshot is whole: {JOIN_ANEW}; {MOVE_AWAY}")
        return None

    def _pass_by(self, name: str, *, whole: bool) -> None:
        self.passed_by[name] = whole
        self.awaited.add(zxid_of_name(name))

    def _check_floor(self, zxid: int) -> None:
        """A tree that was taken over from a leader: what is older on our disk is another history."""
        floor = self.datadir.floor()
        if floor > 0 and zxid < floor:
            name = next(iter(self.passed_by))
            raise StorageError(
                f"{self.datadir.snapshots}/{name}: cannot be read, and nothing older may take its place: by"
                f" {self.datadir.logs}/{LOG_BASE} the tree of {format_zxid(floor)} came from a leader: {JOIN_ANEW}"
            )

    def _chunks(self, path: str) -> Iterator[bytes]:
        read = self.datadir.files.read
        offset = 0
        while chunk := self.datadir.guard(path, partial(read, path, _CHUNK_BYTES, offset)):
            yield chunk
            offset += len(chunk)

    def _expect_digest(self, database: Database, ending: Ending) -> None:
        """A tree that was read while it changed adds up only when replay has come to where the reading ended."""
        if ending.digest is None or ending.digest_zxid is None or ending.digest_zxid < database.last_zxid:
            return
        database.fuzzy_until = ending.digest_zxid
        if 0 < ending.digest_zxid == database.last_zxid:
            database.compare_digest(ending.digest_zxid, ending.digest)

    # -- the log -----------------------------------------------------------------------------------------------------

    def _replay(self, database: Database) -> None:
        names = self.datadir.log_names()
        holders = [name for name in names if zxid_of_name(name) <= self.last_zxid]
        needed = holders[-1:] + names[len(holders) :]
        # The end of a file before the newest that is none, and where it is told.
        broken = ""
        for name in needed:
            path = f"{self.datadir.logs}/{name}"
            self.datadir.guard(path, partial(self.datadir.files.sync, path))
            reader = self.datadir.log_reader(name, self.rules.entry_bytes_max)
            for offset, zxid, payload in reader.entries():
                if offset == HEADER_BYTES and not broken:
                    self._check_boundary(path, zxid)
                if broken and not follows(self.last_zxid, zxid):
                    raise StorageError(f"{broken}; {path} goes on with {format_zxid(zxid)}: {JOIN_ANEW}")
                broken = ""
                self._replay_entry(database, zxid, payload, f"{path} at byte {offset}")
            if name == names[-1]:
                self._mend_newest(name, reader)
            elif reader.end is not End.CLEAN:
                broken = self._broken_end(path, reader)

    def _check_boundary(self, path: str, zxid: int) -> None:
        """A file whose end was overwritten with zeros looks like one that ended; on a server alone numbers tell."""
        if not self.rules.epochs and self.last_place and zxid > self.last_zxid and not follows(self.last_zxid, zxid):
            raise StorageError(
                f"{self.last_place}: the last transaction of its file is {format_zxid(self.last_zxid)}, and {path} goes"
                f" on with {format_zxid(zxid)}: what was between them is lost, and may have been acknowledged"
            )

    def _replay_entry(self, database: Database, zxid: int, payload: bytes, place: str) -> None:
        self.awaited.discard(zxid)
        self.is_logged |= zxid == self.snapshot_zxid
        if zxid <= database.last_zxid:
            if zxid >= self.last_zxid:
                self.last_zxid, self.last_place = zxid, place
            return
        if not follows(self.last_zxid, zxid):
            self.gaps += 1
            # An old leader of Apache's leaves numbers out all the time.
            if self.gaps <= _GAPS_SHOWN:
                self.warnings.append(
                    f"{place}: {format_zxid(zxid)} follows {format_zxid(self.last_zxid)} of"
                    f" {self.last_place or 'no file'}: what was between them is missing"
                )
        try:
            database.replay(payload)
        except WireError as error:
            raise StorageError(f"{place}: transaction {format_zxid(zxid)} cannot be read: {error}") from None
        self.replayed(zxid, payload)
        self.txns += 1
        self.last_zxid, self.last_place = zxid, place

    def _mend_newest(self, name: str, reader: LogReader) -> None:
        """Let the next start find no more than this one did: cut what a crash has left, in the newest file only."""
        path = f"{self.datadir.logs}/{name}"
        if reader.end is End.UNBORN:
            self.warnings.append(f"{path}: removed: {reader.defect}; a crash came before its first transaction")
            self.mend = partial(self.datadir.remove, self.datadir.logs, name)
        elif reader.end is not End.CLEAN:
            self.warnings.append(
                f"{path}: cut at byte {reader.end_offset}: {reader.defect}; a crash came before it was acknowledged"
            )
            self.mend = partial(self.datadir.cut, name, reader.end_offset)

    def _broken_end(self, path: str, reader: LogReader) -> str:
        """Apache's servers leave a last entry that is cut off, and go on in the next file with the same zxid."""
        told = f"{path}: damaged at byte {reader.end_offset}: {reader.defect}"
        if reader.end is not End.CUT_OFF:
            raise StorageError(f"{told}, and it is not the newest log: {JOIN_ANEW}")
        self.warnings.append(f"{told}; the next log goes on from there")
        return told

    def _check_history(self, first_zxid: int, last_zxid: int) -> None:
        """A snapshot that could not be read tells by its name where history has been; replay must have come there.

        Else transactions may be missing before it: the tree of a snapshot may have come from a leader, without them.
        """
        base = self.datadir.read_log_base()
        for name, whole in self.passed_by.items():
            zxid = zxid_of_name(name)
            if zxid not in self.awaited:
                continue
            # The start of an epoch is no transaction. One that was never finished may come from before any of the
            # epoch; behind the tree that was taken over last the log lacks nothing.
            if not counter_of(zxid) and (not whole or (0 < base <= first_zxid and zxid <= last_zxid)):
                continue
            lacks = f"the log does not come by {format_zxid(zxid)}, so what leads there may be missing"
            if zxid > last_zxid:
                lacks = f"what else there is ends at {format_zxid(last_zxid)}"
            raise StorageError(f"{self.datadir.snapshots}/{name}: cannot be read, and {lacks}: {JOIN_ANEW}")
