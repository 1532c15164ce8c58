"""QuorumPackets and their payloads: round trips, any segmentation, malformed input refused by WireError alone."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zktw.terms.codes import PacketType
from zktw.terms.errors import WireError
from zktw.terms.limits import AUTHINFO_ITEMS_MAX
from zktw.wire import peers
from zktw.wire.peers import (
    PROTOCOL_VERSION,
    LearnerInfo,
    PacketParser,
    QuorumPacket,
    decode_i32,
    decode_learner_info,
    encode_bare,
    encode_bare_run,
    encode_current_epoch,
    encode_learner_info,
    encode_packet,
    encode_proposal,
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
    assert parser.available == 0


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
        rest = parser.rest()
        assert rest[:4] == b"tree"
        found.append(next(parser.feed(rest[4:])))
    assert found == packets
    assert parser.rest() == b"tree"
    assert parser.available == 0


@given(st.lists(PACKETS, min_size=2, max_size=4), st.lists(st.integers(0, 1500), max_size=6))
def test_what_is_taken_and_put_back_is_parsed_as_ever(packets: list[QuorumPacket], cuts: list[int]) -> None:
    """By one who goes on with the iterator that it has, in the middle of a packet too."""
    stream = b"".join(encode_packet(packet) for packet in packets)
    places = sorted(cut % len(stream) for cut in cuts)
    parser = PacketParser(DATA_MAX)
    found: list[QuorumPacket] = []
    for start, end in pairwise([0, *places, len(stream)]):
        for packet in parser.feed(stream[start:end]):
            found.append(packet)
            parser.put_back(parser.rest())
        rest = parser.rest()
        parser.put_back(rest[2:])
        parser.put_back(rest[:2])
        found += parser.packets()
    assert found == packets


@given(PACKETS, st.integers(0, 1500))
def test_a_consumer_that_takes_a_part_of_a_packet_leaves_nothing(packet: QuorumPacket, cut: int) -> None:
    data = encode_packet(packet)
    parser = PacketParser(DATA_MAX)
    begun = data[: cut % len(data)]
    assert list(parser.feed(begun)) == []
    assert parser.available == len(begun)
    assert parser.rest() == begun
    assert list(parser.feed(data)) == [packet]


def test_a_consumer_may_feed_before_it_has_taken_all() -> None:
    packets = [QuorumPacket(PacketType.ACK, zxid) for zxid in range(4)]
    parser = PacketParser(DATA_MAX)
    assert next(parser.feed(encode_packet(packets[0]) + encode_packet(packets[1]))) == packets[0]
    assert list(parser.feed(encode_packet(packets[2]) + encode_packet(packets[3]))) == packets[1:]


@pytest.mark.parametrize("size", [1, 3, 1024])
def test_a_large_packet_in_small_pieces_is_looked_at_a_few_times(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each of its lengths, and not for each of its pieces."""
    packet = QuorumPacket(PacketType.REQUEST, 7, bytes(20_000), (("ip", "x" * 3000), ("digest", "y" * 4000)))
    data = encode_packet(packet)
    looked = 0
    is_whole = peers._Measure.is_whole

    def counting(measure: peers._Measure) -> bool:
        nonlocal looked
        looked += 1
        return is_whole(measure)

    monkeypatch.setattr(peers._Measure, "is_whole", counting)
    parser = PacketParser(20_000)
    found = [found for at in range(0, len(data), size) for found in parser.feed(data[at : at + size])]
    assert found == [packet]
    # Head, data, number of identities, and each of the four texts; one more for the beginning.
    assert looked <= 10


@given(st.sampled_from(PacketType), LONGS, st.binary(max_size=DATA_MAX))
def test_the_short_ways_write_the_same(kind: PacketType, zxid: int, payload: bytes) -> None:
    assert encode_bare(kind, zxid) == encode_packet(QuorumPacket(kind, zxid))
    assert encode_proposal(kind, zxid, payload) == encode_packet(QuorumPacket(kind, zxid, payload))


@given(st.sampled_from(PacketType), st.lists(LONGS, max_size=5))
def test_a_run_is_one_packet_for_each_zxid(kind: PacketType, zxids: list[int]) -> None:
    assert encode_bare_run(kind, zxids) == b"".join(encode_bare(kind, zxid) for zxid in zxids)
    assert list(PacketParser(0).feed(encode_bare_run(kind, zxids))) == [QuorumPacket(kind, zxid) for zxid in zxids]


@given(
    st.lists(st.sampled_from([None, (), (("ip", "10.0.0.1"),), (("ip", "10.0.0.1"), ("digest", "a:b"))]), max_size=6)
)
def test_equal_and_other_identities_one_after_another(identities: list[tuple[tuple[str, str], ...] | None]) -> None:
    packets = [QuorumPacket(PacketType.REQUEST, -1, b"x", authinfo) for authinfo in identities]
    found, _ = parse_cut(b"".join(map(encode_packet, packets)), [])
    assert found == packets


def test_packets_before_a_malformed_one_are_handed_out() -> None:
    good = QuorumPacket(PacketType.COMMIT, 1)
    packets = PacketParser(DATA_MAX).feed(encode_packet(good) + struct.pack(">i", 99))
    assert next(packets) == good
    with pytest.raises(WireError, match=r"^unknown packet type 99$"):
        next(packets)


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
@pytest.mark.parametrize("cuts", [[], [1]])
def test_an_unknown_type_is_refused_from_its_four_bytes(number: int, cuts: list[int]) -> None:
    with pytest.raises(WireError, match=rf"^unknown packet type {number}$"):
        parse_cut(struct.pack(">i", number), cuts)


@pytest.mark.parametrize("length", [-2, DATA_MAX + 1, 2**31 - 1])
@pytest.mark.parametrize(("cuts", "more"), [([], b""), ([], bytes(8)), ([3, 14], b"")])
def test_data_of_an_impossible_length_is_refused_before_it_arrives(length: int, cuts: list[int], more: bytes) -> None:
    with pytest.raises(WireError, match=f"length {length} "):
        parse_cut(struct.pack(">iqi", PacketType.PROPOSAL, 1, length) + more, cuts)


@pytest.mark.parametrize("count", [-2, AUTHINFO_ITEMS_MAX + 1, 2**31 - 1])
@pytest.mark.parametrize("cuts", [[], [17]])
def test_an_impossible_number_of_identities_is_refused_before_they_arrive(count: int, cuts: list[int]) -> None:
    with pytest.raises(WireError, match=f"^REQUEST with {count} identities"):
        parse_cut(struct.pack(">iqii", PacketType.REQUEST, -1, -1, count), cuts)


@pytest.mark.parametrize("lengths", [(DATA_MAX + 1,), (0, -2)])
@pytest.mark.parametrize("cuts", [[], [20]])
def test_an_identity_of_an_impossible_length_is_refused(lengths: tuple[int, ...], cuts: list[int]) -> None:
    head = struct.pack(">iqii", PacketType.REQUEST, -1, -1, 1)
    with pytest.raises(WireError, match=f"length {lengths[-1]} "):
        parse_cut(head + b"".join(struct.pack(">i", length) for length in lengths), cuts)


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
