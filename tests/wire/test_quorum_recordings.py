"""The quorum ports of Apache servers: every packet reads, and writes back to the same bytes."""

import json
from typing import Any

import pytest
from recorded import RECORDINGS, streams

from zktw.quorum.ensemble import Ensemble
from zktw.terms.codes import PacketType
from zktw.terms.limits import JUTE_MAXBUFFER
from zktw.terms.zxid import counter_of, epoch_of, format_zxid
from zktw.tree.database import Database
from zktw.wire.peers import (
    PROTOCOL_VERSION,
    TREE_SIGNATURE,
    PacketParser,
    QuorumPacket,
    decode_i32,
    decode_learner_info,
    encode_current_epoch,
    encode_learner_info,
    encode_packet,
    encode_protocol_version,
)

KINDS = ("forming-and-broadcast", "sync-diff", "sync-snap", "sync-trunc", "observer", "fake-leader", "fake-follower")
NAMES = [f"{kind}-apache{release}" for kind in KINDS for release in ("38", "39")]


def heading(name: str) -> dict[str, Any]:
    """A recording's first line."""
    with (RECORDINGS / f"{name}.jsonl").open() as file:
        found: dict[str, Any] = json.loads(file.readline())
    return found


def directions(name: str) -> list[tuple[dict[str, Any], bytes]]:
    """What went over the quorum ports: one side of one connection each."""
    return [(chunk, data) for chunk, data in streams(name) if chunk.get("port", "quorum") == "quorum"]


class TreeReader:
    """The bytes of a tree and of the word behind it, as they arrive."""

    def __init__(self) -> None:
        self.read = b""
        self.rest = b""
        self._parser = Database().parser(JUTE_MAXBUFFER)
        self._ended = False

    def feed(self, data: bytes) -> bool:
        """Whether that was all; rest holds what came behind."""
        self.read += data
        if not self._ended and self._parser.feed(data):
            self._ended, self.rest = True, self._parser.rest
        elif self._ended:
            self.rest += data
        if not self._ended or len(self.rest) < len(TREE_SIGNATURE):
            return False
        assert self.rest.startswith(TREE_SIGNATURE)
        self.rest = self.rest[len(TREE_SIGNATURE) :]
        self.read = self.read[: len(self.read) - len(self.rest)]
        return True


def parse(data: bytes, piece: int) -> list[QuorumPacket | bytes]:
    """The packets of one direction, which comes in pieces; after SNAP the bytes of its tree."""
    found: list[QuorumPacket | bytes] = []
    parser = PacketParser(JUTE_MAXBUFFER)
    tree: TreeReader | None = None
    for start in range(0, len(data), piece):
        packets = parser.feed(data[start : start + piece])
        while True:
            if tree is not None:
                if not tree.feed(parser.rest()):
                    break
                found.append(tree.read)
                parser.put_back(tree.rest)
                tree = None
                packets = parser.packets()
            packet = next(packets, None)
            if packet is None:
                break
            found.append(packet)
            if packet.type == PacketType.SNAP:
                tree = TreeReader()
    assert tree is None
    assert parser.available == 0
    return found


def packets_of(name: str, kind: PacketType) -> list[QuorumPacket]:
    """All packets of one type, by connection and sender."""
    return [
        packet
        for _, data in directions(name)
        for packet in parse(data, len(data))
        if isinstance(packet, QuorumPacket) and packet.type == kind
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("piece", [1, 13, 1 << 20], ids=["bytes", "pieces", "whole"])
def test_packets_are_written_as_they_were_read(name: str, piece: int) -> None:
    count = 0
    for _, data in directions(name):
        packets = parse(data, piece)
        count += len(packets)
        written = [packet if isinstance(packet, bytes) else encode_packet(packet) for packet in packets]
        assert b"".join(written) == data
    assert count >= 10


@pytest.mark.parametrize("name", NAMES)
def test_the_packets_are_those_that_the_recording_lists(name: str) -> None:
    listed: dict[tuple[int, str], list[str]] = {}
    for line in heading(name)["packets_without_ping"]:
        connection, sender, what = line.split(maxsplit=2)
        listed.setdefault((int(connection), sender), []).append(what)
    assert listed
    seen: dict[tuple[int, str], list[str]] = {}
    for chunk, data in directions(name):
        for packet in parse(data, len(data)):
            if isinstance(packet, bytes):
                seen[chunk["conn"], chunk["from"]].append("(snapshot stream follows)")
                break  # the list ends here for this sender
            if packet.type != PacketType.PING:
                what = f"{packet.type.name} {format_zxid(packet.zxid)}"
                seen.setdefault((chunk["conn"], chunk["from"]), []).append(what)
    assert seen == listed


@pytest.mark.parametrize("name", NAMES)
def test_payloads_are_written_as_they_were_read(name: str) -> None:
    infos = packets_of(name, PacketType.FOLLOWERINFO) + packets_of(name, PacketType.OBSERVERINFO)
    for packet in infos:
        info = decode_learner_info(packet.data)
        assert info.protocol_version == PROTOCOL_VERSION
        assert encode_learner_info(info) == packet.data
    leader_infos = packets_of(name, PacketType.LEADERINFO)
    for packet in leader_infos:
        assert encode_protocol_version(decode_i32(packet.data, "LEADERINFO")) == packet.data
        assert decode_i32(packet.data, "LEADERINFO") == PROTOCOL_VERSION
    acks = packets_of(name, PacketType.ACKEPOCH)
    for packet in acks:
        assert encode_current_epoch(decode_i32(packet.data, "ACKEPOCH")) == packet.data
    newleaders = packets_of(name, PacketType.NEWLEADER)
    for packet in newleaders:
        assert packet.data is not None
        text = packet.data.decode()
        assert Ensemble.from_text(text).text() == text
    assert 1 <= len(infos) == len(leader_infos) == len(acks) == len(newleaders)


@pytest.mark.parametrize("name", NAMES)
def test_the_start_of_an_epoch_has_counter_0(name: str) -> None:
    epochs = [packet.zxid for packet in packets_of(name, PacketType.LEADERINFO)]
    assert [packet.zxid for packet in packets_of(name, PacketType.NEWLEADER)] == epochs
    assert all(counter_of(zxid) == 0 and epoch_of(zxid) >= 1 for zxid in epochs)
    assert {packet.zxid for packet in packets_of(name, PacketType.UPTODATE)} == {-1}


@pytest.mark.parametrize("name", NAMES)
def test_the_leader_pings_with_nothing_and_is_answered_with_an_empty_list_at_least(name: str) -> None:
    for chunk, data in directions(name):
        for packet in parse(data, len(data)):
            if isinstance(packet, QuorumPacket) and packet.type == PacketType.PING:
                assert (packet.data is None) == (chunk["from"] == chunk["leader"])


@pytest.mark.parametrize(
    ("kind", "mode"), [("sync-diff", "DIFF"), ("sync-snap", "SNAP"), ("sync-trunc", "TRUNC"), ("observer", "SNAP")]
)
@pytest.mark.parametrize("release", ["38", "39"])
def test_each_way_to_synchronise_was_recorded(kind: str, mode: str, release: str) -> None:
    modes = [PacketType.DIFF, PacketType.SNAP, PacketType.TRUNC]
    found = [packet for mode in modes for packet in packets_of(f"{kind}-apache{release}", mode)]
    assert [packet.type.name for packet in found] == [mode]
