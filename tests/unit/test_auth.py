"""Schemes: what shows who somebody is, what fails, and what an id must look like."""

import pytest
from dataserver import DataServer, i32, text

from zktw.pipeline.auth import SUPER, Authentication, is_valid_digest, is_valid_ip, user_of
from zktw.terms.codes import ErrorCode, OpCode, Perm
from zktw.terms.limits import IDENTITIES_MAX
from zktw.wire.records import Acl, Identity

HERE = (Identity("ip", "127.0.0.1"),)
# Of super:test, as Apache's documentation has it.
SUPER_DIGEST = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="


def test_a_digest_is_that_of_apache() -> None:
    assert Authentication().digest_of(b"super:test") == SUPER_DIGEST
    assert Authentication().digest_of(b"nocolon").startswith("nocolon:")
    assert Authentication(digest_alg="sha256").digest_of(b"super:test") != SUPER_DIGEST


def test_a_digest_is_added_once() -> None:
    auth = Authentication()
    once = auth.authenticate("digest", b"a:b", HERE)
    assert once is not None
    assert len(once) == 2
    assert auth.authenticate("digest", b"a:b", once) == once


def test_super_by_its_digest_may_do_everything() -> None:
    auth = Authentication(super_digest=SUPER_DIGEST)
    mine = auth.authenticate("digest", b"super:test", HERE)
    assert mine is not None
    assert SUPER in mine
    assert auth.allows((Acl(0, "world", "anyone"),), Perm.ADMIN, mine)
    plain = Authentication().authenticate("digest", b"super:test", HERE)
    assert plain is not None
    assert SUPER not in plain


@pytest.mark.parametrize("scheme", ["world", "auth", "super", "sasl", "x509", "", "nosuch"])
def test_other_schemes_fail(scheme: str) -> None:
    assert Authentication().authenticate(scheme, b"a:b", HERE) is None


def test_without_digests_only_the_address_is_left() -> None:
    auth = Authentication(digest=False)
    assert auth.authenticate("digest", b"a:b", HERE) is None
    assert auth.authenticate("ip", b"anything", HERE) == HERE
    assert auth.fix((Acl(31, "digest", "a:b"),), HERE) is None


@pytest.mark.parametrize(("id_", "valid"), [("a:b", True), (":b", True), ("a:b:", True), ("a", False), (":", False)])
def test_ids_of_digests(id_: str, valid: bool) -> None:
    assert is_valid_digest(id_) == valid
    assert not is_valid_digest("a:b:c")


def test_ids_of_addresses() -> None:
    assert is_valid_ip("10.0.0.0/8")
    assert not is_valid_ip("10.0.0.0/x")


def test_who_one_is_called() -> None:
    assert [user_of(one) for one in (Identity("digest", "a:h"), SUPER, Identity("ip", "::1"))] == ["a", "", "::1"]


def test_a_failure_is_answered_and_ends_the_connection() -> None:
    server = DataServer()
    client = server.connect()
    assert server.ask(client, OpCode.AUTH, i32(0) + text("nosuch") + text("a:b")) == (ErrorCode.AUTH_FAILED, b"")
    assert client.closing


def test_identities_of_one_connection_are_bounded() -> None:
    server = DataServer()
    client = server.connect()
    results = [server.authenticate(client, str(number)) for number in range(IDENTITIES_MAX - 1)]
    assert set(results) == {0}
    assert server.authenticate(client, "one more") == ErrorCode.AUTH_FAILED
