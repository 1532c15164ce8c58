"""MemoryFiles: IFiles in memory that can die before any operation and then forgets what was not synced."""

import errno
from collections.abc import Callable, Iterator

from zope.interface import implementer

from zktw.storage.files import IFile, IFiles


class PowerCut(BaseException):
    """The server dies here; not an Exception, so that no code of ours can go on."""


class Content:
    """A file: as it reads now, and what of it is durable. A directory has neither."""

    def __init__(self, *, directory: bool = False) -> None:
        self.directory = directory
        self.now = b""
        self.durable = b""


@implementer(IFile)
class MemoryFile:
    """A file of MemoryFiles, open for writing."""

    def __init__(self, files: "MemoryFiles", path: str, content: Content, *, sync: bool) -> None:
        self._files = files
        self._path = path
        self._content = content
        self._sync = sync

    def write(self, offset: int, data: bytes) -> None:
        now = self._content.now.ljust(offset, b"\0")
        self._change("pwrite", now[:offset] + data + now[offset + len(data) :])

    def allocate(self, size: int) -> None:
        self._change("allocate", self._content.now.ljust(size, b"\0"))

    def truncate(self, size: int) -> None:
        self._change("truncate", self._content.now[:size])

    def sync(self) -> None:
        self._files.operation("sync", self._path)
        self._content.durable = self._content.now

    def close(self) -> None:
        pass

    def _change(self, operation: str, now: bytes) -> None:
        self._files.operation(operation, self._path)
        self._content.now = now
        if self._sync:
            self._content.durable = now


@implementer(IFiles)
class MemoryFiles:
    """Names are durable after sync_directory of their directory, contents after sync.

    cut_after: operations that change something until PowerCut; None for never.
    """

    def __init__(self) -> None:
        self.cut_after: int | None = None
        self.operations: list[tuple[str, str]] = []
        # Directories in which no file can be made.
        self.read_only: set[str] = set()
        self.names: dict[str, Content] = {"/": Content(directory=True)}
        self._durable_names = dict(self.names)
        self._changes: list[tuple[str, Content | None]] = []

    # -- IFiles ------------------------------------------------------------------------------------------------------

    def read(self, path: str, count: int = -1, offset: int = 0) -> bytes:
        data = self._file(path).now
        return data[offset:] if count < 0 else data[offset : offset + count]

    def open(self, path: str, *, sync: bool) -> "MemoryFile":
        self.write(path, b"")
        return MemoryFile(self, path, self._file(path), sync=sync)

    def truncate(self, path: str, size: int) -> None:
        self.operation("truncate", path)
        file = self._file(path)
        file.now = file.durable = file.now[:size]

    def write(self, path: str, data: bytes) -> None:
        self.operation("write", path)
        if path not in self.names:
            self._name(path, Content())
        self._file(path).now = data

    def sync(self, path: str) -> None:
        self.operation("sync", path)
        file = self._file(path)
        file.durable = file.now

    def sync_directory(self, path: str) -> None:
        self.operation("sync_directory", path)
        self.list(path)
        for name, content in self._changes:
            if _parent(name) == path:
                self._apply(name, content)
        self._changes = [change for change in self._changes if _parent(change[0]) != path]

    def rename(self, source: str, target: str) -> None:
        self.operation("rename", target)
        content = self._file(source)
        self._name(target, content)
        self._name(source, None)

    def remove(self, path: str) -> None:
        self.operation("remove", path)
        self._file(path)
        self._name(path, None)

    def list(self, path: str) -> list[str]:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return sorted(name.rpartition("/")[2] for name in self.names if name != "/" and _parent(name) == path)

    def exists(self, path: str) -> bool:
        return path in self.names

    def is_writable(self, path: str) -> bool:
        return path not in self.read_only

    def size(self, path: str) -> int:
        return len(self._file(path).now)

    def make_directory(self, path: str) -> None:
        self.operation("make_directory", path)
        parent = _parent(path)
        if parent not in self.names:
            self.make_directory(parent)
        if path not in self.names:
            self._name(path, Content(directory=True))

    # -- for tests ---------------------------------------------------------------------------------------------------

    def put(self, path: str, data: bytes) -> None:
        """A file that has always been there, durable like its directories."""
        content = Content()
        content.now = content.durable = data
        self.names[path] = self._durable_names[path] = content
        while (path := _parent(path)) not in self.names:
            self.names[path] = self._durable_names[path] = Content(directory=True)

    def losses(self) -> Iterator[tuple[int, Callable[[bytes, bytes], bytes]]]:
        """What a power cut may leave: how many of the changes of names, and what of contents never synced."""
        for kept in range(len(self._changes) + 1):
            yield kept, lambda durable, now: durable
            yield kept, lambda durable, now: now
            yield kept, lambda durable, now: now[: len(now) // 2]
            yield kept, lambda durable, now: bytes(len(now))

    def lose_power(self, kept: int, what_is_left: Callable[[bytes, bytes], bytes]) -> None:
        """Forget what was not durable, and run again."""
        for name, content in self._changes[:kept]:
            self._apply(name, content)
        self._changes = []
        # A name is found only below directories that are left.
        self.names = {
            name: content
            for name, content in sorted(self._durable_names.items())
            if all(above in self._durable_names for above in _above(name))
        }
        self._durable_names = dict(self.names)
        for content in self.names.values():
            if content.now != content.durable:
                content.now = content.durable = what_is_left(content.durable, content.now)
        self.cut_after = None

    def operation(self, name: str, path: str) -> None:
        if self.cut_after is not None and len(self.operations) >= self.cut_after:
            raise PowerCut
        self.operations.append((name, path))

    def _file(self, path: str) -> Content:
        content = self.names.get(path)
        if content is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        if content.directory:
            raise IsADirectoryError(errno.EISDIR, "Is a directory", path)
        return content

    def _name(self, path: str, content: Content | None) -> None:
        if content is None:
            del self.names[path]
        else:
            self.list(_parent(path))
            self.names[path] = content
        self._changes.append((path, content))

    def _apply(self, path: str, content: Content | None) -> None:
        if content is None:
            self._durable_names.pop(path, None)
        else:
            self._durable_names[path] = content


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _above(path: str) -> Iterator[str]:
    while path != "/":
        path = _parent(path)
        yield path
