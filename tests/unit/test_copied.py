"""A plain setData that a learner copies does what the long way does: decode, tree, digest."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zktw.pipeline.copied import read_copied
from zktw.terms.codes import OpCode
from zktw.tree.database import Database
from zktw.wire.records import OPEN_ACL
from zktw.wire.txn import CreateTxn, DeleteTxn, SetDataTxn, Txn, TxnHeader, encode_txn

PATHS = ["/a", "/b", "/é", "/a/b"]
QUOTA = "/zookeeper/quota/a"

changes = st.one_of(
    st.builds(
        SetDataTxn,
        st.sampled_from([*PATHS, "/nowhere", "/", "/zookeeper/config"]),
        st.none() | st.binary(max_size=30),
        st.integers(-(2**31), 2**31 - 1),
    ),
    st.sampled_from([DeleteTxn("/b"), CreateTxn("/b", b"new", OPEN_ACL, False, 2, 0), DeleteTxn("/a/b")]),
)
# Whether a digest is said, and whether it is right.
digests = st.sampled_from(["right", "right", "wrong", "none"])


def op_of(txn: Txn) -> int:
    return {SetDataTxn: OpCode.SET_DATA, DeleteTxn: OpCode.DELETE}.get(type(txn), OpCode.CREATE)


def fresh() -> Database:
    """A tree with some nodes, at zxid 4."""
    database = Database()
    for zxid, path in enumerate(PATHS, 1):
        made = CreateTxn(path, b"x", OPEN_ACL, False, 1, 0)
        database.replay(encode_txn(TxnHeader(7, 0, zxid, 5, OpCode.CREATE), made, None))
    return database


def payload_of(txn: Txn, zxid: int, digest: int | None, time: int = 9) -> bytes:
    return encode_txn(TxnHeader(7, zxid, zxid, time, op_of(txn)), txn, digest)


@settings(deadline=None)
@given(steps=st.lists(st.tuples(changes, digests, st.integers(0, 2**40)), max_size=20), first=st.integers(5, 300))
def test_both_ways_lead_to_the_same(steps: list[tuple[Txn, str, int]], first: int) -> None:
    short, long = fresh(), fresh()
    taken = 0
    for zxid, (txn, kind, time) in enumerate(steps, first):
        ahead = fresh_copy(long)
        ahead.replay(payload_of(txn, zxid, None, time))
        digest = {"right": ahead.tree.digest, "wrong": ahead.tree.digest ^ 1, "none": None}[kind]
        payload = payload_of(txn, zxid, digest, time)
        long.replay(payload)
        copied = read_copied(payload)
        if copied is None or copied.apply(short) is None:
            short.replay(payload)
        else:
            taken += 1
            assert (copied.zxid, copied.cxid, copied.session_id) == (zxid, zxid, 7)
    assert short.tree.nodes == long.tree.nodes
    assert (short.tree.digest, short.tree.data_bytes) == (long.tree.digest, long.tree.data_bytes)
    assert (short.last_zxid, short.digest_mismatches) == (long.last_zxid, long.digest_mismatches)
    assert list(short.digests) == list(long.digests)
    plain = [txn for txn, *_ in steps if isinstance(txn, SetDataTxn) and txn.path in ("/a", "/é")]
    assert taken >= sum(txn.data is not None for txn in plain)


def fresh_copy(database: Database) -> Database:
    """The same tree apart."""
    other = Database()
    parser = other.parser()
    assert parser.feed(b"".join(database.image().pieces()))
    other.settle(database.last_zxid)
    return other


PLAIN = payload_of(SetDataTxn("/a", b"new", 3), 5, 77)


def test_a_plain_one_is_read_whole() -> None:
    copied = read_copied(PLAIN)
    assert copied is not None
    assert (copied.path, copied.raw, copied.field, copied.version) == ("/a", b"/a", b"\0\0\0\3new", 3)
    assert (copied.digest, copied.time, copied.payload) == (77, 9, PLAIN)


@pytest.mark.parametrize(
    "payload",
    [
        payload_of(DeleteTxn("/a"), 5, 77),
        payload_of(SetDataTxn("/", b"", 1), 5, None),
        payload_of(SetDataTxn("a", b"", 1), 5, None),
        payload_of(SetDataTxn("/zookeeper/config", b"", 1), 5, None),
        payload_of(SetDataTxn("/a", None, 1), 5, None),
        PLAIN + b"\0",
        PLAIN[:-1],
        PLAIN[:-13],
        PLAIN[:34],
        PLAIN.replace(b"/a", b"\xff\xfe"),
        PLAIN.replace(b"\0\0\0\3new", b"\0\0\1\3new"),
        PLAIN.replace(b"\0\0\0\3new", b"\xff\xff\xff\xf0new"),
    ],
)
def test_what_is_not_plain_goes_the_long_way(payload: bytes) -> None:
    assert read_copied(payload) is None


@settings(deadline=None)
@given(at=st.integers(0, len(PLAIN) - 1), value=st.integers(0, 255), end=st.integers(0, len(PLAIN)))
def test_damaged_ones_are_as_the_long_way_reads_them(at: int, value: int, end: int) -> None:
    damaged = bytearray(PLAIN)
    damaged[at] = value
    payload = bytes(damaged[: max(end, 32)])
    copied = read_copied(payload)
    if copied is not None:
        short, long = fresh(), fresh()
        long.replay(payload)
        if copied.apply(short) is None:
            short.replay(payload)
        assert short.tree.nodes == long.tree.nodes
        assert (short.last_zxid, short.digest_mismatches) == (long.last_zxid, long.digest_mismatches)


def test_where_quotas_are_kept_it_goes_the_long_way() -> None:
    database = fresh()
    for zxid, path in ((5, QUOTA), (6, f"{QUOTA}/zookeeper_limits"), (7, f"{QUOTA}/zookeeper_stats")):
        made = CreateTxn(path, b"count=9,bytes=9" if zxid > 5 else b"", OPEN_ACL, False, 1, 0)
        database.replay(payload_of(made, zxid, None))
    before = dict(database.tree.nodes)
    copied = read_copied(payload_of(SetDataTxn("/a", b"new", 1), 8, None))
    assert copied is not None
    assert copied.apply(database) is None
    assert (database.tree.nodes, database.last_zxid) == (before, 7)
