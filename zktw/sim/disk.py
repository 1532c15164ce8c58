"""SimDisk: the files of one simulated server, and what a crash leaves of them. Each operation is a crash point."""

import errno
from collections.abc import Callable

from zope.interface import implementer

from zktw.node.clock import Random
from zktw.storage.files import IFile, IFiles

SECTOR_BYTES = 512


class SimCrash(BaseException):
    """The server dies here. No server code may catch it."""


class Content:
    """A file's bytes: those that were written, and zeros up to its size."""

    __slots__ = ("data", "size")

    def __init__(self) -> None:
        self.data = bytearray()
        self.size = 0

    def put(self, offset: int, data: bytes) -> None:
        """Write at an offset."""
        if offset > len(self.data):
            self.data += bytes(offset - len(self.data))
        self.data[offset : offset + len(data)] = data
        self.size = max(self.size, len(self.data))

    def resize(self, size: int) -> None:
        """Cut to a size, or fill up with zeros."""
        del self.data[size:]
        self.size = size

    def read(self, offset: int, count: int) -> bytes:
        """At most count bytes from an offset; all of them for a negative count."""
        end = self.size if count < 0 else min(self.size, offset + count)
        return bytes(self.data[offset:end]).ljust(max(0, end - offset), b"\0")

    def copy(self) -> "Content":
        """One of its own."""
        copied = Content()
        copied.data[:] = self.data
        copied.size = self.size
        return copied


# A change of a file's content: bytes put at an offset, or, without bytes, a new size.
Change = tuple[int, bytes | None]


class Inode:
    """A file's content: as it reads now, as it is on the platter, and the changes between the two, in order."""

    __slots__ = ("changes", "durable", "now")

    def __init__(self) -> None:
        self.now = Content()
        self.durable = Content()
        self.changes: list[Change] = []

    def change(self, change: Change, *, sync: bool) -> None:
        """Change what is read; with sync, what is on the platter too."""
        _apply_change(self.now, change)
        self.changes.append(change)
        if sync:
            self.sync()

    def sync(self) -> None:
        """Bring the platter up to what is read."""
        for change in self.changes:
            _apply_change(self.durable, change)
        self.changes = []

    def lose_power(self, random: Random) -> None:
        """Of the changes not synced keep the first few, and of the next, if it is bytes, the first few of these."""
        if not self.changes:
            return
        kept = random.randint(0, len(self.changes))
        torn = self.changes[kept : kept + 1]
        self.changes = self.changes[:kept]
        for offset, data in torn:
            if data is not None:
                self.changes.append((offset, data[: random.randint(0, len(data))]))
        self.sync()
        self.now = self.durable.copy()


def _apply_change(content: Content, change: Change) -> None:
    offset, data = change
    if data is None:
        content.resize(offset)
    else:
        content.put(offset, data)


@implementer(IFile)
class SimFile:
    """A file of a SimDisk, open for writing."""

    def __init__(self, disk: "SimDisk", path: str, inode: Inode, *, sync: bool) -> None:
        self._disk = disk
        self._path = path
        self._inode = inode
        self._sync = sync

    def write(self, offset: int, data: bytes) -> None:
        """See IFile."""
        self._disk.change_open("pwrite", self._path, self._inode, (offset, data), sync=self._sync)

    def allocate(self, size: int) -> None:
        """See IFile."""
        if size > self._inode.now.size:
            self._disk.change_open("allocate", self._path, self._inode, (size, None), sync=self._sync)

    def truncate(self, size: int) -> None:
        """See IFile."""
        self._disk.change_open("truncate", self._path, self._inode, (size, None), sync=self._sync)

    def sync(self) -> None:
        """See IFile."""
        self._disk.sync_open(self._path, self._inode)

    def close(self) -> None:
        """See IFile."""


