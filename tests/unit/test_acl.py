"""Lists of access: the table's numbers, who may what, networks, and lists that grow when they are stored."""

import ipaddress
import time

import pytest
from dataserver import DataServer, acl_list, described, digest_acl, i32, text
from hypothesis import given
from hypothesis import strategies as st

from zktw.pipeline.auth import Authentication
from zktw.terms.codes import ErrorCode, OpCode, Perm
from zktw.terms.limits import ACL_ITEMS_MAX, EXPANDED_BYTES_MAX
from zktw.tree.acl import AclTable, expansion, fix_acls, ip_network, is_allowed, masked
from zktw.wire.jute import Reader
from zktw.wire.records import OPEN_ACL, READ_ACL, Acl, Acls, Identity, put_acls, read_acls

LISTS: list[Acls] = [OPEN_ACL, READ_ACL, digest_acl("a", "x"), digest_acl("b", "x"), ()]
VALID = {"digest": lambda id_: id_.count(":") == 1, "ip": lambda id_: ip_network(id_) is not None}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, len(LISTS) - 1)), max_size=40))
def test_the_table_holds_the_lists_that_are_used_and_no_number_comes_twice(steps: list[tuple[bool, int]]) -> None:
    table = AclTable()
    held: list[tuple[int, Acls]] = []
    given_out: dict[int, Acls] = {}
    for takes, which in steps:
        if takes:
            number = table.intern(LISTS[which])
            table.use(number)
            held.append((number, LISTS[which]))
            assert given_out.setdefault(number, LISTS[which]) == LISTS[which]
        elif held:
            number, _ = held.pop(which % len(held))
            table.leave(number)
        assert all(table.get(number) == acls for number, acls in held)
        assert set(table.copy().values()) == {acls for _, acls in held} - {OPEN_ACL}


def test_what_a_snapshot_has_and_nobody_uses_is_dropped_and_its_number_stays_taken() -> None:
    table = AclTable()
    table.load(5, READ_ACL)
    table.load(9, digest_acl("a", "x"))
    table.use(5)
    table.drop_unused()
    assert table.copy() == {5: READ_ACL}
    assert table.intern(READ_ACL) == 5
    assert table.intern(digest_acl("a", "x")) == 10


def test_a_number_without_a_list_lets_nobody_do_anything() -> None:
    assert not is_allowed(AclTable().get(7), Perm.ALL, (Identity("ip", "127.0.0.1"), Identity("digest", "a:x")))


entries = st.builds(
    Acl,
    st.sampled_from([0, 1, 2, 16, 31, -1]),
    st.sampled_from(["world", "digest", "ip", "x509"]),
    st.sampled_from(["anyone", "a:x", "b:y", "127.0.0.1", "127.0.0.0/8", "10.1.2.3/9", "::1", "::/0", "nonsense"]),
)
identities = st.lists(
    st.builds(
        Identity, st.sampled_from(["digest", "ip", "x509", "super"]), st.sampled_from(["a:x", "127.0.0.1", "::1"])
    ),
    max_size=8,
).map(tuple)


def _naive(acls: Acls, perm: int, who: tuple[Identity, ...]) -> bool:
    def matches(acl: Acl, one: Identity) -> bool:
        if acl.scheme != one.scheme:
            return False
        if acl.scheme != "ip":
            return acl.id == one.id
        try:
            return ipaddress.ip_address(one.id) in ipaddress.ip_network(acl.id, strict=False)
        except ValueError:
            return False

    if not acls or any(one.scheme == "super" for one in who):
        return True
    fitting = [acl for acl in acls if acl.perms & perm]
    return any((acl.scheme, acl.id) == ("world", "anyone") or any(matches(acl, one) for one in who) for acl in fitting)


@given(st.lists(entries, max_size=6).map(tuple), st.sampled_from([1, 2, 4, 31]), identities)
def test_who_may_what(acls: Acls, perm: int, who: tuple[Identity, ...]) -> None:
    assert is_allowed(acls, perm, who) == _naive(acls, perm, who)


@pytest.mark.parametrize("id_", ["1.2.3.4", "1.2.3.4/0", "1.2.3.4/32", "::1", "1:2::/64", "::ffff:1.2.3.4/128"])
def test_networks(id_: str) -> None:
    assert ip_network(id_) is not None


@pytest.mark.parametrize(
    "id_",
    [
        "",
        "/",
        "1.2.3",
        "1.2.3.4/",
        "1.2.3.4/33",
        "1.2.3.4/-1",
        "1.2.3.4/8/8",
        "::/129",
        "a",
        "1.2.3.4\0",
        "\u00b2.1.1.1",
    ],
)
def test_what_is_no_network(id_: str) -> None:
    assert ip_network(id_) is None
    assert ip_network("1.2.3.4/" + "9" * 5000) is None


