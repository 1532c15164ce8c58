"""DataDir: the files of one server by name; epochs, snapshots, and what may be purged (wire document, c.1, c.5).

All of it blocks and runs in a worker's thread. This release carries no data: a directory that holds any is refused,
since voting with an empty history over real data would lose it.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from zktw.storage.files import IFiles
from zktw.storage.snapformat import TAIL, check_snapshot, encode_snapshot, looks_whole
from zktw.terms.errors import ProtocolError, StorageError, WireError
from zktw.terms.limits import JUTE_MAXBUFFER, SNAPSHOT_BYTES_MAX
from zktw.terms.zxid import counter_of, epoch_of
from zktw.wire.effects import EpochName
from zktw.wire.snapstream import fresh_snapshot_body, refuse_data

T = TypeVar("T")

VERSION_DIRECTORY = "version-2"
# Not Apache's ".tmp": a file of that name tells that the directory was left by an Apache server.
NEW_SUFFIX = ".zktw-new"
APACHE_SUFFIX = ".tmp"
_LOG_HEADER_BYTES = 16
_LOG_MAGIC = b"ZKLG"
_EPOCH_MAX = 2**63 - 1

NO_DATA_YET = "this release carries no data: start it on an empty directory, or run Apache ZooKeeper on this one"


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a server starts from. last_zxid is -1 for an empty member that must wait for a snapshot."""

    last_zxid: int
    current_epoch: int
    accepted_epoch: int


