"""What a client said to Apache servers when it came: its ConnectRequests, read from the recorded bytes."""

import pytest
from recorded import streams

from zktw.terms.errors import WireError
from zktw.terms.limits import CONNECT_REQUEST_BYTES_MAX, CONNECT_REQUEST_BYTES_MIN
from zktw.wire.client import ConnectRequest

NAMES = ["client-session-apache38", "client-session-apache39"]
WORDS = {b"ruok", b"srvr"}


def openings(name: str) -> tuple[list[bytes], list[bytes]]:
    """The words, and of every other connection its first frame without its length."""
    sent = [data for chunk, data in streams(name) if chunk["from"] == "client"]
    frames = [data[4 : 4 + int.from_bytes(data[:4], "big")] for data in sent if data not in WORDS]
    return [data for data in sent if data in WORDS], frames


def replies(name: str) -> list[bytes]:
    """The first frames of the server, in the same order, without their lengths."""
    told = [data for chunk, data in streams(name) if chunk["from"] == "server"]
    return [data[4 : 4 + int.from_bytes(data[:4], "big")] for data in told if data[:2] == b"\0\0"]


@pytest.mark.parametrize("name", NAMES)
def test_every_client_is_understood(name: str) -> None:
    words, frames = openings(name)
    assert words == [b"ruok", b"srvr"]
    new, again, unknown, other = map(ConnectRequest.decode, frames)
    nobody = ConnectRequest(0, 0, 8000, 0, bytes(16), False)
    assert new == other == nobody
    # The client that was cut off comes back with what the server had given it.
    first = replies(name)[0]
    session_id, password = int.from_bytes(first[8:16], "big", signed=True), first[20:36]
    assert (again.session_id, again.password) == (session_id, password)
    assert again.last_zxid_seen == 0x20
    assert unknown == ConnectRequest(0, 0, 8000, 0x1234567890, b"\1" * 16, False)


@pytest.mark.parametrize("name", NAMES)
def test_every_first_frame_is_within_the_bounds(name: str) -> None:
    _, frames = openings(name)
    assert [len(frame) for frame in frames] == [45] * 4
    assert all(CONNECT_REQUEST_BYTES_MIN <= len(frame) <= CONNECT_REQUEST_BYTES_MAX for frame in frames)


@pytest.mark.parametrize("name", NAMES)
def test_none_is_understood_before_it_is_whole(name: str) -> None:
    for frame in openings(name)[1]:
        for length in range(len(frame) - 1):
            with pytest.raises(WireError):
                ConnectRequest.decode(frame[:length])
