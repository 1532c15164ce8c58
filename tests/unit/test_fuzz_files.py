"""Damaged data directories: recovery refuses them by a StorageError, or gives a state that history really had.

What may be missing is the end of the newest log, from the first damaged byte on, and nothing else. Where the checksum
fits (a server wrote nonsense), there is no right answer, but still nothing except a StorageError.
ZKTW_FUZZ_EXAMPLES sets how many inputs each test tries (CI: a few).
"""

import os
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_files import MemoryFiles

from zktw.storage.datadir import DataDir
from zktw.storage.logformat import HEADER, encode_entry
from zktw.storage.recovery import Recovered, Rules, recover
from zktw.storage.snapformat import Compression, SnapshotEncoder
from zktw.terms.codes import OpCode
from zktw.terms.errors import StorageError
from zktw.tree.database import Database
from zktw.wire.records import OPEN_ACL, READ_ACL
from zktw.wire.txn import (
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
    TxnHeader,
    encode_txn,
)

EXAMPLES = int(os.environ.get("ZKTW_FUZZ_EXAMPLES", 60))
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
DATA = "/data/version-2"
LAST, SNAPSHOT, ROLLS = 40, 15, (1, 16, 31)
SESSION = 0x0100000000000007
MEMORY_MAX = 16 << 20


def transaction(zxid: int) -> tuple[int, Txn]:
    """The history: something of everything, each change visible in the tree."""
    path = f"/n{zxid % 7}"
    match zxid:
        case 1:
            return OpCode.CREATE_SESSION, CreateSessionTxn(4000)
        case 12 | 33:
            return OpCode.SET_ACL, SetAclTxn("/n2", READ_ACL if zxid == 12 else OPEN_ACL, zxid)
        case 14 | 36:
            return OpCode.DELETE, DeleteTxn(f"/e{zxid - 5}")
        case 38:
            return OpCode.CLOSE_SESSION, CloseSessionTxn(("/e24",))
        case _ if zxid in (9, 24, 31):
            return OpCode.CREATE, CreateTxn(f"/e{zxid}", b"", OPEN_ACL, True, zxid)
        case _ if zxid < 9:
            return OpCode.CREATE2, CreateTxn(path, b"0", OPEN_ACL, False, zxid)
        case _ if zxid % 5 == 0:
            parts: list[tuple[int, Txn]] = [
                (OpCode.SET_DATA, SetDataTxn("/n3", b"m" * zxid, zxid)),
                (OpCode.CREATE, CreateTxn(f"/n3/{zxid}", None, OPEN_ACL, False, zxid)),
            ]
            return OpCode.MULTI, MultiTxn(parts)
    return OpCode.SET_DATA, SetDataTxn(path, bytes([zxid]) * (zxid * 3), zxid)


def payloads() -> list[bytes]:
    """The history as entries, digests included."""
    database, made = Database(), []
    for zxid in range(1, LAST + 1):
        type_, txn = transaction(zxid)
        header = TxnHeader(SESSION, zxid, zxid, 1000 + zxid, type_)
        database.replay(encode_txn(header, txn, None))
        made.append(encode_txn(header, txn, database.tree.digest))
    return made


HISTORY = payloads()


def state(database: Database) -> tuple[dict[str, bytes], dict[int, int]]:
    return dict(database.tree.nodes), dict(database.sessions)


def states() -> dict[int, tuple[dict[str, bytes], dict[int, int]]]:
    database, made = Database(), {}
    for zxid, payload in enumerate(HISTORY, 1):
        database.replay(payload)
        made[zxid] = state(database)
    return made


STATES = states()


def snapshot(zxid: int, compression: Compression = "") -> bytes:
    database = Database()
    for payload in HISTORY[:zxid]:
        database.replay(payload)
    image = database.image()
    encoder = SnapshotEncoder(compression)
    content = encoder.begin() + b"".join(encoder.add(piece) for piece in image.pieces(3))
    return content + encoder.end(zxid, digest=image.digest if zxid else 0, last_zxid=zxid)


def log(first: int) -> bytes:
    last = min([roll - 1 for roll in ROLLS if roll > first] or [LAST])
    return HEADER + b"".join(map(encode_entry, HISTORY[first - 1 : last])) + bytes(500)


LOGS = {f"log.{first:x}": log(first) for first in ROLLS}
NEWEST = f"log.{ROLLS[-1]:x}"


def contents(compression: Compression) -> dict[str, bytes]:
    suffix = {"": "", "gz": ".gz", "snappy": ".snappy"}[compression]
    snapshots = {f"snapshot.0{suffix}": snapshot(0, compression)}
    return snapshots | {f"snapshot.{SNAPSHOT:x}{suffix}": snapshot(SNAPSHOT, compression)} | LOGS


DIRECTORIES: dict[Compression, dict[str, bytes]] = {kind: contents(kind) for kind in ("", "gz", "snappy")}


def loaded(files: dict[str, bytes]) -> tuple[Recovered, DataDir]:
    memory = MemoryFiles()
    for name, content in files.items():
        memory.put(f"{DATA}/{name}", content)
    datadir = DataDir(memory, "/data", "/data")
    return recover(datadir, Database, Rules(epochs=False)), datadir


