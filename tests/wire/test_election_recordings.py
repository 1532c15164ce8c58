"""The election ports of Apache servers: every message reads, and writes back to the same bytes."""

import json
from typing import Any

import pytest
from recorded import RECORDINGS, streams

from zktw.quorum.ensemble import Ensemble
from zktw.terms.limits import NOTIFICATION_BYTES_MAX, NOTIFICATION_BYTES_MIN
from zktw.terms.vote import Notification, PeerState
from zktw.wire.framing import FrameSplitter
from zktw.wire.jute import ByteFeed
from zktw.wire.votes import (
    OPENING_ADDRESSES,
    Opening,
    decode_notification,
    encode_notification,
    encode_opening,
    read_opening,
)

NAMES = [f"{name}-apache{release}" for name in ("election", "fake-leader", "fake-follower") for release in ("38", "39")]


def heading(name: str) -> dict[str, Any]:
    """A recording's first line."""
    with (RECORDINGS / f"{name}.jsonl").open() as file:
        found: dict[str, Any] = json.loads(file.readline())
    return found


def directions(name: str) -> list[tuple[dict[str, Any], bytes]]:
    """What went over the election ports: one side of one connection each."""
    return [(chunk, data) for chunk, data in streams(name) if chunk.get("port", "election") == "election"]


def take_opening(data: bytes) -> tuple[Opening, bytes]:
    """An initiator's first words, and what follows them."""
    feed = ByteFeed()
    feed.feed(data)
    parsing = read_opening(feed)
    try:
        next(parsing)
    except StopIteration as done:
        opening: Opening = done.value
        return opening, feed.rest()
    raise AssertionError("the opening is not whole")


def messages(data: bytes, sid: int) -> list[tuple[Notification, bytes]]:
    """Each notification of one direction, and its bytes."""
    splitter = FrameSplitter(NOTIFICATION_BYTES_MIN, NOTIFICATION_BYTES_MAX)
    found = [(decode_notification(sid, frame), frame) for frame in splitter.feed(data)]
    assert splitter.waiting == 0
    return found


def conversation(name: str) -> tuple[list[tuple[Opening, bytes]], list[tuple[Notification, bytes]]]:
    """All openings and all notifications of a recording, with the bytes of each."""
    openings, notifications = [], []
    for chunk, data in directions(name):
        rest = data
        if chunk["from"] == chunk["initiator"]:
            opening, rest = take_opening(data)
            openings.append((opening, data[: len(data) - len(rest)]))
        notifications += messages(rest, 0)
    return openings, notifications


@pytest.mark.parametrize("name", NAMES)
def test_openings_are_written_as_they_were_read(name: str) -> None:
    openings, _ = conversation(name)
    assert len(openings) >= (6 if name.startswith("election") else 1)
    for opening, data in openings:
        multi_address = int.from_bytes(data[:8], "big", signed=True) == OPENING_ADDRESSES
        addresses = [f"{host}:{port}" for host, port in opening.addresses]
        assert encode_opening(opening.sid, addresses, multi_address) == data


@pytest.mark.parametrize("name", NAMES)
def test_an_opening_names_the_election_port_of_its_sender(name: str) -> None:
    ports = {int(server.removeprefix("n")): port for server, port in heading(name)["ports"].items()}
    for opening, _ in conversation(name)[0]:
        assert opening.addresses == (("127.0.0.1", ports[opening.sid]),)


@pytest.mark.parametrize("name", NAMES)
def test_notifications_are_written_as_they_were_read(name: str) -> None:
    _, notifications = conversation(name)
    assert len(notifications) >= (15 if name.startswith("election") else 3)
    assert [encode_notification(notification) for notification, _ in notifications] == [
        frame for _, frame in notifications
    ]


@pytest.mark.parametrize("name", NAMES)
def test_notifications_carry_the_members_and_a_vote_for_one_of_them(name: str) -> None:
    """The configuration names the ports that the recording's first line tells."""
    first = heading(name)
    for notification, _ in conversation(name)[1]:
        assert notification.config_text is not None
        ensemble = Ensemble.from_text(notification.config_text)
        assert ensemble.version == 0
        assert notification.vote.leader in ensemble.voters
        for server, port in first["ports"].items():
            member = ensemble.members[int(server.removeprefix("n"))]
            assert [address.port for address in member.election_addresses] == [port]
            assert [address.port for address in member.quorum_addresses] == [first["quorum_ports"][server]]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("election")])
def test_votes_tell_the_story_of_the_marks(name: str) -> None:
    """All look; n2 is elected and killed; n3 is elected and stays."""
    told: list[tuple[PeerState, int]] = []
    for _, data in directions(name):
        # An initiator's opening is as long as its address; what is none is a message.
        rest = take_opening(data)[1] if data[:4] == b"\xff\xff\xff\xff" else data
        told += [(notification.state, notification.vote.leader) for notification, _ in messages(rest, 0)]
    looking = {leader for state, leader in told if state == PeerState.LOOKING}
    settled = {(state, leader) for state, leader in told if state != PeerState.LOOKING}
    assert looking == {1, 2, 3}
    assert {(PeerState.LEADING, 3), (PeerState.FOLLOWING, 3)} <= settled
    assert {leader for _, leader in settled} <= {2, 3}
