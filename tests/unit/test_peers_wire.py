"""QuorumPackets and their payloads: round trips, any segmentation, malformed input refused by WireError alone."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zktw.terms.codes import PacketType
from zktw.terms.errors import WireError
from zktw.terms.limits import AUTHINFO_ITEMS_MAX
from zktw.wire.peers import (
    PROTOCOL_VERSION,
    LearnerInfo,
    PacketParser,
    QuorumPacket,
    decode_i32,
    decode_learner_info,
    encode_current_epoch,
    encode_learner_info,
    encode_packet,
    encode_protocol_version,
)

DATA_MAX = 200
INTS = st.integers(-(2**31), 2**31 - 1)
LONGS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0xFFFF), max_size=20)
PACKETS = st.builds(
    QuorumPacket,
    st.sampled_from(PacketType),
    LONGS,
    st.none() | st.binary(max_size=DATA_MAX),
    st.none() | st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple),
)


def parse_cut(data: bytes, cuts: list[int], data_max: int = DATA_MAX) -> tuple[list[QuorumPacket], PacketParser]:
    """All packets of the data, which comes in pieces parted at these places."""
    parser = PacketParser(data_max)
    places = sorted(min(place, len(data)) for place in cuts)
    found: list[QuorumPacket] = []
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        found += parser.feed(data[start:end])
    return found, parser


@given(st.lists(PACKETS, max_size=5), st.lists(st.integers(0, 1500), max_size=10))
def test_packets_are_read_as_written_however_the_stream_is_cut(packets: list[QuorumPacket], cuts: list[int]) -> None:
    found, parser = parse_cut(b"".join(encode_packet(packet) for packet in packets), cuts)
    assert found == packets
    assert parser.stream.available == 0


@given(PACKETS)
def test_a_packet_is_there_with_its_last_byte(packet: QuorumPacket) -> None:
    data = encode_packet(packet)
    parser = PacketParser(DATA_MAX)
    for at in range(len(data) - 1):
        assert list(parser.feed(data[at : at + 1])) == []
    assert list(parser.feed(data[-1:])) == [packet]


@given(st.lists(PACKETS, min_size=1, max_size=4))
def test_a_consumer_may_stop_behind_any_packet(packets: list[QuorumPacket]) -> None:
    """What follows a SNAP packet on the stream belongs to another reader first."""
    parser = PacketParser(DATA_MAX)
    found = [next(parser.feed(b"tree".join(encode_packet(packet) for packet in packets) + b"tree"))]
    for _ in packets[1:]:
        rest = parser.stream.rest()
        assert rest[:4] == b"tree"
        found.append(next(parser.feed(rest[4:])))
    assert found == packets
    assert parser.stream.rest() == b"tree"


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_any_bytes_are_packets_or_refused(data: bytes, cuts: list[int]) -> None:
    try:
        found, _ = parse_cut(data, cuts)
    except WireError:
        return
    assert data.startswith(b"".join(encode_packet(packet) for packet in found)) or any(p.authinfo for p in found)


@given(PACKETS, st.data())
def test_a_packet_with_one_byte_changed_is_another_or_refused(packet: QuorumPacket, data: st.DataObject) -> None:
    whole = bytearray(encode_packet(packet))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        found, _ = parse_cut(bytes(whole), [])
    except WireError:
        return
    # Text that is no UTF-8 any more may read alike.
    assert found != [packet] or packet.authinfo


@pytest.mark.parametrize("number", [-1, 0, 20, 2**31 - 1])
def test_an_unknown_type_is_refused_from_its_four_bytes(number: int) -> None:
    with pytest.raises(WireError, match=rf"^unknown packet type {number}$"):
        parse_cut(struct.pack(">i", number), [])


@pytest.mark.parametrize("length", [-2, DATA_MAX + 1, 2**31 - 1])
def test_data_of_an_impossible_length_is_refused_before_it_arrives(length: int) -> None:
    with pytest.raises(WireError, match=f"length {length} "):
        parse_cut(struct.pack(">iqi", PacketType.PROPOSAL, 1, length), [])


@pytest.mark.parametrize("count", [-2, AUTHINFO_ITEMS_MAX + 1, 2**31 - 1])
def test_an_impossible_number_of_identities_is_refused_before_they_arrive(count: int) -> None:
    with pytest.raises(WireError, match=f"^REQUEST with {count} identities"):
        parse_cut(struct.pack(">iqii", PacketType.REQUEST, -1, -1, count), [])


@pytest.mark.parametrize("lengths", [(DATA_MAX + 1,), (0, -2)])
def test_an_identity_of_an_impossible_length_is_refused(lengths: tuple[int, ...]) -> None:
    head = struct.pack(">iqii", PacketType.REQUEST, -1, -1, 1)
    with pytest.raises(WireError, match=f"length {lengths[-1]} "):
        parse_cut(head + b"".join(struct.pack(">i", length) for length in lengths), [])


def test_the_bounds_themselves_are_allowed() -> None:
    packet = QuorumPacket(PacketType.REQUEST, -1, b"x" * DATA_MAX, (("ip", "127.0.0.1"),) * AUTHINFO_ITEMS_MAX)
    assert parse_cut(encode_packet(packet), [])[0] == [packet]


def test_null_identities_read_as_empty() -> None:
    data = struct.pack(">iqiiii", PacketType.REQUEST, -1, -1, 1, -1, -1)
    assert parse_cut(data, [])[0] == [QuorumPacket(PacketType.REQUEST, -1, None, (("", ""),))]


def test_null_and_empty_stay_apart() -> None:
    assert encode_packet(QuorumPacket(PacketType.PING, 1)).hex() == "00000005" + "0000000000000001" + "ffffffff" * 2
    assert encode_packet(QuorumPacket(PacketType.PING, 1, b"", ())).hex().endswith("0000000100000000" + "00000000")


def test_the_numbers_of_the_types_are_the_wires() -> None:
    assert {kind.value: kind.name for kind in PacketType} == {
        1: "REQUEST",
        2: "PROPOSAL",
        3: "ACK",
        4: "COMMIT",
        5: "PING",
        6: "REVALIDATE",
        7: "SYNC",
        8: "INFORM",
        9: "COMMITANDACTIVATE",
        10: "NEWLEADER",
        11: "FOLLOWERINFO",
        12: "UPTODATE",
        13: "DIFF",
        14: "TRUNC",
        15: "SNAP",
        16: "OBSERVERINFO",
        17: "LEADERINFO",
        18: "ACKEPOCH",
        19: "INFORMANDACTIVATE",
    }


@given(LONGS, INTS, LONGS)
def test_learner_info_of_all_ages(sid: int, version: int, config_version: int) -> None:
    data = encode_learner_info(LearnerInfo(sid, version, config_version))
    assert len(data) == 20
    assert decode_learner_info(data) == LearnerInfo(sid, version, config_version)
    # Of 3.4, and what follows a known end.
    assert decode_learner_info(data[:12]) == LearnerInfo(sid, version, 0)
    assert decode_learner_info(data[:19]) == LearnerInfo(sid, version, 0)
    assert decode_learner_info(data + b"more") == LearnerInfo(sid, version, config_version)
    # Older ones name themselves at most.
    assert decode_learner_info(data[:8]) == LearnerInfo(sid, 0, 0)
    assert decode_learner_info(data[:11]) == LearnerInfo(sid, 0, 0)
    assert decode_learner_info(data[:7]) == LearnerInfo(None, 0, 0)
    assert decode_learner_info(None) == LearnerInfo(None, 0, 0)


@given(INTS)
def test_the_number_of_leaderinfo_and_ackepoch(number: int) -> None:
    assert decode_i32(encode_protocol_version(number), "LEADERINFO") == number
    assert decode_i32(encode_current_epoch(number), "ACKEPOCH") == number


@pytest.mark.parametrize(("data", "said"), [(None, "no"), (b"", "0"), (b"abc", "3"), (b"abcde", "5")])
def test_a_number_of_another_length_is_refused(data: bytes | None, said: str) -> None:
    with pytest.raises(WireError, match=f"^ACKEPOCH carries {said} bytes instead of 4$"):
        decode_i32(data, "ACKEPOCH")


def test_the_protocol_version_is_that_of_zab_1() -> None:
    assert encode_protocol_version(PROTOCOL_VERSION).hex() == "00010000"
