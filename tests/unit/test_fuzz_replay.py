"""Transactions and snapshot bodies that no server wrote: replay either applies them or raises WireError, nothing else.

ZKTW_FUZZ_EXAMPLES sets how many inputs each test tries (CI: a few).
"""

import os
import struct
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zktw.terms.codes import OpCode
from zktw.terms.errors import WireError
from zktw.tree.database import Database
from zktw.tree.node import digest_of
from zktw.wire.records import Acl
from zktw.wire.txn import (
    CheckTxn,
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
    TxnHeader,
    encode_txn,
)

EXAMPLES = int(os.environ.get("ZKTW_FUZZ_EXAMPLES", 60))
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

LENGTH_MAX = 1 << 20
I32, I64 = 2**31 - 1, 2**63 - 1
ints = st.sampled_from([-I32 - 1, -2, -1, 0, 1, 2, I32 - 1, I32])
longs = st.sampled_from([-I64 - 1, -1, 0, 1, 5, 1 << 40, (1 << 32) + 1, -(1 << 56), 0xFF << 48, I64])
paths = (
    st.sampled_from(
        ["/a", "/a/b", "/a/b/c", "/d", "/", "", "a", "//", "/a/", "/a//b", "\x00", "/é", "/\ufffd", "/a/" + "x" * 300]
    )
    | st.sampled_from(
        [
            "/zookeeper",
            "/zookeeper/quota",
            "/zookeeper/config",
            "/zookeeper/quota/a",
            "/zookeeper/quota/zookeeper_limits",
        ]
    )
    | st.sampled_from(
        ["/zookeeper/quota/a/zookeeper_limits", "/zookeeper/quota/a/zookeeper_stats", "/zookeeper/quota/a/b"]
    )
    | st.sampled_from(
        [
            "/zookeeper/quota/zookeeper_stats",
            "/zookeeper/quota//zookeeper_stats",
            "/zookeeper/quota/a//zookeeper_limits",
        ]
    )
)
data = (
    st.none()
    | st.sampled_from(
        [b"", b"x", bytes(300), b"count=1,bytes=2", b"count=1,bytes=2=;byteHardLimit=3;countHardLimit=4", b"count="]
    )
    | st.sampled_from(
        [b"count=--1", b"bytes=" + b"9" * 30, b"\xff\xfe", b"count=1=2,=,=;;bytes", b"count=" + b"8" * 5000]
    )
)
acls = st.lists(
    st.builds(Acl, ints, st.sampled_from(["world", "digest", "ip", "", "é"]), st.sampled_from(["anyone", "a:b", ""])),
    max_size=3,
).map(tuple)
creates = st.sampled_from([OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL])
singles: st.SearchStrategy[tuple[int, Txn]] = st.one_of(
    st.tuples(creates, st.builds(CreateTxn, paths, data, acls, st.booleans(), ints, longs)),
    st.tuples(creates, st.builds(CreateTxn, paths, data, acls, st.booleans(), ints, longs)),
    st.tuples(st.sampled_from([OpCode.DELETE, OpCode.DELETE_CONTAINER]), st.builds(DeleteTxn, paths)),
    st.tuples(st.sampled_from([OpCode.SET_DATA, OpCode.RECONFIG]), st.builds(SetDataTxn, paths, data, ints)),
    st.tuples(st.just(OpCode.SET_ACL), st.builds(SetAclTxn, paths, acls, ints)),
    st.tuples(st.just(OpCode.CHECK), st.builds(CheckTxn, paths, ints)),
    st.tuples(st.just(OpCode.ERROR), st.builds(ErrorTxn, ints)),
    st.tuples(st.just(OpCode.CREATE_SESSION), st.builds(CreateSessionTxn, ints)),
    st.tuples(
        st.just(OpCode.CLOSE_SESSION), st.builds(CloseSessionTxn, st.none() | st.lists(paths, max_size=3).map(tuple))
    ),
)
txns = singles | st.tuples(st.just(OpCode.MULTI), st.builds(MultiTxn, st.lists(singles, max_size=5)))
payloads = st.builds(
    lambda client, cxid, zxid, time, typed, digest: encode_txn(
        TxnHeader(client, cxid, zxid, time, typed[0]), typed[1], digest
    ),
    longs,
    ints,
    longs,
    longs,
    txns,
    st.none() | st.integers(0, 2**64 - 1),
)


def flip(payload: bytearray, at: int, value: int) -> None:
    payload[at] ^= value or 0xFF


def cut(payload: bytearray, at: int, _: int) -> None:
    del payload[at:]


