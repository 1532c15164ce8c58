"""Reconfiguration: what Apache's servers answered to each wish, and the text that they made of it.

Observed at ensembles of two servers of 3.9 and of 3.8 with reconfigEnabled=true.
"""

import pytest

from zktw.quorum.ensemble import Ensemble
from zktw.quorum.reconfig import Change, Rules, Wish, designated_leader, reconfigured
from zktw.quorum.verifier import QuorumVerifier
from zktw.terms.codes import ErrorCode
from zktw.terms.errors import ZkError

ONE = "server.1=127.0.0.1:26833:26060:participant"
TWO = "server.2=127.0.0.1:18123:30888:participant"
BOTH = f"{ONE};127.0.0.1:27059,{TWO};127.0.0.1:16109"
NINE = "server.9=127.0.0.1:9001:9002:observer"
VERSION = 0x1_0000_0013
STATIC = Ensemble.from_text(f"{ONE}\n{TWO}\nversion=100000000")
CONNECTED = (1, 2)


def connected(verifier: QuorumVerifier) -> bool:
    """Servers 1 and 2 are there."""
    return verifier.contains_quorum(CONNECTED)


def text_of(wish: Wish, before: Ensemble = STATIC, *, voters_min: int = 1) -> str:
    """The text that the wish makes."""
    return reconfigured(before, before, wish, VERSION, Rules(voters_min=voters_min), connected).text()


def refusal(wish: Wish, before: Ensemble = STATIC, *, voters_min: int = 1) -> ErrorCode:
    """The code by which the wish is refused."""
    with pytest.raises(ZkError) as caught:
        text_of(wish, before, voters_min=voters_min)
    return caught.value.code


OBSERVED = [
    (Wish(), f"{ONE}\n{TWO}"),
    (Wish(leaving="77"), f"{ONE}\n{TWO}"),
    (Wish(leaving=" 77 , 78 "), f"{ONE}\n{TWO}"),
    (Wish("", "", ""), f"{ONE}\n{TWO}"),
    (Wish(leaving="1"), TWO),
    (Wish(joining="server.3=127.0.0.1:9001:9002:OBSERVER;9004"),
     f"{ONE}\n{TWO}\nserver.3=127.0.0.1:9001:9002:observer;0.0.0.0:9004"),
    (Wish(joining="server.3=127.0.0.1:9001:9002;9004,"),
     f"{ONE}\n{TWO}\nserver.3=127.0.0.1:9001:9002:participant;0.0.0.0:9004"),
    (Wish(joining="3=10.0.0.1:9001:9002:observer;9004"),
     f"{ONE}\n{TWO}\nserver.3=10.0.0.1:9001:9002:observer;0.0.0.0:9004"),
    (Wish(joining="foo.3=10.0.0.1:9001:9002:observer;localhost:9004"),
     f"{ONE}\n{TWO}\nserver.3=10.0.0.1:9001:9002:observer;localhost:9004"),
    (Wish(joining="server.3=127.0.0.1:9001:9002:observer;9004,server.3=127.0.0.1:9001:9003:observer;9004"),
     f"{ONE}\n{TWO}\nserver.3=127.0.0.1:9001:9003:observer;0.0.0.0:9004"),
    (Wish("server.3=127.0.0.1:9001:9002:observer;9004", "3"),
     f"{ONE}\n{TWO}\nserver.3=127.0.0.1:9001:9002:observer;0.0.0.0:9004"),
    (Wish(joining="server.1=127.0.0.1:26833:26060:participant;127.0.0.1:27059"), f"{ONE};127.0.0.1:27059\n{TWO}"),
    (Wish(joining="server.3=[fe80::1]:9171:9172:observer;[::1]:9071"),
     f"{ONE}\n{TWO}\nserver.3=[fe80:0:0:0:0:0:0:1]:9171:9172:observer;[0:0:0:0:0:0:0:1]:9071"),
    # A wildcard is no address that could clash.
    (Wish(joining="server.3=10.0.0.8:9071:9072:observer;9071"),
     f"{ONE}\n{TWO}\nserver.3=10.0.0.8:9071:9072:observer;0.0.0.0:9071"),
    (Wish(new_members=BOTH), BOTH.replace(",", "\n")),
    (Wish(new_members=BOTH.replace(",", "\n")), BOTH.replace(",", "\n")),
    (Wish(f"{NINE};9004", None, BOTH), BOTH.replace(",", "\n")),
    (Wish(new_members=f"{BOTH},version=5"), BOTH.replace(",", "\n")),
    (Wish(new_members=f"{ONE},{TWO}"), f"{ONE}\n{TWO}"),
    (Wish(new_members=f"{ONE};127.0.0.1:27059"), f"{ONE};127.0.0.1:27059"),
    (Wish(new_members=f"{BOTH},group.1=2:1,weight.1=2,weight.2=1"),
     BOTH.replace(",", "\n") + "\ngroup.1=1:2\nweight.1=2\nweight.2=1"),
]  # fmt: skip


