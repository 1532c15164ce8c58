"""The model of the data service by itself: what requests must become, and what it remembers."""

import pytest

from zktw.sim.model import Model
from zktw.terms.codes import CreateMode, ErrorCode, EventType, OpCode
from zktw.wire.client import CreateRequest, MultiOp, PathVersion, SetDataRequest
from zktw.wire.records import OPEN_ACL
from zktw.wire.txn import (
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetDataTxn,
    Txn,
    TxnHeader,
)

SESSION = 7


def ask(path: str, mode: int = CreateMode.PERSISTENT) -> CreateRequest:
    return CreateRequest(path, b"x", OPEN_ACL, mode, -1)


class Told(Model):
    """A model that is told requests and lets happen what it makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.let(CreateSessionTxn(1000), OpCode.CREATE_SESSION)

    def let(self, txn: Txn, type_: int) -> None:
        assert self.apply(TxnHeader(SESSION, 0, self.zxid + 1, 0, type_), txn) == ""

    def do(self, op: int, asked: object) -> Txn:
        txn = self.judge(op, asked, SESSION)
        self.let(txn, OpCode.ERROR if isinstance(txn, ErrorTxn) else op)
        return txn


def test_sequence_numbers_count_creates_and_survive_deletes() -> None:
    model = Told()
    model.do(OpCode.CREATE, ask("/p"))
    paths = []
    for _ in range(3):
        txn = model.do(OpCode.CREATE, ask("/p/s-", CreateMode.PERSISTENT_SEQUENTIAL))
        assert isinstance(txn, CreateTxn)
        paths.append(txn.path)
        model.do(OpCode.DELETE, PathVersion(txn.path, -1))
    assert paths == ["/p/s-0000000000", "/p/s-0000000001", "/p/s-0000000002"]


@pytest.mark.parametrize(
    ("op", "asked", "code"),
    [
        (OpCode.CREATE, ask("/none/x"), ErrorCode.NO_NODE),
        (OpCode.CREATE, ask("/p"), ErrorCode.NODE_EXISTS),
        (OpCode.CREATE, ask("/e/x"), ErrorCode.NO_CHILDREN_FOR_EPHEMERALS),
        (OpCode.DELETE, PathVersion("/p", 0), ErrorCode.NOT_EMPTY),
        (OpCode.DELETE, PathVersion("/p", 3), ErrorCode.BAD_VERSION),
        (OpCode.SET_DATA, SetDataRequest("/p/n", b"", 1), ErrorCode.BAD_VERSION),
        (OpCode.SET_DATA, SetDataRequest("/q", b"", -1), ErrorCode.NO_NODE),
    ],
)
def test_what_is_refused(op: int, asked: object, code: ErrorCode) -> None:
    model = Told()
    for made in (ask("/p"), ask("/p/n"), ask("/e", CreateMode.EPHEMERAL)):
        model.do(OpCode.CREATE, made)
    assert model.judge(op, asked, SESSION) == ErrorTxn(code)


def test_a_multi_holds_as_a_whole_or_not_at_all() -> None:
    model = Told()
    whole: list[MultiOp] = [
        (OpCode.CREATE, ask("/p")),
        (OpCode.CREATE2, ask("/p/s-", CreateMode.EPHEMERAL_SEQUENTIAL)),
        (OpCode.SET_DATA, SetDataRequest("/p", b"y", 0)),
    ]
    txn = model.do(OpCode.MULTI, whole)
    assert isinstance(txn, MultiTxn)
    assert [type_ for type_, _ in txn.txns] == [OpCode.CREATE, OpCode.CREATE, OpCode.SET_DATA]
    assert set(model.nodes) == {"/", "/p", "/p/s-0000000000"}
    parts: list[MultiOp] = [
        (OpCode.DELETE, PathVersion("/p/s-0000000000", -1)),
        (OpCode.CREATE, ask("/p")),
        (OpCode.DELETE, PathVersion("/p", -1)),
    ]
    before = dict(model.nodes)
    failed = model.do(OpCode.MULTI, parts)
    assert isinstance(failed, MultiTxn)
    assert failed.txns[0] == (OpCode.DELETE, DeleteTxn("/p/s-0000000000"))
    codes = [txn.err for _, txn in failed.txns[1:] if isinstance(txn, ErrorTxn)]
    assert codes == [ErrorCode.NODE_EXISTS, ErrorCode.RUNTIME_INCONSISTENCY]
    assert model.nodes == before


def test_ephemerals_go_with_their_session() -> None:
    model = Told()
    model.do(OpCode.CREATE, ask("/e", CreateMode.EPHEMERAL))
    assert model.ephemerals(SESSION) == {"/e"}
    model.let(CloseSessionTxn(()), OpCode.CLOSE_SESSION)
    assert "/e" not in model.nodes
    assert model.sessions == {}
    assert (EventType.NODE_DELETED, "/e") in model.events[model.zxid]


def test_every_state_is_remembered() -> None:
    model = Told()
    model.do(OpCode.CREATE, ask("/p"))
    made = model.zxid
    for data in (b"1", b"2"):
        model.do(OpCode.SET_DATA, SetDataRequest("/p", data, -1))
    model.do(OpCode.DELETE, PathVersion("/p", -1))
    states = [model.at("/p", zxid) for zxid in range(made - 1, model.zxid + 1)]
    assert [state.data if state is not None else None for state in states] == [None, b"x", b"1", b"2", None]
    assert model.fired_between("/p", False, made, model.zxid) == made + 1
    assert model.fired_between("/p", False, made + 2, made + 2) == 0
    assert model.fired_between("/", True, 0, model.zxid) == made
    assert model.fired_between("/p", True, 0, model.zxid) == model.zxid


def test_a_history_that_goes_back_or_has_no_sense_is_told() -> None:
    model = Told()
    assert "follows" in model.apply(TxnHeader(SESSION, 0, 1, 0, OpCode.DELETE), DeleteTxn("/p"))
    header = TxnHeader(SESSION, 0, 2, 0, OpCode.SET_DATA)
    assert "NO_NODE" in model.apply(header, SetDataTxn("/p", b"", 1))
    assert model.zxid == 1
