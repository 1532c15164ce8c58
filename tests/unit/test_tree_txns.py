"""Transactions as bytes: read as they were written, whole or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zktw.terms.codes import OpCode
from zktw.terms.errors import WireError
from zktw.wire.records import Acl
from zktw.wire.txn import (
    NEXT_CVERSION,
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
    decode_txn,
    encode_txn,
    zxid_of_payload,
)

LENGTH_MAX = 1 << 20
i32 = st.integers(-(2**31), 2**31 - 1)
i64 = st.integers(-(2**63), 2**63 - 1)
# Without what Java's servers write otherwise than they read it.
chars = st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])
texts = st.text(chars, max_size=6)
paths = texts.map(lambda text: f"/n{text}")
data = st.none() | st.binary(max_size=8)
acls = st.lists(st.builds(Acl, i32, texts, texts), max_size=3).map(tuple)
singles: st.SearchStrategy[tuple[int, Txn]] = st.one_of(
    st.tuples(
        st.sampled_from([int(OpCode.CREATE), int(OpCode.CREATE2)]),
        st.builds(CreateTxn, paths, data, acls, st.booleans(), i32),
    ),
    st.tuples(st.just(int(OpCode.CREATE_TTL)), st.builds(CreateTxn, paths, data, acls, st.just(False), i32, i64)),
    st.tuples(st.just(int(OpCode.CREATE_CONTAINER)), st.builds(CreateTxn, paths, data, acls, st.just(False), i32)),
    st.tuples(st.sampled_from([int(OpCode.DELETE), int(OpCode.DELETE_CONTAINER)]), st.builds(DeleteTxn, paths)),
    st.tuples(st.sampled_from([int(OpCode.SET_DATA), int(OpCode.RECONFIG)]), st.builds(SetDataTxn, paths, data, i32)),
    st.tuples(st.just(int(OpCode.CHECK)), st.builds(CheckTxn, paths, i32)),
    st.tuples(st.just(int(OpCode.ERROR)), st.builds(ErrorTxn, i32)),
    st.tuples(st.just(int(OpCode.SET_ACL)), st.builds(SetAclTxn, paths, acls, i32)),
)
sessions: st.SearchStrategy[tuple[int, Txn]] = st.one_of(
    st.tuples(st.just(int(OpCode.CREATE_SESSION)), st.builds(CreateSessionTxn, i32)),
    st.tuples(st.just(int(OpCode.CLOSE_SESSION)), st.builds(CloseSessionTxn, st.lists(paths, max_size=3).map(tuple))),
)
multis: st.SearchStrategy[tuple[int, Txn]] = st.tuples(
    st.just(int(OpCode.MULTI)), st.builds(MultiTxn, st.lists(singles, max_size=4))
)
typed = st.one_of(singles, sessions, multis)
digests = st.none() | st.integers(0, 2**64 - 1)


@given(i64, i32, i64, i64, typed, digests)
def test_read_as_written(
    client: int, cxid: int, zxid: int, time: int, what: tuple[int, Txn], digest: int | None
) -> None:
    type_, txn = what
    header = TxnHeader(client, cxid, zxid, time, type_)
    payload = encode_txn(header, txn, digest)
    assert decode_txn(payload, LENGTH_MAX) == (header, txn, digest)
    assert zxid_of_payload(payload) == zxid


@given(typed, st.data())
def test_a_cut_one_is_never_taken_for_another(what: tuple[int, Txn], draw: st.DataObject) -> None:
    """But for the two that old servers wrote shorter: creates without a cversion, ends of sessions without nodes."""
    type_, txn = what
    payload = encode_txn(TxnHeader(1, 2, 3, 4, type_), txn, None)
    cut = payload[: draw.draw(st.integers(0, len(payload) - 1))]
    try:
        _, found, digest = decode_txn(cut, LENGTH_MAX)
    except WireError:
        return
    assert digest is None
    match found:
        case CreateTxn():
            assert found.parent_cversion == NEXT_CVERSION
        case CloseSessionTxn(paths_of):
            assert paths_of is None
        case _:
            pytest.fail(f"{found} of a part of {txn}")


def test_the_end_of_a_session_before_nodes_were_named() -> None:
    header = TxnHeader(1, 2, 3, 4, OpCode.CLOSE_SESSION)
    assert decode_txn(encode_txn(header, CloseSessionTxn(None), None), LENGTH_MAX) == (
        header,
        CloseSessionTxn(None),
        None,
    )


@pytest.mark.parametrize("digest", [0, 5, 1 << 33, (1 << 64) - 1])
def test_the_end_of_a_session_that_names_no_nodes_and_has_a_digest(digest: int) -> None:
    """Apache 3.9 with closeSessionTxn.enabled=false writes it so."""
    header = TxnHeader(1, 2, 3, 4, OpCode.CLOSE_SESSION)
    payload = encode_txn(header, CloseSessionTxn(None), digest)
    assert decode_txn(payload, LENGTH_MAX) == (header, CloseSessionTxn(None), digest)


def test_one_short_path_is_no_digest() -> None:
    header = TxnHeader(1, 2, 3, 4, OpCode.CLOSE_SESSION)
    txn = CloseSessionTxn(("/abc",))
    assert decode_txn(encode_txn(header, txn, None), LENGTH_MAX) == (header, txn, None)
    assert decode_txn(encode_txn(header, txn, 7), LENGTH_MAX) == (header, txn, 7)


@pytest.mark.parametrize("type_", [0, 3, 14 << 8, -12, 99])
def test_unknown_kinds_are_refused(type_: int) -> None:
    with pytest.raises(WireError):
        decode_txn(encode_txn(TxnHeader(1, 2, 3, 4, type_), ErrorTxn(0), None), LENGTH_MAX)


@pytest.mark.parametrize("path", ["", "a"])
def test_paths_begin_with_a_slash(path: str) -> None:
    with pytest.raises(WireError):
        decode_txn(encode_txn(TxnHeader(1, 2, 3, 4, OpCode.DELETE), DeleteTxn(path), None), LENGTH_MAX)


def test_a_multi_within_a_multi_is_refused() -> None:
    txn = MultiTxn([(OpCode.MULTI, MultiTxn([]))])
    with pytest.raises(WireError):
        decode_txn(encode_txn(TxnHeader(1, 2, 3, 4, OpCode.MULTI), txn, None), LENGTH_MAX)