@pytest.mark.parametrize(("wish", "text"), OBSERVED)
def test_the_text_is_what_apache_made_of_it(wish: Wish, text: str) -> None:
    assert text_of(wish) == f"{text}\nversion=100000013"


REFUSED = [
    (Wish(leaving="abc"), ErrorCode.MARSHALLING_ERROR),
    (Wish(leaving="server.77"), ErrorCode.MARSHALLING_ERROR),
    (Wish(version=5), ErrorCode.BAD_VERSION),
    (Wish(version=0), ErrorCode.BAD_VERSION),
    (Wish(version=-2), ErrorCode.BAD_VERSION),
    (Wish(joining=NINE), ErrorCode.BAD_ARGUMENTS),
    (Wish(joining="junk"), ErrorCode.BAD_ARGUMENTS),
    (Wish(joining="server.x=127.0.0.1:1:2;3"), ErrorCode.MARSHALLING_ERROR),
    (Wish(joining="foo=127.0.0.1:1:2;3"), ErrorCode.MARSHALLING_ERROR),
    (Wish(joining="server.9=127.0.0.1:1;3"), ErrorCode.BAD_ARGUMENTS),
    (Wish(joining="server.9=127.0.0.1:9001:9001:observer;9004"), ErrorCode.BAD_ARGUMENTS),
    (Wish(joining=f"{NINE};9004\nserver.10=127.0.0.1:9005:9006:observer;9007"), ErrorCode.BAD_ARGUMENTS),
    (Wish(joining="server.9=10.0.0.9:9171:9172:observer|10.0.0.10:9171:9172:observer;9071"), ErrorCode.BAD_ARGUMENTS),
    (Wish(joining="server.16=10.0.0.5:9071:9072:observer;9014,server.17=10.0.0.5:9071:9082:observer;9015"),
     ErrorCode.BAD_ARGUMENTS),
    (Wish(joining="server.16=10.0.0.5:9071:9072:observer;9014,server.17=10.0.0.5:9072:9082:observer;9015"),
     ErrorCode.BAD_ARGUMENTS),
    (Wish(joining="server.10=10.0.0.1:9011:9012;10.0.0.1:9014,server.11=10.0.0.1:9021:9022;10.0.0.1:9014"),
     ErrorCode.BAD_ARGUMENTS),
    (Wish(joining="server.10=10.0.0.1:9011:9012;10.0.0.1:9014,server.11=10.0.0.1:9014:9022;10.0.0.1:9015"),
     ErrorCode.BAD_ARGUMENTS),
    (Wish(leaving="1,2"), ErrorCode.BAD_ARGUMENTS),
    (Wish(new_members=f"{BOTH},foo=5"), ErrorCode.BAD_ARGUMENTS),
    (Wish(new_members=f"{BOTH},group.1=1"), ErrorCode.BAD_ARGUMENTS),
    (Wish(new_members=f"{BOTH},group.1=1:2,group.2=1"), ErrorCode.BAD_ARGUMENTS),
    (Wish(new_members=f"{BOTH},weight.1=2"), ErrorCode.BAD_ARGUMENTS),
    (Wish(new_members=f"{BOTH},server.x=10.0.0.1:9011:9012:observer;9014"), ErrorCode.MARSHALLING_ERROR),
    (Wish(joining="server.10=10.0.0.1:9011:9012;9014,server.11=10.0.0.1:9013:9015;9014"),
     ErrorCode.NEW_CONFIG_NO_QUORUM),
]  # fmt: skip


@pytest.mark.parametrize(("wish", "code"), REFUSED)
def test_it_is_refused_as_apache_refused_it(wish: Wish, code: ErrorCode) -> None:
    assert refusal(wish) == code


