"""Platter: which transactions a member's disk holds as a power cut at this moment would leave it."""

import struct
import zlib
from collections.abc import Callable

from zktw.sim.disk import SimDisk
from zktw.storage.logformat import HEADER_BYTES

_HEAD = struct.Struct(">qi")
_LENGTH_MAX = 1 << 24
_SNAPSHOT, _LOG = "snapshot.", "log."


class Platter:
    """Read anew as far as it has changed. seen(zxid, payload) is told of each transaction that is found."""

    def __init__(self, disk: SimDisk, directory: str, seen: Callable[[int, bytes], None]) -> None:
        # Those in the log, in its order; and where in the log they are: what is read is looked at once.
        self.zxids: dict[int, None] = {}
        self.snapshot = 0
        self._disk = disk
        self._directory = directory
        self._seen = seen
        self._path = ""
        self._offset = HEADER_BYTES
        # The last entry that was read: where it begins, and its head.
        self._last: tuple[str, int, bytes] | None = None
        self._read: dict[str, None] = {}
        self._wrong = ""

    @property
    def last(self) -> int:
        """The last transaction that it holds, as itself or within a tree."""
        return max(self.snapshot, next(reversed(self.zxids), 0))

    def holds(self, zxid: int) -> bool:
        """Whether a server that starts from this disk has the transaction."""
        return zxid in self.zxids or zxid <= self.snapshot

    def look(self) -> str:
        """Read what is new; what is out of order in it, or ""."""
        if not self._stands():
            self.forget()
        names = self._disk.durable_names(self._directory)
        self.snapshot = max((_zxid_of(name) for name in names if name.startswith(_SNAPSHOT)), default=0)
        logs = sorted((name for name in names if name.startswith(_LOG)), key=_zxid_of)
        if any(name not in logs for name in self._read):
            self.forget()
        self._wrong = ""
        newest = _zxid_of(self._path) if self._path else -1
        for name in logs:
            if name in self._read and name != self._path:
                continue
            if name != self._path:
                if _zxid_of(name) < newest:
                    self.forget()
                    return self.look()
                self._path, self._offset = name, HEADER_BYTES
                self._read[name] = None
            self._read_on()
        return self._wrong

    def forget(self) -> None:
        """What was read is there no more."""
        self.zxids = {}
        self._path, self._offset, self._last = "", HEADER_BYTES, None
        self._read = {}

    def _stands(self) -> bool:
        """Whether what was read last is still there, and so all before it."""
        if self._last is None:
            return not self._read
        path, offset, head = self._last
        content = self._disk.durable_content(f"{self._directory}/{path}")
        return content is not None and content.read(offset, len(head)) == head

    def _read_on(self) -> None:
        content = self._disk.durable_content(f"{self._directory}/{self._path}")
        if content is None:
            return
        while True:
            head = content.read(self._offset, _HEAD.size)
            if len(head) < _HEAD.size:
                return
            checksum, length = _HEAD.unpack(head)
            if length <= 20 or length > _LENGTH_MAX:
                return
            payload = content.read(self._offset + _HEAD.size, length + 1)
            if len(payload) != length + 1 or payload[-1] != 0x42 or zlib.adler32(payload[:-1]) != checksum:
                return
            zxid = int.from_bytes(payload[12:20], "big")
            if self.zxids and zxid <= next(reversed(self.zxids)):
                self._wrong = f"{self._path} has 0x{zxid:x} behind 0x{next(reversed(self.zxids)):x}"
            self.zxids[zxid] = None
            self._seen(zxid, payload[:-1])
            self._last = (self._path, self._offset, head + payload[:20])
            self._offset += _HEAD.size + len(payload)


def _zxid_of(name: str) -> int:
    try:
        return int(name.split(".")[1], 16)
    except ValueError:
        return -1
