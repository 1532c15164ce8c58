"""Snapshotter: writes an image of the database to a file while the server goes on (shell)."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zktw.storage.datadir import NEW_PREFIX, DataDir
from zktw.storage.files import IFile, IWorker
from zktw.storage.snapformat import Compression, SnapshotEncoder
from zktw.terms.errors import StorageError
from zktw.tree.image import Image

# What the reactor gives to a snapshot in one turn, and how many slices it is ahead of the disk at most.
SLICE_MS = 2.0
SLICES_AHEAD_MAX = 4
# However fast the clock says it is: large nodes are many bytes.
_PIECES_A_SLICE_MAX = 16
# Some 0.2 ms of encoding: the piece, not the clock, is what a slice can be exceeded by.
_NODES_A_PIECE = 100
# Synced in steps: the file system makes the log's next sync wait for all that a snapshot has left in memory.
_SYNC_BYTES = 4 << 20


class _Alarm(Protocol):
    def set(self, at_ms: float | None) -> None:
        """Ring at this time."""


class Clock(Protocol):
    """Monotonic milliseconds, and alarms."""

    def now_ms(self) -> float:
        """Milliseconds that only ever grow."""

    def alarm(self, ring: Callable[[], None]) -> _Alarm:
        """An alarm that is not set."""


class Snapshotter:
    """One snapshot at a time: encoded on the reactor in slices, packed and written by the thread of snapshots."""

    def __init__(
        self,
        datadir: DataDir,
        worker: IWorker,
        clock: Clock,
        *,
        digest: bool = True,
        serialize_last_zxid: bool = True,
        compression: Compression = "",
    ) -> None:
        self._datadir = datadir
        self._worker = worker
        self._clock = clock
        self._digest = digest
        self._serialize_last_zxid = serialize_last_zxid
        self._compression = compression
        self._taking: _Taking | None = None

    @property
    def busy(self) -> bool:
        """Whether one is being taken."""
        return self._taking is not None

    def take(self, image: Image) -> Deferred[str | None]:
        """Write the image as a snapshot. Fires with its path once it is durable, with None where it was abandoned.

        Not to be called while busy. Fails with StorageError; then nothing of it is left, if the disk allows.
        """
        assert self._taking is None
        file = _SnapshotFile(
            self._datadir,
            self._datadir.snapshot_path(image.zxid, self._compression),
            SnapshotEncoder(self._compression),
        )
        ending = (
            image.zxid,
            image.digest if self._digest else None,
            image.zxid if self._serialize_last_zxid else None,
        )
        taking = self._taking = _Taking(file, self._worker, self._clock, image.pieces(_NODES_A_PIECE), ending)
        taking.told.addBoth(self._taken)
        taking.start()
        return taking.told

    def _taken(self, result: Any) -> Any:
        self._taking = None
        return result

    def abandon(self) -> None:
        """Give up the one that is being taken, if any, unless all of it is written already."""
        if self._taking is not None:
            self._taking.abandoned = True
            self._taking.go_on()


class _Taking:
    """One snapshot under way."""

    def __init__(
        self,
        file: "_SnapshotFile",
        worker: IWorker,
        clock: Clock,
        pieces: Iterator[bytes],
        ending: tuple[int, int | None, int | None],
    ) -> None:
        self.abandoned = False
        self.told: Deferred[str | None] = Deferred()
        self._file = file
        self._worker = worker
        self._clock = clock
        self._pieces = pieces
        self._ending = ending
        self._alarm = clock.alarm(self.go_on)
        self._ahead = 0
        self._closing = False

    def start(self) -> None:
        self._hand_on(self._file.begin)

    def go_on(self) -> None:
        """Encode for one slice, or until the disk is too far behind."""
        if self._closing or self._ahead >= SLICES_AHEAD_MAX:
            return
        if self.abandoned:
            self._close(self._file.discard)
            return
        until_ms = self._clock.now_ms() + SLICE_MS
        pieces: list[bytes] = []
        over = False
        while len(pieces) < _PIECES_A_SLICE_MAX and self._clock.now_ms() < until_ms:
            piece = next(self._pieces, None)
            if piece is None:
                over = True
                break
            pieces.append(piece)
        if pieces:
            # As one: a busy reactor comes by seldom, and each hand-over counts as one that the disk is behind.
            self._hand_on(self._file.add, b"".join(pieces))
        if over:
            self._close(self._file.finish, *self._ending)
        else:
            self._alarm.set(self._clock.now_ms())

    def _hand_on(self, function: Callable[..., None], *args: Any) -> None:
        self._ahead += 1
        self._worker.run(function, *args).addCallbacks(self._handed_on, self._failed)

    def _handed_on(self, _: None) -> None:
        self._ahead -= 1
        # Not at once: the results of several pieces come in one turn, and each would begin a slice.
        if not self._closing:
            self._alarm.set(self._clock.now_ms())

    def _failed(self, failure: Failure) -> None:
        # Where the end is under way already, it fails too.
        if not self._closing:
            self._closing = True
            self._alarm.set(None)
            self.told.errback(failure)

    def _close(self, function: Callable[..., str | None], *args: Any) -> None:
        self._closing = True
        self._alarm.set(None)
        self._worker.run(function, *args).addCallbacks(self.told.callback, self.told.errback)


class _SnapshotFile:
    """The file that is being written. All of it runs in the worker's thread."""

    def __init__(self, datadir: DataDir, path: str, encoder: SnapshotEncoder) -> None:
        directory, _, name = path.rpartition("/")
        self._datadir = datadir
        self._files = datadir.files
        self._path = path
        self._directory = directory
        self._new = f"{directory}/{NEW_PREFIX}{name}"
        self._encoder = encoder
        self._file: IFile | None = None
        self._offset = 0
        self._synced = 0
        self._error: StorageError | None = None

    def begin(self) -> None:
        """Create it."""
        self._guard(self._begin)

    def _begin(self) -> None:
        self._file = self._files.open(self._new, sync=False)
        self._write(self._encoder.begin())

    def add(self, piece: bytes) -> None:
        """Write the next piece."""
        self._guard(self._write, self._encoder.add(piece))

    def finish(self, zxid: int, digest: int | None, last_zxid: int | None) -> str:
        """Let it be a snapshot, durably, and the newest: where a leader's tree is older than ours was, ours goes."""
        self._guard(self._finish, self._encoder.end(zxid, digest=digest, last_zxid=last_zxid))
        self._datadir.remove_later_snapshots(zxid)
        return self._path

    def _finish(self, data: bytes) -> None:
        self._write(data)
        assert self._file is not None
        self._file.sync()
        self._close()
        self._files.rename(self._new, self._path)
        self._files.sync_directory(self._directory)

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(self._offset, data)
        self._offset += len(data)
        if self._offset - self._synced >= _SYNC_BYTES:
            self._file.sync()
            self._synced = self._offset

    def _guard(self, function: Callable[..., None], *args: bytes) -> None:
        """After one failure all fails: with a piece missing the rest is no snapshot."""
        if self._error is not None:
            raise self._error
        try:
            function(*args)
        except OSError as error:
            self.discard()
            self._error = StorageError(f"{self._path}: cannot be written: {error.strerror or error}")
            raise self._error from error

    def discard(self) -> None:
        """Leave nothing of it."""
        try:
            self._close()
            self._files.remove(self._new)
        except OSError:
            # The next start removes it.
            return

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