@implementer(IFiles)
class SimDisk:
    """Names and contents. A name is durable when its directory was synced, a content when its file was."""

    def __init__(self, random: Random) -> None:
        self.operations = 0
        # Called before each operation; raises SimCrash to die there, or an OSError to let it fail.
        self.before: Callable[[str, str], None] = lambda operation, path: None
        # No file can grow. What was allocated before can still be written, as on a real disk.
        self.full = False
        # A write in which the server dies leaves any of its sectors on the platter, not its first part.
        self.reorders = False
        self._random = random
        self._names: dict[str, Inode] = {}
        self._durable_names: dict[str, Inode] = {}
        # Names changed since their directory was synced, in order: path and what it names, or None where removed.
        self._changes: list[tuple[str, Inode | None]] = []
        self._directories: dict[str, None] = {"/": None}

    def strike_later(
        self, skipped: int, concerns: Callable[[str, str], bool], strike: Callable[[str, str], None]
    ) -> None:
        """Before the operation that comes after so many others that it concerns, strike, which raises as `before`."""
        left = skipped

        def before(name: str, path: str) -> None:
            nonlocal left
            if concerns(name, path):
                left -= 1
                if left < 0:
                    strike(name, path)

        self.before = before

    def fail_later(self, skipped: int, tell: Callable[[str, str], None]) -> None:
        """After so many others a write or sync fails, once; what it was to write may be on the platter later."""

        def fail(name: str, path: str) -> None:
            self.before = lambda operation, path: None
            tell(name, path)
            raise OSError(errno.EIO, "Input/output error", path)

        self.strike_later(skipped, lambda name, path: name in ("pwrite", "sync", "sync_directory"), fail)

    def _operation(self, name: str, path: str) -> None:
        self.operations += 1
        self.before(name, path)

    def _inode(self, path: str) -> Inode:
        inode = self._names.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return inode

    def read(self, path: str, count: int = -1, offset: int = 0) -> bytes:
        """See IFiles."""
        return self._inode(path).now.read(offset, count)

    def open(self, path: str, *, sync: bool) -> SimFile:
        """See IFiles."""
        self._operation("open", path)
        inode = self._names.get(path)
        if inode is None:
            inode = self._create(path)
        elif inode.now.size:
            inode.change((0, None), sync=False)
        return SimFile(self, path, inode, sync=sync)

    def change_open(self, operation: str, path: str, inode: Inode, change: Change, *, sync: bool) -> None:
        """Change an open file. Where the server dies in the middle of a write, a part of it may have been made."""
        offset, data = change
        end = offset if data is None else offset + len(data)
        try:
            self._operation(operation, path)
        except SimCrash:
            if data and self.reorders:
                self._change_some_sectors(inode, offset, data)
            elif data and self._random.random() < 0.5:
                inode.change((offset, data[: self._random.randint(0, len(data))]), sync=False)
            raise
        except OSError:
            # The system has taken it, and then could not bring it to the platter.
            if data:
                inode.change(change, sync=False)
            raise
        if self.full and end > inode.now.size:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        inode.change(change, sync=sync)

    def _change_some_sectors(self, inode: Inode, offset: int, data: bytes) -> None:
        at = 0
        while at < len(data):
            end = at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES
            if self._random.random() < 0.5:
                inode.change((offset + at, data[at:end]), sync=True)
            at = end

    def sync_open(self, path: str, inode: Inode) -> None:
        """Make the content of an open file durable."""
        self._operation("sync", path)
        inode.sync()

    def _create(self, path: str) -> Inode:
        inode = self._names[path] = Inode()
        self._changes.append((path, inode))
        return inode

    def write(self, path: str, data: bytes) -> None:
        """See IFiles."""
        self._operation("write", path)
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        inode = self._names.get(path)
        if inode is None:
            inode = self._create(path)
        elif inode.now.size:
            inode.change((0, None), sync=False)
        inode.change((0, data), sync=False)

    def truncate(self, path: str, size: int) -> None:
        """See IFiles."""
        self._operation("truncate", path)
        self._inode(path).change((size, None), sync=True)

    def flip_byte(self, path: str, offset: int) -> None:
        """Let a byte of the platter rot."""
        inode = self._inode(path)
        for content in (inode.now, inode.durable):
            content.put(offset, bytes([content.read(offset, 1)[0] ^ 0xFF]))

    def sync(self, path: str) -> None:
        """See IFiles."""
        self.sync_open(path, self._inode(path))

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

    def is_writable(self, path: str) -> bool:
        """See IFiles."""
        return path in self._directories

    def size(self, path: str) -> int:
        """See IFiles."""
        return self._inode(path).now.size

    def make_directory(self, path: str) -> None:
        """See IFiles."""
        self._directories[path] = None

    # -- what a crash leaves -----------------------------------------------------------------------------------------

    def durable(self, path: str) -> bytes | None:
        """What would be left of a file by the worst crash at this moment; None where its name would be gone."""
        inode = self._durable_names.get(path)
        return None if inode is None else inode.durable.read(0, -1)

    def durable_content(self, path: str) -> Content | None:
        """The same without a copy, to be read only."""
        inode = self._durable_names.get(path)
        return None if inode is None else inode.durable

    def after_worst(self, random: Random) -> "SimDisk":
        """A disk of its own that holds what would be left by the worst crash at this moment."""
        left = SimDisk(random)
        left._directories = dict(self._directories)
        for path, inode in self._durable_names.items():
            copied = left._names[path] = left._durable_names[path] = Inode()
            copied.now, copied.durable = inode.durable.copy(), inode.durable.copy()
        return left

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
            inode.lose_power(self._random)
