"""A transaction in words: as fields for JSON, and as the line that a person reads."""

import base64
from typing import Any

from zktw.terms.codes import ErrorCode, OpCode
from zktw.tools.common import acl_word, hexed, moment, shown, shown_acls, shown_data
from zktw.wire.records import Acls
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
)

_NAMES: dict[int, str] = {
    OpCode.CREATE: "create",
    OpCode.CREATE2: "create2",
    OpCode.CREATE_CONTAINER: "createContainer",
    OpCode.CREATE_TTL: "createTTL",
    OpCode.DELETE: "delete",
    OpCode.DELETE_CONTAINER: "deleteContainer",
    OpCode.SET_DATA: "setData",
    OpCode.SET_ACL: "setACL",
    OpCode.CHECK: "check",
    OpCode.MULTI: "multi",
    OpCode.RECONFIG: "reconfig",
    OpCode.CREATE_SESSION: "createSession",
    OpCode.CLOSE_SESSION: "closeSession",
    OpCode.ERROR: "error",
}


def type_name(type_: int) -> str:
    """The name of a kind of transaction; its number where it has none."""
    return _NAMES.get(type_, str(type_))


def error_name(code: int) -> str:
    """The name of an error code; its number where it has none."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return str(code)


def header_fields(header: TxnHeader) -> dict[str, Any]:
    """What all transactions have. Numbers of 64 bits are texts: few readers of JSON keep them whole."""
    return {
        "zxid": hexed(header.zxid),
        "time_ms": header.time,
        "session": hexed(header.client_id),
        "cxid": header.cxid,
    }


def txn_fields(type_: int, txn: Txn, with_data: bool) -> dict[str, Any]:
    """A transaction for JSON, its type first. bytes is null where the node has no data at all."""
    fields: dict[str, Any] = {"type": type_name(type_)}
    match txn:
        case CreateTxn():
            fields |= {"path": txn.path} | _data_fields(txn.data, with_data) | {"acl": shown_acls(txn.acls)}
            fields |= {"ephemeral": txn.ephemeral, "parent_cversion": txn.parent_cversion}
            if type_ == OpCode.CREATE_TTL:
                fields["ttl_ms"] = txn.ttl
        case DeleteTxn(path):
            fields["path"] = path
        case SetDataTxn(path, data, version):
            fields |= {"path": path} | _data_fields(data, with_data) | {"version": version}
        case SetAclTxn(path, acls, version):
            fields |= {"path": path, "acl": shown_acls(acls), "aversion": version}
        case CheckTxn(path, version):
            fields |= {"path": path, "version": version}
        case CreateSessionTxn(timeout_ms):
            fields["timeout_ms"] = timeout_ms
        case CloseSessionTxn(paths):
            fields["paths"] = None if paths is None else list(paths)
        case ErrorTxn(err):
            fields |= {"err": err, "error": error_name(err)}
        case MultiTxn(txns):
            fields["txns"] = [txn_fields(kind, part, with_data) for kind, part in txns]
    return fields


def _data_fields(data: bytes | None, with_data: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {"bytes": None if data is None else len(data)}
    if with_data:
        fields["data_base64"] = None if data is None else base64.b64encode(data).decode("ascii")
    return fields


def txn_lines(header: TxnHeader, txn: Txn, digest: int | None, with_data: bool) -> list[str]:
    """The line of a transaction, and of a multi one more for each part, indented."""
    first = (
        f"{moment(header.time)} zxid {hexed(header.zxid)} session {hexed(header.client_id)}"
        f" cxid {hexed(header.cxid)} {txn_words(header.type, txn, with_data)}"
    )
    if digest is not None:
        first += f" digest={hexed(digest)}"
    if not isinstance(txn, MultiTxn):
        return [first]
    return [first, *(f"    {txn_words(kind, part, with_data)}" for kind, part in txn.txns)]


def txn_words(type_: int, txn: Txn, with_data: bool) -> str:
    """What happens, without whose it is and when."""
    words = [type_name(type_)]
    match txn:
        case CreateTxn():
            words += [shown(txn.path), *_data_words(txn.data, with_data), *_acl_words(txn.acls)]
            words += ["ephemeral"] * txn.ephemeral + [f"parent-cversion={txn.parent_cversion}"]
            if type_ == OpCode.CREATE_TTL:
                words.append(f"ttl={txn.ttl}ms")
        case DeleteTxn(path):
            words.append(shown(path))
        case SetDataTxn(path, data, version):
            words += [shown(path), *_data_words(data, with_data), f"version={version}"]
        case SetAclTxn(path, acls, version):
            words += [shown(path), *_acl_words(acls), f"aversion={version}"]
        case CheckTxn(path, version):
            words += [shown(path), f"version={version}"]
        case CreateSessionTxn(timeout_ms):
            words.append(f"timeout={timeout_ms}ms")
        case CloseSessionTxn(paths):
            words += [shown(path) for path in paths or ()]
        case ErrorTxn(err):
            words.append(error_name(err))
        case MultiTxn(txns):
            failed = any(isinstance(part, ErrorTxn) for _, part in txns)
            words += [f"parts={len(txns)}"] + ["failed"] * failed
    return " ".join(words)


def _acl_words(acls: Acls) -> list[str]:
    return [f"acl={acl_word(acls)}"]


def _data_words(data: bytes | None, with_data: bool) -> list[str]:
    if data is None:
        return ["bytes=null"]
    return [f"bytes={len(data)}"] + ([f"data={shown_data(data)}"] if with_data else [])