def damage(content: bytes, kind: str, at: int, size: int) -> bytes:
    """Other bytes from `at` on."""
    match kind:
        case "flip":
            return content[:at] + bytes([content[at] ^ (size % 255 + 1)]) + content[at + 1 :]
        case "cut":
            return content[:at]
        case "zero":
            return content[:at] + bytes(min(size, len(content) - at)) + content[at + size :]
        case "zero to the end":
            return content[:at] + bytes(len(content) - at)
        case "drop":
            return content[:at] + content[at + size :]
        case "double":
            return content[: at + size] + content[at:]
        case "length":
            extreme = (-(2**31), -2, -1, 0, 1, 0xFFFFF, 0x100000, 2**31 - 1)[size % 8]
            return (content[:at] + struct.pack(">i", extreme) + content[at + 4 :])[: max(len(content), at + 4)]
    return content[:at] + bytes((size * n) % 256 for n in range(size)) + content[at + size :]


KINDS = st.sampled_from(["flip", "cut", "zero", "zero to the end", "drop", "double", "length", "garbage"])


def told(recovered: Recovered) -> bool:
    """Whether a file ends clean where it should not: a gap, which Apache's leaders leave too, is only told of."""
    return any("is missing" in warning for warning in recovered.warnings)


def whole_before(at: int) -> int:
    """The last transaction of the newest log that ends before this byte."""
    end = len(HEADER)
    for zxid in range(ROLLS[-1], LAST + 1):
        end += len(encode_entry(HISTORY[zxid - 1]))
        if end > at:
            return zxid - 1
    return LAST


def test_the_sound_directories() -> None:
    for files in DIRECTORIES.values():
        recovered, _ = loaded(files)
        assert state(recovered.database) == STATES[LAST]
        assert recovered.database.digest_mismatches == 0


@fuzz
@given(st.data(), KINDS, st.integers(1, 400))
def test_one_damaged_file(data: st.DataObject, kind: str, size: int) -> None:
    files = dict(DIRECTORIES[data.draw(st.sampled_from(sorted(DIRECTORIES)))])
    name = data.draw(st.sampled_from(sorted(files)))
    at = data.draw(st.integers(0, len(files[name]) - 1))
    before = files[name]
    files[name] = damage(before, kind, at, size)
    try:
        recovered, datadir = loaded(files)
    except StorageError:
        return
    least = LAST
    if name == NEWEST and files[name] != before:
        first = next((n for n, (a, b) in enumerate(zip(before, files[name], strict=False)) if a != b), len(files[name]))
        least = whole_before(first)
    assert least <= recovered.last_zxid <= LAST
    assert state(recovered.database) == STATES[recovered.last_zxid] or told(recovered)
    # What was found is what the next start finds.
    again = recover(datadir, Database, Rules(epochs=False))
    assert state(again.database) == state(recovered.database)


@fuzz
@given(st.data(), st.lists(st.tuples(KINDS, st.integers(0, 1 << 16), st.integers(1, 400)), min_size=1, max_size=3))
def test_many_damages(data: st.DataObject, done: list[tuple[str, int, int]]) -> None:
    files = dict(DIRECTORIES[data.draw(st.sampled_from(sorted(DIRECTORIES)))])
    for kind, at, size in done:
        name = data.draw(st.sampled_from(sorted(files)))
        if files[name]:
            files[name] = damage(files[name], kind, at % len(files[name]), size)
    try:
        recovered, _ = loaded(files)
    except StorageError:
        return
    assert state(recovered.database) == STATES[recovered.last_zxid] or told(recovered)


@fuzz
@given(st.integers(1, LAST), KINDS, st.integers(0, 1 << 16), st.integers(1, 60))
def test_nonsense_with_a_checksum_that_fits(zxid: int, kind: str, at: int, size: int) -> None:
    entries = list(HISTORY)
    entries[zxid - 1] = damage(entries[zxid - 1], kind, at % len(entries[zxid - 1]), size)
    files = {"snapshot.0": snapshot(0), "log.1": HEADER + b"".join(map(encode_entry, entries))}
    try:
        recovered, _ = loaded(files)
    except StorageError:
        return
    # Whatever that was, it can be written down and read again.
    database = recovered.database
    image, other = database.image(), Database()
    parser = other.parser()
    assert [parser.feed(piece) for piece in image.pieces()][-1]
    other.settle(image.zxid)
    assert other.tree.nodes.keys() == database.tree.nodes.keys()


@fuzz
@given(KINDS, st.integers(0, 1 << 16), st.integers(1, 60))
def test_nonsense_in_a_snapshot_whose_seal_fits(kind: str, at: int, size: int) -> None:
    content = snapshot(SNAPSHOT)
    # Header, body, then three seals with a digest and a zxid between them: 13, 20, 13, 8 and 13 bytes.
    body = content[16:-67]
    made = content[:16] + damage(body, kind, at % len(body), size)
    sealed = made + struct.pack(">q5s", zlib.adler32(made), b"\0\0\0\x01/")
    files = {f"snapshot.{SNAPSHOT:x}": sealed} | LOGS
    try:
        recovered, _ = loaded(files)
    except StorageError:
        return
    assert recovered.last_zxid == LAST


@pytest.mark.parametrize("value", [2**31 - 1, 0x100000, 0x7FFFFF00])
@pytest.mark.parametrize("name", [f"snapshot.{SNAPSHOT:x}", "log.10", NEWEST])
def test_a_length_takes_no_memory(name: str, value: int) -> None:
    """Lengths that promise more than there is, at every place of a file."""
    sound = DIRECTORIES[""][name]
    tracemalloc.start()
    try:
        for at in range(0, len(sound) - 4, 1 + len(sound) // max(EXAMPLES, 1)):
            files = dict(DIRECTORIES[""])
            files[name] = sound[:at] + struct.pack(">i", value) + sound[at + 4 :]
            try:
                loaded(files)
            except StorageError:
                continue
        assert tracemalloc.get_traced_memory()[1] < MEMORY_MAX
    finally:
        tracemalloc.stop()