def test_a_single_voter_is_an_ensemble_only_where_it_may_be() -> None:
    assert refusal(Wish(leaving="1"), voters_min=2) == ErrorCode.BAD_ARGUMENTS
    assert text_of(Wish(leaving="1"), voters_min=1).startswith(TWO)


@pytest.mark.parametrize("wish", [Wish(), Wish(joining=f"{NINE};9004"), Wish(leaving="9")])
def test_with_groups_only_a_whole_configuration_will_do(wish: Wish) -> None:
    grouped = Ensemble.from_text(f"{ONE}\n{TWO}\ngroup.1=1:2\nversion=100000012")
    assert refusal(wish, grouped) == ErrorCode.BAD_ARGUMENTS
    assert text_of(Wish(new_members=BOTH), grouped) == BOTH.replace(",", "\n") + "\nversion=100000013"


def test_while_one_is_under_way_there_is_no_other() -> None:
    later = Ensemble(STATIC.members, STATIC.version + 1)
    with pytest.raises(ZkError) as caught:
        # Before the version is looked at.
        reconfigured(STATIC, later, Wish(version=7), VERSION, Rules(), connected)
    assert caught.value.code == ErrorCode.RECONFIG_IN_PROGRESS


def test_what_no_server_could_be_started_from_is_refused() -> None:
    """Apache takes both, and leaves files that its own servers and ours cannot use."""
    same = "server.3=127.0.0.1:26833:9002:observer;9004"
    assert refusal(Wish(joining=same)) == ErrorCode.BAD_ARGUMENTS
    assert refusal(Wish(new_members=f"{BOTH},{same}")) == ErrorCode.BAD_ARGUMENTS
    assert refusal(Wish(joining="server.3=127.0.0.1:9001:9002:observer;0")) == ErrorCode.BAD_ARGUMENTS


def test_the_leader_stays_where_it_votes_at_the_same_address() -> None:
    grown = Ensemble.from_text(f"{ONE};27059\n{TWO}\nversion=2")
    assert designated_leader(STATIC, grown, 1, VERSION, {1: VERSION, 2: VERSION}, [2]) == 1


@pytest.mark.parametrize(
    "new",
    [
        f"{TWO}\nserver.3=c:1:2\nversion=2",
        f"server.1=127.0.0.1:26833:26060:observer\n{TWO}\nserver.3=c:1:2\nversion=2",
        f"server.1=127.0.0.1:26834:26060\n{TWO}\nserver.3=c:1:2\nversion=2",
    ],
)
def test_else_who_has_logged_most_is_to_lead(new: str) -> None:
    acked = {1: VERSION + 2, 2: VERSION, 3: VERSION + 1}
    assert designated_leader(STATIC, Ensemble.from_text(new), 1, VERSION, acked, [2, 3]) == 3
    # Who is not connected cannot be asked, and who has not logged the change does not know of it.
    assert designated_leader(STATIC, Ensemble.from_text(new), 1, VERSION, acked, [2]) == 2
    assert designated_leader(STATIC, Ensemble.from_text(new), 1, VERSION, {**acked, 3: 1}, [2, 3]) == 2


def test_a_leader_that_only_moves_leads_on_where_nobody_else_can() -> None:
    moved = Ensemble.from_text(f"server.1=127.0.0.1:26834:26060\n{TWO}")
    assert designated_leader(STATIC, moved, 1, VERSION, {1: VERSION}, []) == 1
    assert designated_leader(STATIC, Ensemble.from_text(TWO), 1, VERSION, {1: VERSION}, []) == -1


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        (f"{ONE};1.2.3.4:5", "client"),
        ("server.1=127.0.0.1:26833:26060:observer", "role"),
        ("server.1=127.0.0.1:26834:26060", "quorum"),
        ("server.1=127.0.0.1:26833:26061", "election"),
        (ONE, ""),
    ],
)
def test_what_changes_for_a_member(line: str, changed: str) -> None:
    change = Change.of(STATIC, Ensemble.from_text(f"{line}\n{TWO}"), 1)
    assert [name for name in ("removed", "role", "quorum", "election", "client") if getattr(change, name)] == [
        name for name in [changed] if name
    ]


def test_who_comes_and_who_goes() -> None:
    alone = Ensemble.from_text(TWO)
    assert Change.of(STATIC, alone, 1).removed
    assert Change.of(alone, STATIC, 1) == Change(False, True, True, True, True)
    assert Change.of(alone, STATIC, 7) == Change(False, False, False, False, False)
