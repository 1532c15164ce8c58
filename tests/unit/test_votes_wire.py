"""Openings and notifications: round trips, formats of all ages, malformed input refused by WireError alone."""

import struct
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zktw.terms.errors import WireError
from zktw.terms.limits import ELECTION_OPENING_BYTES_MAX
from zktw.terms.vote import NO_SID, Notification, PeerState, Vote
from zktw.wire.jute import ByteFeed, Parsing
from zktw.wire.votes import (
    OBSERVER_SID,
    OPENING_ADDRESSES,
    OPENING_ONE_ADDRESS,
    Opening,
    decode_notification,
    encode_notification,
    encode_opening,
    read_opening,
)

T = TypeVar("T")
LONGS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0xFFFF), max_size=60)
SIDS = st.integers(0, 2**63 - 1)
HOSTS = st.sampled_from(["127.0.0.1", "zk1.example.org", "[::1]", "[2001:db8::7]", "0.0.0.0"])
ADDRESSES = st.tuples(HOSTS, st.integers(1, 65535)).map(lambda pair: f"{pair[0]}:{pair[1]}")
NOTIFICATIONS = st.builds(
    Notification, SIDS, st.sampled_from(PeerState), st.builds(Vote, LONGS, LONGS, LONGS), LONGS, TEXTS
)


def run(parsing: Parsing[T], feed: ByteFeed, chunks: list[bytes]) -> T | None:
    """What a parser makes of these chunks; None while it wants more."""
    for chunk in chunks:
        feed.feed(chunk)
        try:
            next(parsing)
        except StopIteration as done:
            value: T = done.value
            return value
    return None


def read(data: bytes) -> Opening | None:
    """An opening that comes at once."""
    feed = ByteFeed()
    return run(read_opening(feed), feed, [data])


def opening(version: int, sid: int, text: bytes, length: int | None = None) -> bytes:
    """The bytes of an opening, right or wrong."""
    return struct.pack(">qqi", version, sid, len(text) if length is None else length) + text


# -- openings ------------------------------------------------------------------------------------------------------


@given(SIDS, st.lists(ADDRESSES, min_size=1, max_size=4), st.booleans(), st.integers(1, 40))
def test_an_opening_is_read_as_written(sid: int, addresses: list[str], multi_address: bool, piece: int) -> None:
    data = encode_opening(sid, addresses, multi_address)
    feed = ByteFeed()
    found = run(read_opening(feed), feed, [data[at : at + piece] for at in range(0, len(data), piece)])
    sent = addresses if multi_address else addresses[:1]
    pairs = [address.rsplit(":", 1) for address in sent]
    assert found == Opening(sid, tuple((host.strip("[]"), int(port)) for host, port in pairs))
    assert feed.available == 0


def test_an_opening_as_a_recorded_server_sent_it() -> None:
    data = encode_opening(1, ["127.0.0.1:22986"], False)
    assert data.hex() == "ffffffffffff000000000000000000010000000f3132372e302e302e313a3232393836"
    assert encode_opening(1, ["127.0.0.1:22986"], True)[:8].hex() == "ffffffffffff0001"


@given(SIDS)
def test_an_old_server_opens_with_its_sid_alone(sid: int) -> None:
    assert read(struct.pack(">q", sid)) == Opening(sid, ())


def test_an_observer_without_a_sid_says_so() -> None:
    assert read(struct.pack(">q", OBSERVER_SID)) == Opening(2**63 - 1, ())


@pytest.mark.parametrize("version", [-1, -65534, -65537, -(2**63)])
def test_an_unknown_version_is_refused_from_its_eight_bytes(version: int) -> None:
    with pytest.raises(WireError, match=rf"^unknown version {version} of the opening$"):
        read(struct.pack(">q", version))


@pytest.mark.parametrize("length", [-(2**31), -1, 0, ELECTION_OPENING_BYTES_MAX + 1, 2**31 - 1])
@pytest.mark.parametrize("version", [OPENING_ONE_ADDRESS, OPENING_ADDRESSES])
def test_a_text_of_an_impossible_length_is_refused_before_it_arrives(version: int, length: int) -> None:
    with pytest.raises(WireError, match=rf"^opening with {length} bytes of address"):
        read(opening(version, 1, b"", length))


def test_a_text_of_the_greatest_length_is_read() -> None:
    host = "h" * (ELECTION_OPENING_BYTES_MAX - 2)
    assert read(opening(OPENING_ONE_ADDRESS, 1, f"{host}:1".encode())) == Opening(1, ((host, 1),))


@pytest.mark.parametrize("version", [OPENING_ONE_ADDRESS, OPENING_ADDRESSES])
def test_lists_of_addresses_are_read_under_both_versions(version: int) -> None:
    assert read(opening(version, 3, b"a:1|[::1]:2|b:65535")) == Opening(3, (("a", 1), ("::1", 2), ("b", 65535)))


@pytest.mark.parametrize(
    "text",
    [
        *(b"x", b"host:", b":1", b"host:0", b"host:65536", b"host:-1", b"host:+1", b"host:1a", b"host: 1"),
        *(b"a:1|", b"|a:1", b"\xff:1", "host:\u0661".encode()),
    ],
)
def test_what_is_no_address_is_refused(text: bytes) -> None:
    with pytest.raises(WireError, match=r"^opening with an address that is none: "):
        read(opening(OPENING_ONE_ADDRESS, 1, text))


