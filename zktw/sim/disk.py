"""SimDisk: the files of one simulated server, and what a crash leaves of them. Each operation is a crash point."""

import errno
from collections.abc import Callable

from zope.interface import implementer

from zktw.node.clock import Random
from zktw.storage.files import IFiles


class SimCrash(BaseException):
    """The server dies here. No server code may catch it."""


class Inode:
    """A file's content: as it reads now, and as it is on the platter."""

    __slots__ = ("data", "durable")

    def __init__(self, data: bytes = b"", durable: bytes = b"") -> None:
        self.data = data
        self.durable = durable


@implementer(IFiles)
class SimDisk:
    """Names and contents. A name is durable when its directory was synced, a content when its file was."""

    def __init__(self, random: Random) -> None:
        self.operations = 0
        # Called before each operation; raises SimCrash to die there.
        self.before: Callable[[str, str], None] = lambda operation, path: None
        self.full = False
        self._random = random
        self._names: dict[str, Inode] = {}
        self._durable_names: dict[str, Inode] = {}
        # Names changed since their directory was synced, in order: path and what it names, or None where removed.
        self._changes: list[tuple[str, Inode | None]] = []
        self._directories: dict[str, None] = {"/": None}

    def _operation(self, name: str, path: str) -> None:
        self.operations += 1
        self.before(name, path)

    def _inode(self, path: str) -> Inode:
        inode = self._names.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return inode

    def read(self, path: str, count: int = -1) -> bytes:
        """See IFiles."""
        data = self._inode(path).data
        return data if count < 0 else data[:count]

    def write(self, path: str, data: bytes) -> None:
        """See IFiles."""
        self._operation("write", path)
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        inode = self._names.get(path)
        if inode is None:
            inode = self._names[path] = Inode()
            self._changes.append((path, inode))
        inode.data = data

    def sync(self, path: str) -> None:
        """See IFiles."""
        self._operation("sync", path)
        inode = self._inode(path)
        inode.durable = inode.data

    def sync_directory(self, path: str) -> None:
        """See IFiles."""
        self._operation("sync_directory", path)
        prefix = path.rstrip("/") + "/"
        kept = []
        for name, inode in self._changes:
            if name.startswith(prefix) and "/" not in name[len(prefix) :]:
                self._apply(name, inode)
            else:
                kept.append((name, inode))
        self._changes = kept

    def _apply(self, path: str, inode: Inode | None) -> None:
        if inode is None:
            self._durable_names.pop(path, None)
        else:
            self._durable_names[path] = inode

    def rename(self, source: str, target: str) -> None:
        """See IFiles."""
        self._operation("rename", target)
        inode = self._inode(source)
        del self._names[source]
        self._names[target] = inode
        self._changes += [(target, inode), (source, None)]

    def remove(self, path: str) -> None:
        """See IFiles."""
        self._operation("remove", path)
        self._inode(path)
        del self._names[path]
        self._changes.append((path, None))

    def list(self, path: str) -> list[str]:
        """See IFiles."""
        if path not in self._directories:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        prefix = path.rstrip("/") + "/"
        return sorted(name[len(prefix) :] for name in self._names if name.startswith(prefix))

    def exists(self, path: str) -> bool:
        """See IFiles."""
        return path in self._names or path in self._directories

    def size(self, path: str) -> int:
        """See IFiles."""
        return len(self._inode(path).data)

    def make_directory(self, path: str) -> None:
        """See IFiles."""
        self._directories[path] = None

    # -- what a crash leaves -----------------------------------------------------------------------------------------

    def durable(self, path: str) -> bytes | None:
        """What would be left of a file by the worst crash at this moment; None where its name would be gone."""
        inode = self._durable_names.get(path)
        return None if inode is None else inode.durable

    def durable_names(self, directory: str) -> tuple[str, ...]:
        """The names in a directory that the worst crash at this moment would leave, in order."""
        prefix = directory.rstrip("/") + "/"
        return tuple(sorted(path[len(prefix) :] for path in self._durable_names if path.startswith(prefix)))

    def lose_power(self) -> None:
        """Forget what was not synced: of the names changed the first few are kept, of contents a part."""
        kept = self._random.randint(0, len(self._changes))
        for path, inode in self._changes[:kept]:
            self._apply(path, inode)
        self._changes = []
        self._names = dict(self._durable_names)
        for inode in self._names.values():
            if inode.data != inode.durable:
                if self._random.random() < 0.5:
                    inode.data = inode.data[: self._random.randint(0, len(inode.data))]
                else:
                    inode.data = inode.durable
                inode.durable = inode.data