def drop(payload: bytearray, at: int, value: int) -> None:
    del payload[at : at + value % 9 + 1]


def double(payload: bytearray, at: int, value: int) -> None:
    payload[at:at] = payload[at : at + value % 40 + 1]


def length(payload: bytearray, at: int, value: int) -> None:
    extreme = (-I32 - 1, -2, -1, 0, 1, 0xFFFFF, 0x100000, I32)[value % 8]
    payload[at : at + 4] = struct.pack(">i", extreme)


damages: st.SearchStrategy[tuple[Callable[[bytearray, int, int], None], int, int]] = st.tuples(
    st.sampled_from([flip, cut, drop, double, length]), st.integers(0, 1 << 16), st.integers(0, 255)
)


def damaged(payload: bytes, done: list[tuple[Callable[[bytearray, int, int], None], int, int]]) -> bytes:
    result = bytearray(payload)
    for damage, at, value in done:
        if result:
            damage(result, at % len(result), value)
    return bytes(result)


def replayed(database: Database, given_payloads: list[bytes]) -> int:
    """How many were taken; the others raised WireError."""
    taken = 0
    for payload in given_payloads:
        try:
            database.replay(payload)
        except WireError:
            continue
        taken += 1
    return taken


def reloaded(database: Database) -> Database:
    """The database that its own snapshot gives."""
    image = database.image()
    other = Database(extended_types=database.rules.extended)
    parser = other.parser(1 << 21)
    whole = [parser.feed(piece) for piece in image.pieces(3)]
    assert whole[-1]
    assert not any(whole[:-1])
    other.settle(image.zxid)
    return other


def hold_together(database: Database) -> None:
    """Children, counts and owners say the same; the digest is that of the nodes."""
    tree = database.tree
    for path, names in tree.children.items():
        for name in names:
            assert (f"/{name}" if path == "/" else f"{path}/{name}") in tree.nodes
    assert sum(map(len, tree.children.values())) == len(tree.nodes) - 1
    for owned in tree.ephemerals.values():
        assert owned.keys() <= tree.nodes.keys()
    counted = {path: record for path, record in tree.nodes.items() if not path.startswith("/zookeeper/")}
    parts = [digest_of(b"" if path == "/" else path.encode(), record) for path, record in counted.items()]
    expected = sum(parts) & (2**64 - 1)
    assert tree.digest == expected


@fuzz
@given(st.booleans(), st.lists(payloads, min_size=1, max_size=12))
def test_whole_transactions_of_any_content(extended: bool, given_payloads: list[bytes]) -> None:
    database = Database(extended_types=extended)
    replayed(database, given_payloads)
    hold_together(database)
    other = reloaded(database)
    hold_together(other)
    assert other.tree.nodes.keys() == database.tree.nodes.keys()
    assert other.tree.digest == database.tree.digest
    assert other.sessions == database.sessions


@fuzz
@given(st.lists(st.tuples(payloads, st.lists(damages, max_size=3)), min_size=1, max_size=12))
def test_damaged_transactions(
    parts: list[tuple[bytes, list[tuple[Callable[[bytearray, int, int], None], int, int]]]],
) -> None:
    database = Database(extended_types=True)
    replayed(database, [damaged(payload, done) for payload, done in parts])
    database.drop_orphans()
    hold_together(database)


@fuzz
@given(
    st.lists(payloads, max_size=12),
    st.lists(damages, min_size=1, max_size=4),
    st.lists(st.integers(1, 400), min_size=1, max_size=5),
)
def test_damaged_bodies_of_snapshots(
    given_payloads: list[bytes],
    done: list[tuple[Callable[[bytearray, int, int], None], int, int]],
    steps: list[int],
) -> None:
    database = Database(extended_types=True)
    replayed(database, given_payloads)
    body = damaged(b"".join(database.image().pieces()), done)

    def load(sizes: list[int]) -> tuple[str, bytes, dict[str, bytes]]:
        other = Database(extended_types=True)
        parser = other.parser(LENGTH_MAX)
        at = turn = 0
        try:
            while at < len(body):
                size = sizes[turn % len(sizes)]
                if parser.feed(body[at : at + size]):
                    other.settle(7)
                    hold_together(other)
                    return "whole", parser.rest + body[at + size :], other.tree.nodes
                at, turn = at + size, turn + 1
        except WireError:
            return "refused", b"", {}
        return "waits", b"", {}

    # How the bytes arrive makes no difference.
    assert load([len(body) or 1]) == load(steps)