@given(st.binary(max_size=80))
def test_any_bytes_are_an_opening_or_refused(data: bytes) -> None:
    try:
        found = read(data)
    except WireError:
        return
    assert found is None or found.sid == int.from_bytes(data[:8], "big", signed=True)


@given(st.sampled_from([OPENING_ONE_ADDRESS, OPENING_ADDRESSES]), LONGS, st.binary(min_size=1, max_size=40))
def test_any_text_is_addresses_or_refused(version: int, sid: int, text: bytes) -> None:
    try:
        found = read(opening(version, sid, text))
    except WireError:
        return
    assert found is not None
    assert found.sid == sid
    assert all(host and 0 < port < 65536 for host, port in found.addresses)


# -- notifications -------------------------------------------------------------------------------------------------


@given(NOTIFICATIONS)
def test_a_notification_is_read_as_written(notification: Notification) -> None:
    assert decode_notification(notification.sid, encode_notification(notification)) == notification


@given(NOTIFICATIONS, st.binary(max_size=10))
def test_what_follows_the_configuration_is_left_aside(notification: Notification, more: bytes) -> None:
    assert decode_notification(notification.sid, encode_notification(notification) + more) == notification


def test_the_places_of_the_fields() -> None:
    frame = encode_notification(Notification(9, PeerState.LEADING, Vote(5, 3, 2), 4, "version=0"))
    assert (
        frame.hex()
        == ("00000002" + "0000000000000002" + "0000000000000003" + "0000000000000004" + "0000000000000005")
        + "00000002"
        + "00000009"
        + b"version=0".hex()
    )


def test_no_configuration_is_sent_as_an_empty_one() -> None:
    frame = encode_notification(Notification(1, PeerState.LOOKING, Vote(0, 0, 1), 1))
    assert len(frame) == 44
    assert frame[-4:] == bytes(4)
    assert decode_notification(1, frame).config_text == ""


@given(NOTIFICATIONS)
def test_28_bytes_have_the_epoch_of_their_zxid(notification: Notification) -> None:
    found = decode_notification(notification.sid, encode_notification(notification)[:28])
    vote = Vote(notification.vote.zxid >> 32, notification.vote.zxid, notification.vote.leader)
    assert found == Notification(notification.sid, notification.state, vote, notification.round, None)


@given(NOTIFICATIONS, st.integers(-(2**31), 2**31 - 1))
def test_40_bytes_have_no_version_whatever_their_word_says(notification: Notification, version: int) -> None:
    frame = encode_notification(notification)[:36] + struct.pack(">i", version)
    found = decode_notification(notification.sid, frame)
    assert found == Notification(notification.sid, notification.state, notification.vote, notification.round, None)


@given(NOTIFICATIONS, st.integers(-(2**31), 1), st.binary(min_size=1, max_size=20))
def test_an_older_version_has_no_configuration(notification: Notification, version: int, rest: bytes) -> None:
    frame = encode_notification(notification)[:36] + struct.pack(">i", version) + rest
    assert decode_notification(1, frame).config_text is None
    assert decode_notification(1, frame).vote == notification.vote


@given(NOTIFICATIONS, st.integers(2, 2**31 - 1))
def test_a_later_version_is_read_like_ours(notification: Notification, version: int) -> None:
    frame = bytearray(encode_notification(notification))
    frame[36:40] = struct.pack(">i", version)
    assert decode_notification(notification.sid, bytes(frame)) == notification


@pytest.mark.parametrize("length", [0, 1, 27, *range(29, 40), 41, 42, 43])
def test_a_notification_cut_off_is_refused(length: int) -> None:
    frame = encode_notification(Notification(1, PeerState.LOOKING, Vote(0, 0, 1), 1))[:length]
    with pytest.raises(WireError, match=f"{length}"):
        decode_notification(1, frame)


@pytest.mark.parametrize("state", [-1, 4, 2**31 - 1])
@pytest.mark.parametrize("length", [28, 40, 44])
def test_an_unknown_state_is_refused(state: int, length: int) -> None:
    frame = struct.pack(">i", state) + encode_notification(Notification(1, PeerState.LOOKING, Vote(0, 0, 1), 1))[4:]
    with pytest.raises(WireError, match=f"unknown state {state}$"):
        decode_notification(1, frame[:length])


@pytest.mark.parametrize("length", [-(2**31), -1, 10, 2**31 - 1])
def test_a_configuration_longer_than_the_message_is_refused(length: int) -> None:
    frame = bytearray(encode_notification(Notification(1, PeerState.LOOKING, Vote(0, 0, 1), 1, "version=0")))
    frame[40:44] = struct.pack(">i", length)
    with pytest.raises(WireError, match=f"says its configuration has {length}$"):
        decode_notification(1, bytes(frame))


@given(st.binary(max_size=100))
def test_any_bytes_are_a_notification_or_refused(frame: bytes) -> None:
    try:
        found = decode_notification(7, frame)
    except WireError:
        return
    assert found.sid == 7
    assert found.vote.leader == int.from_bytes(frame[4:12], "big", signed=True)


def test_the_vote_of_one_who_may_not_be_elected_crosses() -> None:
    vote = Vote(NO_SID, NO_SID, NO_SID)
    frame = encode_notification(Notification(4, PeerState.LOOKING, vote, 1, "version=0"))
    assert decode_notification(4, frame).vote == vote
