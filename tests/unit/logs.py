"""Transactions, and logs of them, for the tests of storage: each creates a node of its own below the root."""

from zktw.storage.datadir import DataDir
from zktw.storage.recovery import Recovered, Rules, recover
from zktw.terms.codes import OpCode
from zktw.tree.database import Database
from zktw.wire.records import OPEN_ACL
from zktw.wire.txn import CreateTxn, TxnHeader, encode_txn

DATA = "/data/version-2"


def create(zxid: int, data: bytes = b"") -> bytes:
    """The payload of the transaction of this zxid: /n<zxid in hex> comes to be."""
    txn = CreateTxn(f"/n{zxid:x}", data, OPEN_ACL, False, zxid & 0xFFFF)
    return encode_txn(TxnHeader(1, zxid & 0xFFFF, zxid, 1000 + (zxid & 0xFFFF), OpCode.CREATE), txn, None)


def entries(first: int, last: int, data: bytes = b"") -> list[tuple[int, bytes]]:
    """A batch: these zxids, both included."""
    return [(zxid, create(zxid, data)) for zxid in range(first, last + 1)]


def start(datadir: DataDir, *, trust_empty: bool = False, epochs: bool = False) -> Recovered:
    """Recover, as a standalone server does."""
    return recover(datadir, Database, Rules(trust_empty=trust_empty, epochs=epochs))


def zxids(recovered: Recovered) -> list[int]:
    """The transactions whose nodes are in the tree, in order."""
    return sorted(int(path[2:], 16) for path in recovered.database.tree.nodes if path.startswith("/n"))
