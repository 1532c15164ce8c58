"""The one door to files and to the threads that touch them: two implementations each, real and simulated."""

import errno
import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

# mypy-zope reads the methods of an Interface without self; that is zope's way, not a slip.


class IFile(Interface):
    """A file open for writing at any place. Failures are the OSErrors of the system."""

    def write(offset: int, data: bytes) -> None:
        """Put data at this place; durable on return where the file was opened with sync."""

    def allocate(size: int) -> None:
        """Let the file have at least this many bytes, the new ones zero, and room on the disk for them."""

    def truncate(size: int) -> None:
        """Cut the file to this many bytes; not durable before sync."""

    def sync() -> None:
        """Make the file's content durable."""

    def close() -> None:
        """Give the descriptor back; nothing becomes durable by it."""


class IFiles(Interface):
    """Blocking file operations, each a point where a crash may come. Failures are the OSErrors of the system."""

    def open(path: str, *, sync: bool) -> IFile:
        """Create or empty the file and hold it open; with sync, each of its writes is durable when it returns."""

    def read(path: str, count: int = -1, offset: int = 0) -> bytes:
        """At most count bytes of the file from this offset, or all that follow it."""

    def write(path: str, data: bytes) -> None:
        """Create or empty the file and write data; nothing is durable before sync."""

    def truncate(path: str, size: int) -> None:
        """Cut the file to this many bytes; durable on return."""

    def sync(path: str) -> None:
        """Make the file's content durable."""

    def sync_directory(path: str) -> None:
        """Make the names in this directory durable."""

    def rename(source: str, target: str) -> None:
        """Let target be the file that source was; the name is durable after sync_directory."""

    def remove(path: str) -> None:
        """Remove the file's name."""

    def list(path: str) -> list[str]:
        """The names in a directory, sorted."""

    def exists(path: str) -> bool:
        """Whether there is a file or directory."""

    def is_writable(path: str) -> bool:
        """Whether this process may make files in this directory."""

    def size(path: str) -> int:
        """The file's bytes."""

    def make_directory(path: str) -> None:
        """Create the directory and its parents where they are missing."""


class IWorker(Interface):
    """One thread that runs functions strictly in order. It exists from start() to stop()."""

    def start() -> None:
        """Begin."""

    def run(function: Callable[..., Any], *args: Any) -> "Deferred[Any]":
        """Call function(*args) in the thread; the Deferred fires on the reactor with what it returns or raises."""

    def stop() -> "Deferred[None]":
        """End, after all that was given to run; fires when the thread is gone."""


# File systems that cannot reserve room.
_CANNOT_ALLOCATE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@implementer(IFile)
class RealFile:
    """An open file of the file system."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, offset: int, data: bytes) -> None:
        """See IFile. One system call, unless the system takes less than all."""
        written = os.pwrite(self._descriptor, data, offset)
        while written < len(data):
            written += os.pwrite(self._descriptor, memoryview(data)[written:], offset + written)

    def allocate(self, size: int) -> None:
        """See IFile."""
        try:
            os.posix_fallocate(self._descriptor, 0, size)
        except OSError as error:
            if error.errno not in _CANNOT_ALLOCATE:
                raise
            if os.fstat(self._descriptor).st_size < size:
                os.pwrite(self._descriptor, b"\0", size - 1)

    def truncate(self, size: int) -> None:
        """See IFile."""
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        """See IFile."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """See IFile."""
        os.close(self._descriptor)


@implementer(IFiles)
class RealFiles:
    """The file system."""

    def open(self, path: str, *, sync: bool) -> RealFile:
        """See IFiles."""
        # Write and sync as one call: a thread that comes back from the system waits for the interpreter each time.
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | (os.O_DSYNC if sync else 0)
        return RealFile(os.open(path, flags, 0o666))

    def read(self, path: str, count: int = -1, offset: int = 0) -> bytes:
        """See IFiles."""
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(count)

    def truncate(self, path: str, size: int) -> None:
        """See IFiles."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def write(self, path: str, data: bytes) -> None:
        """See IFiles."""
        with open(path, "wb") as file:
            file.write(data)

    def sync(self, path: str) -> None:
        """See IFiles."""
        # Of files that may only be read as well: a backup that was put back may hold such.
        self._sync(path, os.O_RDONLY)

    def sync_directory(self, path: str) -> None:
        """See IFiles."""
        self._sync(path, os.O_RDONLY | os.O_DIRECTORY)

    def _sync(self, path: str, flags: int) -> None:
        descriptor = os.open(path, flags | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: str, target: str) -> None:
        """See IFiles."""
        os.replace(source, target)

    def remove(self, path: str) -> None:
        """See IFiles."""
        os.remove(path)

    def list(self, path: str) -> list[str]:
        """See IFiles."""
        return sorted(os.listdir(path))

    def exists(self, path: str) -> bool:
        """See IFiles."""
        return os.path.exists(path)

    def is_writable(self, path: str) -> bool:
        """See IFiles."""
        return os.access(path, os.W_OK | os.X_OK)

    def size(self, path: str) -> int:
        """See IFiles."""
        return os.path.getsize(path)

    def make_directory(self, path: str) -> None:
        """See IFiles."""
        os.makedirs(path, exist_ok=True)
