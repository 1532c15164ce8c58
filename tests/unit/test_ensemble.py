"""Members: the text they are written in, read and written back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zktw.quorum.ensemble import Address, Ensemble, KeyedError, LearnerType, QuorumServer, parse_sid
from zktw.quorum.verifier import QuorumHierarchical, QuorumMaj

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}(\.[a-z]{1,4})?", fullmatch=True)
HOSTS = st.one_of(
    NAMES, st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda ip: Address(str(ip), 1).text()[1:-3])
)
PORTS = st.integers(1, 65535)
SIDS = st.integers(0, 2**63 - 1)


@st.composite
def servers(draw: st.DrawFn, sid: int, role: LearnerType | None = None) -> QuorumServer:
    """A member whose addresses stand in the order in which they are written."""
    hosts = sorted(draw(st.lists(HOSTS, min_size=1, max_size=3, unique=True)))
    ports = [draw(st.lists(PORTS, min_size=2, max_size=2, unique=True)) for _ in hosts]
    return QuorumServer(
        sid,
        tuple(Address(host, pair[0]) for host, pair in zip(hosts, ports, strict=True)),
        tuple(Address(host, pair[1]) for host, pair in zip(hosts, ports, strict=True)),
        role or draw(st.sampled_from(LearnerType)),
        draw(st.none() | st.builds(Address, HOSTS, PORTS)),
    )


@st.composite
def ensembles(draw: st.DrawFn) -> Ensemble:
    """Members, half of the time in groups."""
    sids = sorted(draw(st.lists(SIDS, min_size=1, max_size=6, unique=True)))
    members = {sid: draw(servers(sid)) for sid in sids}
    version = draw(st.integers(0, 2**63 - 1))
    if draw(st.booleans()):
        return Ensemble(members, version)
    members[sids[0]] = draw(servers(sids[0], LearnerType.PARTICIPANT))
    home = {sid: draw(st.integers(0, 3)) for sid in sids}
    groups = {group: tuple(sid for sid in sids if home[sid] == group) for group in sorted(set(home.values()))}
    weights = {sid: draw(st.integers(0, 5)) for sid in sids if draw(st.booleans())}
    weights[sids[0]] = draw(st.integers(1, 5))
    return Ensemble(members, version, groups, dict(sorted(weights.items())))


@given(ensembles())
def test_text_is_read_as_it_was_written(ensemble: Ensemble) -> None:
    assert Ensemble.from_text(ensemble.text()) == ensemble


@given(st.text(max_size=200) | st.text("server.12=:;|[]abc\n", max_size=60))
def test_any_text_is_an_ensemble_or_a_value_error(text: str) -> None:
    try:
        ensemble = Ensemble.from_text(text)
    except ValueError:
        return
    assert Ensemble.from_text(ensemble.text()).same_members(ensemble)


@given(ensembles(), st.integers(0, 2**63 - 1))
def test_the_version_is_no_part_of_being_the_same(ensemble: Ensemble, version: int) -> None:
    other = Ensemble(ensemble.members, version, ensemble.groups, ensemble.weights)
    assert ensemble.same_members(other)


def test_the_order_of_addresses_and_within_groups_is_no_difference() -> None:
    one = Ensemble.from_text("server.1=a:1:2|b:1:2:participant\nserver.2=c:1:2\ngroup.1=1:2")
    other = Ensemble.from_text("server.2=c:1:2:participant\nserver.1=b:1:2|a:1:2\ngroup.1=2:1")
    assert one.same_members(other)


@pytest.mark.parametrize(
    "change",
    [
        "server.1=z:1:2\nserver.2=b:1:2",
        "server.1=a:9:2\nserver.2=b:1:2",
        "server.1=a:1:9\nserver.2=b:1:2",
        "server.1=a:1:2:observer\nserver.2=b:1:2",
        "server.1=a:1:2;2181\nserver.2=b:1:2",
        "server.1=a:1:2",
        "server.1=a:1:2\nserver.3=b:1:2",
        "server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1:2",
    ],
)
def test_every_other_change_is_a_difference(change: str) -> None:
    assert not Ensemble.from_text("server.1=a:1:2\nserver.2=b:1:2").same_members(Ensemble.from_text(change))


def test_the_text_of_everything() -> None:
    ensemble = Ensemble.from_keys(
        {
            "weight.2": "0",
            "group.2": "3",
            "group.1": "1:2",
            "server.10": "[2001:db8::1]:2888:3888:OBSERVER;[::1]:2181",
            "server.3": "c:2888:3888;2181",
            "server.2": "b2:2888:3888 | b1:2889:3889 :participant",
            "server.1": " a : 2888 : 3888 ",
        },
        version=0x1_0000_00AB,
    )
    assert ensemble.text() == (
        "server.1=a:2888:3888:participant\n"
        "server.2=b1:2889:3889|b2:2888:3888:participant\n"
        "server.3=c:2888:3888:participant;0.0.0.0:2181\n"
        "server.10=[2001:db8:0:0:0:0:0:1]:2888:3888:observer;[0:0:0:0:0:0:0:1]:2181\n"
        "group.1=1:2\ngroup.2=3\nweight.2=0\nversion=1000000ab"
    )
    assert (ensemble.voters, ensemble.observers) == ((1, 2, 3), (10,))


def test_members_stand_in_the_order_of_their_sids() -> None:
    ensemble = Ensemble.from_text("server.10=a:1:2\nserver.9=b:1:2\nserver.100=c:1:2")
    assert list(ensemble.members) == [9, 10, 100]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("server.1=a:1:2", QuorumMaj),
        ("server.1=a:1:2\ngroup.1=1", QuorumHierarchical),
        ("server.1=a:1:2\ngroup.1=1\nweight.1=3", QuorumHierarchical),
    ],
)
def test_groups_make_quorums_hierarchical(text: str, kind: type) -> None:
    assert type(Ensemble.from_text(text).verifier()) is kind


@pytest.mark.parametrize("text", ["", "-1", "+1", "1_0", "1 0", "0x1", "\u0661", "9" * 5000, str(2**63)])
def test_what_is_no_server_id(text: str) -> None:
    with pytest.raises(ValueError, match="is no server id"):
        parse_sid(text)


@pytest.mark.parametrize("text", ["", "-1", "+1", "1_0", "0x1", "g", "\u0661", "f" * 5000, f"{2**63:x}"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="is no version"):
        Ensemble.from_text(f"server.1=a:1:2\nversion={text}")


def test_the_highest_version() -> None:
    assert Ensemble.from_text("server.1=a:1:2\nversion=7FFFFFFFFFFFFFFF").version == 2**63 - 1


def test_a_wrong_key_is_named_and_its_value_cut_in_the_reason() -> None:
    with pytest.raises(KeyedError) as caught:
        Ensemble.from_keys({"server.1": "a:1:2", "server.2": f"b:1:{'9' * 5000}"})
    assert caught.value.key == "server.2"
    assert len(caught.value.reason) < 120


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address("a", 1), "a:1"),
        (Address("10.0.0.1", 2), "10.0.0.1:2"),
        (Address("fe80::1%eth0", 3), "[fe80::1%eth0]:3"),
    ],
)
def test_an_address_is_written_with_brackets_where_it_needs_them(address: Address, text: str) -> None:
    assert str(address) == text
