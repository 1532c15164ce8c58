"""What a learner forwards: whole requests only, and none that would end the servers of Apache that apply it."""

import struct

import pytest
from dataserver import LENGTH_MAX, acl_list, buf, create_body, i32, multi_body, text
from hypothesis import given, settings
from hypothesis import strategies as st

from zktw.pipeline.readable import refusal_of
from zktw.pipeline.request import Request
from zktw.terms.codes import CreateMode, ErrorCode, OpCode
from zktw.wire.records import OPEN_ACL

QUOTA = "/zookeeper/quota/a"
TTL = struct.pack(">q", 1000)
SET = text("/a") + buf(b"x") + i32(-1)
DELETE = text("/a") + i32(-1)
SET_ACL = text("/a") + acl_list(OPEN_ACL) + i32(-1)
RECONFIG = text("server.1=a:1:2") + text("") + text("") + struct.pack(">q", -1)
WHOLE = {
    OpCode.SET_DATA: SET,
    OpCode.CREATE: create_body("/a"),
    OpCode.CREATE2: create_body("/a", None, flags=CreateMode.EPHEMERAL),
    OpCode.CREATE_CONTAINER: create_body("/a", flags=CreateMode.CONTAINER),
    OpCode.CREATE_TTL: create_body("/a", flags=CreateMode.PERSISTENT_WITH_TTL) + TTL,
    OpCode.DELETE: DELETE,
    OpCode.SET_ACL: SET_ACL,
    OpCode.MULTI: multi_body(
        (OpCode.CREATE, create_body("/a")), (OpCode.SET_DATA, SET), (OpCode.CHECK, DELETE), (OpCode.DELETE, DELETE)
    ),
    OpCode.RECONFIG: RECONFIG,
}


def refusal(op: int, body: bytes) -> ErrorCode:
    """What is answered instead of forwarding."""
    frame = struct.pack(">ii", 1, op) + body
    return refusal_of(Request(None, 7, 1, op, frame, (), 0.0), LENGTH_MAX)


@pytest.mark.parametrize("op", WHOLE, ids=lambda op: op.name)
def test_what_is_whole_is_forwarded_and_what_is_cut_off_is_not(op: OpCode) -> None:
    body = WHOLE[op]
    assert refusal(op, body) == ErrorCode.OK
    for size in range(len(body)):
        assert refusal(op, body[:size]) == ErrorCode.MARSHALLING_ERROR, size


@pytest.mark.parametrize("op", [OpCode.CLOSE_SESSION, OpCode.CREATE_SESSION])
def test_what_has_no_record_is_forwarded(op: OpCode) -> None:
    assert refusal(op, b"") == ErrorCode.OK


@pytest.mark.parametrize("flags", [mode for mode in CreateMode if "TTL" not in mode.name])
def test_a_time_to_live_without_its_mode_ends_apaches_servers(flags: int) -> None:
    assert refusal(OpCode.CREATE_TTL, create_body("/a", flags=flags) + TTL) == ErrorCode.BAD_ARGUMENTS


@pytest.mark.parametrize("name", ["zookeeper_limits", "zookeeper_stats"])
@pytest.mark.parametrize("data", [b"data", b"count=", b"count=x,bytes=1", b"=1", b"count=1;bytes"])
def test_a_quota_that_apaches_servers_cannot_read_is_not_forwarded(name: str, data: bytes) -> None:
    path = f"{QUOTA}/{name}"
    asked = text(path) + buf(data) + i32(-1)
    assert refusal(OpCode.SET_DATA, asked) == ErrorCode.BAD_ARGUMENTS
    assert refusal(OpCode.CREATE, create_body(path, data)) == ErrorCode.BAD_ARGUMENTS
    # Nor as a part of something, where one part cannot be refused alone.
    for part in ((OpCode.SET_DATA, asked), (OpCode.CREATE, create_body(path, data))):
        assert refusal(OpCode.MULTI, multi_body((OpCode.CHECK, DELETE), part)) == ErrorCode.MARSHALLING_ERROR


@pytest.mark.parametrize("data", [b"", b"count=1,bytes=-1", b"count=1,bytes=2=;byteHardLimit=3;countHardLimit=4"])
def test_a_quota_that_all_can_read_is_forwarded(data: bytes) -> None:
    assert refusal(OpCode.CREATE, create_body(f"{QUOTA}/zookeeper_limits", data)) == ErrorCode.OK
    # Elsewhere data are nobody's business.
    assert refusal(OpCode.CREATE, create_body("/zookeeper_limits", b"data")) == ErrorCode.OK


@settings(deadline=None)
@given(
    op=st.sampled_from(sorted(WHOLE)), at=st.integers(0, 200), value=st.integers(0, 255), body=st.binary(max_size=60)
)
def test_any_bytes_are_forwarded_or_refused(op: OpCode, at: int, value: int, body: bytes) -> None:
    assert refusal(op, body) in (ErrorCode.OK, ErrorCode.MARSHALLING_ERROR, ErrorCode.BAD_ARGUMENTS)
    damaged = bytearray(WHOLE[op])
    damaged[at % len(damaged)] = value
    assert refusal(op, bytes(damaged)) in (ErrorCode.OK, ErrorCode.MARSHALLING_ERROR, ErrorCode.BAD_ARGUMENTS)
