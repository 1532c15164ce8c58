"""The one door to files and to the threads that touch them: two implementations each, real and simulated."""

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

# mypy-zope reads the methods of an Interface without self; that is zope's way, not a slip.


class IFiles(Interface):
    """Blocking file operations, each a point where a crash may come. Failures are the OSErrors of the system."""

    def read(path: str, count: int = -1) -> bytes:
        """The file's first count bytes, or all."""

    def write(path: str, data: bytes) -> None:
        """Create or empty the file and write data; nothing is durable before sync."""

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


@implementer(IFiles)
class RealFiles:
    """The file system."""

    def read(self, path: str, count: int = -1) -> bytes:
        """See IFiles."""
        with open(path, "rb") as file:
            return file.read(count)

    def write(self, path: str, data: bytes) -> None:
        """See IFiles."""
        with open(path, "wb") as file:
            file.write(data)

    def sync(self, path: str) -> None:
        """See IFiles."""
        self._sync(path, os.O_RDWR)

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

    def size(self, path: str) -> int:
        """See IFiles."""
        return os.path.getsize(path)

    def make_directory(self, path: str) -> None:
        """See IFiles."""
        os.makedirs(path, exist_ok=True)
