"""The client's wire by its bytes: the first frame, and what is wrong with the parts of a multi."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zktw.terms.codes import OpCode
from zktw.terms.errors import WireError
from zktw.terms.limits import CONNECT_REQUEST_BYTES_MIN
from zktw.wire.client import MULTI_END, ConnectRequest, NullListError, read_multi
from zktw.wire.jute import Reader

# What kazoo 2.10 sends for a new session of ten seconds, without its length.
KAZOO = bytes.fromhex("00000000000000000000000000002710000000000000000000000010" + "00" * 16 + "00")


def encoded(request: ConnectRequest) -> bytes:
    password = b"\xff\xff\xff\xff" if request.password is None else struct.pack(">i", len(request.password))
    head = struct.pack(
        ">iqiq", request.protocol_version, request.last_zxid_seen, request.timeout_ms, request.session_id
    )
    tail = b"" if request.read_only is None else bytes([request.read_only])
    return head + password + (request.password or b"") + tail


def test_a_new_session_is_asked_for() -> None:
    assert ConnectRequest.decode(KAZOO) == ConnectRequest(0, 0, 10_000, 0, bytes(16), False)


def test_a_client_before_3_4_says_nothing_of_reading_only() -> None:
    assert ConnectRequest.decode(KAZOO[:-1]) == ConnectRequest(0, 0, 10_000, 0, bytes(16), None)


@given(
    st.builds(
        ConnectRequest,
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**63), 2**63 - 1),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**63), 2**63 - 1),
        st.none() | st.binary(max_size=64),
        st.none() | st.booleans(),
    ),
    st.binary(max_size=20),
)
def test_every_request_is_read_as_it_was_written(request: ConnectRequest, more: bytes) -> None:
    data = encoded(request)
    assert len(data) >= CONNECT_REQUEST_BYTES_MIN
    assert ConnectRequest.decode(data) == request
    if request.read_only is not None:
        assert ConnectRequest.decode(data + more) == request


@pytest.mark.parametrize("length", range(CONNECT_REQUEST_BYTES_MIN + 16))
def test_one_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(WireError):
        ConnectRequest.decode(KAZOO[:length])


@pytest.mark.parametrize("length", [-2, 17 + 1, 2**31 - 1])
def test_a_password_of_a_wrong_length_is_refused(length: int) -> None:
    data = KAZOO[:24] + struct.pack(">i", length) + KAZOO[28:]
    with pytest.raises(WireError):
        ConnectRequest.decode(data)


def _part(type_: int, *, acls: bytes, flags: int) -> bytes:
    head = struct.pack(">i?i", type_, False, -1)
    return head + struct.pack(">i", 2) + b"/a" + struct.pack(">i", 0) + acls + struct.pack(">i", flags)


@pytest.mark.parametrize(
    ("flags", "null", "error"),
    [
        (127, True, "flags 127"),
        (5, True, "a null list"),
        (5, False, "flags 5"),
        (0, True, "a null list"),
    ],
)
def test_what_is_wrong_with_a_create_in_a_multi_is_found_in_apache_s_order(flags: int, null: bool, error: str) -> None:
    acls = struct.pack(">i", -1) if null else struct.pack(">i", 0)
    body = _part(OpCode.CREATE_CONTAINER, acls=acls, flags=flags) + MULTI_END
    with pytest.raises(WireError, match=error) as caught:
        read_multi(Reader(body, 1000))
    assert isinstance(caught.value, NullListError) is (error == "a null list")