class DataDir:
    """The two directories of a server, as configured; the files are in their version-2."""

    def __init__(self, files: IFiles, data_dir: str, data_log_dir: str) -> None:
        self._files = files
        self._snapshots = f"{data_dir}/{VERSION_DIRECTORY}"
        self._logs = f"{data_log_dir}/{VERSION_DIRECTORY}"
        self._marker = f"{data_log_dir}/initialize"

    # -- start -------------------------------------------------------------------------------------------------------

    def prepare(self, autocreate: bool) -> None:
        """Create what is missing; refuse directories that were swapped (bug 2967)."""
        for path in dict.fromkeys((self._snapshots, self._logs)):
            if not self._files.exists(path):
                if not autocreate:
                    raise StorageError(f"{path}: is missing, and datadir.autocreate=false forbids to create it")
                self._guard(path, partial(self._files.make_directory, path))
        if self._snapshots == self._logs:
            return
        for path, prefix, key in ((self._logs, "snapshot.", "dataLogDir"), (self._snapshots, "log.", "dataDir")):
            found = [name for name in self._list(path) if name.startswith(prefix)]
            if found:
                raise StorageError(
                    f"{path}/{found[0]}: does not belong into {key}; are dataDir and dataLogDir swapped?"
                )

    def load(self, db_autocreate: bool, *, epochs: bool = True) -> Recovered:
        """Read what is there, and complete what a crash left half done. Raises StorageError for what can't be used."""
        self._refuse_logs()
        last_zxid = self._load_snapshot()
        if last_zxid is None:
            last_zxid = self._begin_empty(db_autocreate)
        if not epochs:
            return Recovered(last_zxid, 0, 0)
        return self._load_epochs(last_zxid)

    def _refuse_logs(self) -> None:
        for name in self._names("log."):
            path = f"{self._logs}/{name}"
            head = self._guard(path, partial(self._files.read, path, _LOG_HEADER_BYTES + 12))
            if not head:
                continue
            if len(head) < _LOG_HEADER_BYTES or head[:4] != _LOG_MAGIC:
                raise StorageError(f"{path}: damaged at byte 0: no transaction log begins with {head[:4].hex()}")
            if any(head[_LOG_HEADER_BYTES + 8 :]):
                raise StorageError(f"{path}: holds transactions; {NO_DATA_YET}")

    def _load_snapshot(self) -> int | None:
        """The zxid of the newest snapshot that is whole; None if there is none."""
        damage = ""
        for name in reversed(self._names("snapshot.")):
            path = f"{self._snapshots}/{name}"
            content = self._read_snapshot(path)
            if content is None:
                continue
            try:
                sessions = check_snapshot(content, JUTE_MAXBUFFER, refuse_data)
            except ProtocolError as error:
                raise StorageError(f"{path}: {error}; {NO_DATA_YET}") from None
            except WireError as error:
                damage = damage or f"{path}: {error}"
                continue
            zxid = _zxid_of(name)
            if sessions or counter_of(zxid):
                raise StorageError(f"{path}: was taken after transactions; {NO_DATA_YET}")
            return zxid
        if damage:
            raise StorageError(f"{damage}; no other snapshot is whole: move it away to begin empty, if a quorum is up")
        return None

    def _read_snapshot(self, path: str) -> bytes | None:
        """A snapshot's bytes, unpacked; None for one that was never written to its end."""
        if path.endswith(".snappy"):
            raise StorageError(f"{path}: is compressed with snappy, which this release does not read")
        size = self._guard(path, lambda: self._files.size(path))
        if size > SNAPSHOT_BYTES_MAX:
            raise StorageError(f"{path}: holds data ({size} bytes); {NO_DATA_YET}")
        content = self._guard(path, lambda: self._files.read(path))
        if path.endswith(".gz"):
            unpacker = zlib.decompressobj(wbits=31)
            try:
                content = unpacker.decompress(content, SNAPSHOT_BYTES_MAX)
            except zlib.error:
                return None
            if unpacker.unconsumed_tail:
                raise StorageError(f"{path}: holds data (over {SNAPSHOT_BYTES_MAX} bytes); {NO_DATA_YET}")
        return content if looks_whole(len(content), content[-len(TAIL) :]) else None

    def _begin_empty(self, db_autocreate: bool) -> int:
        """No snapshot and no log: begin with the fresh tree, or, if told so, wait to be given one."""
        marked = self._files.exists(self._marker)
        if not marked and not db_autocreate:
            return -1
        self.write_snapshot(0, fresh_snapshot_body())
        if marked:
            self._guard(self._marker, lambda: self._files.remove(self._marker))
        return 0

    # -- epochs ------------------------------------------------------------------------------------------------------

    def _load_epochs(self, last_zxid: int) -> Recovered:
        self._clear_leftovers()
        of_history = max(0, epoch_of(last_zxid))
        current = self._read_epoch("currentEpoch")
        accepted = self._read_epoch("acceptedEpoch")
        if current is not None and accepted is not None and accepted < current:
            raise StorageError(
                f"{self._epoch_path('acceptedEpoch')}: {accepted} is below currentEpoch {current}, which no crash can"
                " leave behind; if a quorum is up, empty this server's data directory and let it join anew"
            )
        new_current = of_history if current is None else current
        if of_history > new_current:
            # A crash came between the synchronised history and the epoch that it belongs to (bug 1653).
            foreign = self._read_epoch("currentEpoch", APACHE_SUFFIX)
            new_current = max(of_history, foreign or 0)
        new_accepted = max(new_current, accepted or 0)
        # In this order: at no moment may currentEpoch be above acceptedEpoch.
        if new_accepted != accepted:
            self.write_epoch("acceptedEpoch", new_accepted)
        if new_current != current:
            self.write_epoch("currentEpoch", new_current)
        return Recovered(last_zxid, new_current, new_accepted)

    def write_epoch(self, name: EpochName, epoch: int) -> None:
        """Replace an epoch file; durable on return."""
        self._replace(self._epoch_path(name), str(epoch).encode("ascii"))

    def write_snapshot(self, zxid: int, body: bytes) -> None:
        """Write the tree of this zxid as a snapshot; durable on return."""
        self._replace(f"{self._snapshots}/snapshot.{zxid:x}", encode_snapshot(body))

    def _replace(self, path: str, content: bytes) -> None:
        new = path + NEW_SUFFIX
        try:
            self._files.write(new, content)
            self._files.sync(new)
            self._files.rename(new, path)
            self._files.sync_directory(self._snapshots)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error

    def _epoch_path(self, name: str) -> str:
        return f"{self._snapshots}/{name}"

    def _read_epoch(self, name: EpochName, suffix: str = "") -> int | None:
        path = self._epoch_path(name) + suffix
        if not self._files.exists(path):
            return None
        text = self._guard(path, lambda: self._files.read(path, 64)).decode("utf-8", "replace").strip()
        if not text.isascii() or not text.isdigit() or int(text) > _EPOCH_MAX:
            raise StorageError(
                f"{path}: damaged at byte 0: {text[:40]!r} is no epoch; if a quorum is up, empty this server's data"
                " directory and let it join anew"
            )
        return int(text)

    def _clear_leftovers(self) -> None:
        for name in self._list(self._snapshots):
            if name.endswith(NEW_SUFFIX):
                path = f"{self._snapshots}/{name}"
                self._guard(path, partial(self._files.remove, path))

    # -- housekeeping ------------------------------------------------------------------------------------------------

    def purge(self, retain: int) -> list[str]:
        """Remove snapshots older than the `retain` newest whole ones, and the logs that none of these needs."""
        whole = [name for name in self._names("snapshot.") if self._is_whole(name)]
        if len(whole) <= retain:
            return []
        oldest = _zxid_of(whole[-retain])
        logs = [name for name in self._names("log.") if _zxid_of(name) <= oldest]
        removed = [(self._snapshots, name) for name in self._names("snapshot.") if _zxid_of(name) < oldest]
        # The last log at or below the oldest snapshot holds what follows it.
        removed += [(self._logs, name) for name in logs[:-1]]
        for directory, name in removed:
            path = f"{directory}/{name}"
            self._guard(path, partial(self._files.remove, path))
        return [name for _, name in removed]

    def _is_whole(self, name: str) -> bool:
        path = f"{self._snapshots}/{name}"
        if name.endswith((".gz", ".snappy")):
            return self._files.size(path) >= len(TAIL)
        content = self._files.read(path)
        return looks_whole(len(content), content[-len(TAIL) :])

    def sizes(self) -> tuple[int, int]:
        """Bytes in the data directory and in the log directory."""
        snapshots, logs = (
            sum(self._files.size(f"{path}/{name}") for name in self._list(path))
            for path in (self._snapshots, self._logs)
        )
        return snapshots, logs

    def _names(self, prefix: str) -> list[str]:
        """The files of one kind, oldest first by zxid; names whose number is none are not ours."""
        path = self._logs if prefix == "log." else self._snapshots
        names = [name for name in self._list(path) if name.startswith(prefix) and _zxid_of(name) >= 0]
        return sorted(names, key=_zxid_of)

    def _list(self, path: str) -> list[str]:
        return self._guard(path, lambda: self._files.list(path))

    def _guard(self, path: str, operation: Callable[[], T]) -> T:
        """Let what the system refuses name the file."""
        try:
            return operation()
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror or error}") from error


def _zxid_of(name: str) -> int:
    """The number in a file's name, -1 where there is none."""
    try:
        return int(name.split(".")[1], 16)
    except (IndexError, ValueError):
        return -1
