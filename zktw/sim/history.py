"""History: the transactions of one server, read from the platter as a power cut would leave it, and their model."""

import struct
import zlib

from zktw.sim.disk import SimDisk
from zktw.sim.model import Model
from zktw.storage.logformat import HEADER_BYTES
from zktw.wire.txn import Txn, TxnHeader, decode_txn

_HEAD = struct.Struct(">qi")
_LENGTH_MAX = 1 << 24

Entry = tuple[TxnHeader, Txn]


class History:
    """All transactions from the first on that were ever durable; grows as the log on the platter does.

    What is durable can't be lost any more, so nothing is ever taken back.
    """

    def __init__(self, disk: SimDisk, logs: str) -> None:
        self.entries: list[bytes] = []
        self.model = Model()
        self._disk = disk
        self._logs = logs
        self._path = ""
        self._offset = 0

    @property
    def zxid(self) -> int:
        """The last that is durable."""
        return len(self.entries)

    def new_entries(self) -> list[Entry]:
        """What has become durable since the last call, in order. The model is not moved yet."""
        found: list[Entry] = []
        while True:
            payload = self._read_next()
            if payload is None:
                return found
            self.entries.append(payload)
            header, txn, _ = decode_txn(payload, _LENGTH_MAX)
            found.append((header, txn))

    def _read_next(self) -> bytes | None:
        following = len(self.entries) + 1
        payload = self._read_at(self._path, self._offset, following)
        if payload is None:
            path = f"{self._logs}/log.{following:x}"
            if path == self._path:
                return None
            payload = self._read_at(path, HEADER_BYTES, following)
            if payload is not None:
                self._path, self._offset = path, HEADER_BYTES
        if payload is not None:
            self._offset += _HEAD.size + len(payload) + 1
        return payload

    def _read_at(self, path: str, offset: int, zxid: int) -> bytes | None:
        """The payload of this transaction, if it stands there whole."""
        content = self._disk.durable_content(path)
        if content is None:
            return None
        head = content.read(offset, _HEAD.size)
        if len(head) < _HEAD.size:
            return None
        checksum, length = _HEAD.unpack(head)
        if length <= 20 or length > _LENGTH_MAX:
            return None
        payload = content.read(offset + _HEAD.size, length + 1)
        if len(payload) != length + 1 or payload[-1] != 0x42 or zlib.adler32(payload[:-1]) != checksum:
            return None
        return payload[:-1] if int.from_bytes(payload[12:20], "big") == zxid else None
