"""Reconfiguration, the arithmetic: from the members as last seen, and what a client asks, to the members that would be.

What Apache's servers refuse is refused by the same code (wire document, e.8); beyond that, two ports on one address
are refused wherever a server could not be started from the file that such a configuration leaves behind.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from zktw.quorum.ensemble import Address, Ensemble, LearnerType, QuorumServer, parse_sid
from zktw.quorum.verifier import QuorumVerifier
from zktw.terms.codes import ErrorCode
from zktw.terms.errors import ZkError

ANY_CONFIG = -1
_WILDCARDS = ("0.0.0.0", "::", "0:0:0:0:0:0:0:0")
_LOOPBACK = ("localhost", "::1", "0:0:0:0:0:0:0:1")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks for. new_members replaces all; else leaving go, then joining come.

    version is that of the configuration it thinks of, or -1.
    """

    joining: str | None = None
    leaving: str | None = None
    new_members: str | None = None
    version: int = ANY_CONFIG


@dataclass(frozen=True, slots=True)
class Rules:
    """What the server's own settings say about any configuration."""

    multi_address: bool = False
    # standaloneEnabled=false lets one voter be an ensemble.
    voters_min: int = 2


def reconfigured(
    committed: Ensemble,
    last_seen: Ensemble,
    wish: Wish,
    version: int,
    rules: Rules,
    has_quorum: Callable[[QuorumVerifier], bool],
) -> Ensemble:
    """The configuration that the wish makes of last_seen, under its version, which is the zxid of its transaction.

    has_quorum tells whether a quorum by this rule is connected and up to date. Raises ZkError.
    """
    if committed.version != last_seen.version:
        raise ZkError(ErrorCode.RECONFIG_IN_PROGRESS)
    if wish.version not in (ANY_CONFIG, last_seen.version):
        raise ZkError(ErrorCode.BAD_VERSION)
    if wish.new_members:
        members = _whole(wish.new_members, version, rules)
    else:
        members = _changed(last_seen, wish, version, rules)
    try:
        members.check_clashes()
    except ValueError:
        raise ZkError(ErrorCode.BAD_ARGUMENTS) from None
    if len(members.voters) < rules.voters_min:
        raise ZkError(ErrorCode.BAD_ARGUMENTS)
    if not has_quorum(members.verifier()):
        raise ZkError(ErrorCode.NEW_CONFIG_NO_QUORUM)
    return members


def _whole(text: str, version: int, rules: Rules) -> Ensemble:
    keys: dict[str, str] = {}
    for line in text.replace(",", "\n").splitlines():
        if not line.strip():
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise ZkError(ErrorCode.BAD_ARGUMENTS)
        keys[key.strip()] = value.strip()
    # Whoever sends what it has read sends the old version too.
    keys.pop("version", None)
    for key in keys:
        kind, _, number = key.partition(".")
        if kind in ("server", "group", "weight"):
            _sid(number)
    try:
        return Ensemble.from_keys(keys, version=version, multi_address=rules.multi_address)
    except ValueError:
        raise ZkError(ErrorCode.BAD_ARGUMENTS) from None


def _changed(last_seen: Ensemble, wish: Wish, version: int, rules: Rules) -> Ensemble:
    if last_seen.groups or last_seen.weights:
        # Nobody could say which group a newcomer belongs to.
        raise ZkError(ErrorCode.BAD_ARGUMENTS)
    members = dict(last_seen.members)
    for text in _parts(wish.leaving):
        members.pop(_sid(text), None)
    for text in _parts(wish.joining):
        joiner = _joiner(text, rules)
        for other in members.values():
            if other.sid != joiner.sid and _special_aside(joiner) & _special_aside(other):
                raise ZkError(ErrorCode.BAD_ARGUMENTS)
        members[joiner.sid] = joiner
    return Ensemble(dict(sorted(members.items())), version)


def _joiner(text: str, rules: Rules) -> QuorumServer:
    key, equals, value = text.partition("=")
    if not equals or "=" in value:
        raise ZkError(ErrorCode.BAD_ARGUMENTS)
    sid = _sid(key.strip().rpartition(".")[2])
    try:
        joiner = QuorumServer.parse(sid, value.strip(), multi_address=rules.multi_address)
    except ValueError:
        raise ZkError(ErrorCode.BAD_ARGUMENTS) from None
    if joiner.client_address is None:
        raise ZkError(ErrorCode.BAD_ARGUMENTS)
    return joiner


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _sid(text: str) -> int:
    """What is no number is a field that cannot be read, to Apache's servers."""
    try:
        return parse_sid(text)
    except ValueError:
        raise ZkError(ErrorCode.MARSHALLING_ERROR) from None


def _special_aside(member: QuorumServer) -> set[Address]:
    """Where it listens, as far as the address tells one host from another."""
    client = () if member.client_address is None else (member.client_address,)
    return {
        address
        for address in (*member.quorum_addresses, *member.election_addresses, *client)
        if address.host not in (*_WILDCARDS, *_LOOPBACK) and not address.host.startswith("127.")
    }


def designated_leader(
    old: Ensemble, new: Ensemble, my_sid: int, version: int, acked: Mapping[int, int], electable: Collection[int]
) -> int:
    """Who is to lead once `new` is in force: we, if that needs no new connections; else who has logged most.

    acked says up to which zxid each server has logged; electable are the followers that serve.
    """
    was, is_ = old.members.get(my_sid), new.members.get(my_sid)
    stays = was is not None and is_ is not None and is_.role is LearnerType.PARTICIPANT
    if stays and was is not None and is_ is not None and was.quorum_addresses == is_.quorum_addresses:
        return my_sid
    heirs = [sid for sid in new.voters if sid != my_sid and sid in electable and acked.get(sid, 0) >= version]
    if not heirs:
        return my_sid if stays else -1
    return max(heirs, key=lambda sid: (acked[sid], -sid))


@dataclass(frozen=True, slots=True)
class Change:
    """What another configuration means for one server: its own."""

    removed: bool
    role: bool
    quorum: bool
    election: bool
    client: bool

    @classmethod
    def of(cls, old: Ensemble, new: Ensemble, my_sid: int) -> "Change":
        """Compare our own lines. Who is a member of neither sees no change."""
        was, is_ = old.members.get(my_sid), new.members.get(my_sid)
        if was is None or is_ is None:
            return cls(was is not None, was is not is_, is_ is not None, is_ is not None, is_ is not None)
        return cls(
            False,
            was.role is not is_.role,
            sorted(was.quorum_addresses) != sorted(is_.quorum_addresses),
            sorted(was.election_addresses) != sorted(is_.election_addresses),
            is_.client_address is not None and was.client_address != is_.client_address,
        )