def test_a_long_list_and_many_identities_are_not_multiplied() -> None:
    """Not a bound on time by the clock of the wall: one is a thousand times the other, if they are multiplied."""
    acls = tuple([Acl(31, "digest", f"user{number}:x") for number in range(20_000)])
    who = tuple([Identity("digest", f"other{number}:x") for number in range(500)])
    begin = time.process_time()
    assert not is_allowed(acls, Perm.READ, who)
    assert time.process_time() - begin < 2.0


def test_fixing() -> None:
    me, other = Identity("digest", "me:x"), Identity("digest", "other:y")
    here = Identity("ip", "127.0.0.1")
    assert fix_acls(None, (me,), VALID) is None
    assert fix_acls((), (me,), VALID) is None
    assert fix_acls(OPEN_ACL + OPEN_ACL, (), VALID) == OPEN_ACL
    assert fix_acls((Acl(31, "world", "x"),), (), VALID) is None
    assert fix_acls((Acl(31, "nosuch", "x"),), (), VALID) is None
    assert fix_acls((Acl(31, "auth", ""),), (here,), VALID) is None, "an address tells not who somebody is"
    assert fix_acls((Acl(5, "auth", ""),), (here, me, other), VALID) == (
        Acl(5, "digest", "me:x"),
        Acl(5, "digest", "other:y"),
    )
    assert fix_acls((Acl(64, "ip", "1.2.3.4/8"), Acl(0, "ip", "::1")), (), VALID) is not None, "any permissions do"


def test_hashes_are_masked_and_nothing_else() -> None:
    assert masked((Acl(1, "digest", "a:hash"), Acl(1, "ip", "::1"))) == (Acl(1, "digest", "a:x"), Acl(1, "ip", "::1"))


@given(st.lists(entries | st.just(Acl(7, "auth", "")), max_size=6).map(tuple), identities)
def test_no_list_grows_beyond_what_was_foretold(acls: Acls, who: tuple[Identity, ...]) -> None:
    auth = Authentication()
    fixed = auth.fix(acls, who)
    if fixed is not None:
        count, size = expansion(acls, who)
        before, after = bytearray(), bytearray()
        put_acls(before, acls)
        put_acls(after, fixed)
        assert len(fixed) <= len(acls) + count
        assert len(after) <= len(before) + size


def test_a_list_that_would_grow_too_long_to_be_read_again_is_refused() -> None:
    server = DataServer()
    client = server.connect()
    for user in ("a", "b"):
        assert server.authenticate(client, user) == 0
    count = ACL_ITEMS_MAX // 2 + 1
    assert server.create(client, "/n", b"", tuple([Acl(perms, "auth", "") for perms in range(count)])) == (
        ErrorCode.INVALID_ACL
    )
    assert server.create(client, "/n", b"", tuple([Acl(perms, "auth", "") for perms in range(100)])) == 0
    server.hold_to_log()


def test_a_multi_cannot_make_gigabytes_of_a_long_name() -> None:
    server = DataServer()
    client = server.connect()
    assert server.authenticate(client, "u" * 100_000) == 0
    acls = (Acl(31, "auth", ""),)
    part = text("/n") + i32(-1) + acl_list(acls) + i32(2)
    parts = b"".join(i32(OpCode.CREATE) + b"\0" + i32(-1) + part for _ in range(10_000))
    err, _ = server.ask(client, OpCode.MULTI, parts + b"\xff\xff\xff\xff\x01\xff\xff\xff\xff")
    assert err == 0
    assert len(server.log[-1]) < 2 * EXPANDED_BYTES_MAX
    assert server.create(client, "/n", b"", acls) == 0, "each request begins anew"
    server.hold_to_log()


def test_names_beyond_the_basic_plane_outlive_a_restart() -> None:
    server = DataServer()
    client = server.connect()
    assert server.authenticate(client, "\U0001f600") == 0
    assert server.create(client, "/mine", b"", (Acl(31, "auth", ""),)) == 0
    acls = server.replayed().tree.acls_of(server.replayed().tree.nodes["/mine"])
    assert is_allowed(acls, Perm.ADMIN, client.identities)
    assert described(server.replayed()) == described(server.database)


@given(st.lists(st.builds(Acl, st.integers(-(2**31), 2**31 - 1), st.text(), st.text()), max_size=4).map(tuple))
def test_lists_are_read_as_they_were_written(acls: Acls) -> None:
    if any("\ud800" <= char <= "\udfff" for acl in acls for char in acl.scheme + acl.id):
        return
    out = bytearray()
    put_acls(out, acls)
    assert read_acls(Reader(bytes(out), len(out))) == acls
