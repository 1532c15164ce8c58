"""Reconfigurer: a request to reconfigure becomes the new configuration, or a refusal (wire document, e.8)."""

from collections.abc import Callable
from typing import Protocol

from zktw.quorum.ensemble import Ensemble
from zktw.quorum.reconfig import Rules, Wish, reconfigured
from zktw.quorum.verifier import QuorumVerifier
from zktw.wire.jute import Reader

# The configuration's node has no version that counts: each reconfiguration says the same one.
CONFIG_NODE_VERSION = -1


class Members(Protocol):
    """The configurations that a leader works with."""

    committed: Ensemble
    last_seen: Ensemble


class Reconfigurer:
    """A leader's. has_quorum: whether a quorum by this rule, we among them, is connected and up to date.

    begin(ensemble) is told of a configuration whose transaction will be proposed next, in the same turn.
    """

    def __init__(
        self,
        members: Members,
        rules: Rules,
        has_quorum: Callable[[QuorumVerifier], bool],
        begin: Callable[[Ensemble], None],
    ) -> None:
        self._members = members
        self._rules = rules
        self._has_quorum = has_quorum
        self._begin = begin

    def work_out(self, wish: Wish, zxid: int) -> Ensemble:
        """The configuration that the transaction of this zxid would bring. Raises ZkError."""
        members = self._members
        return reconfigured(members.committed, members.last_seen, wish, zxid, self._rules, self._has_quorum)

    def begin(self, ensemble: Ensemble) -> bytes:
        """It is going to be proposed: what the configuration's node will hold."""
        self._begin(ensemble)
        return ensemble.text().encode("utf-8")


def read_wish(reader: Reader) -> Wish:
    """The body of a reconfig request. Raises WireError."""
    joining, leaving, new_members = reader.string(), reader.string(), reader.string()
    return Wish(joining, leaving, new_members, reader.i64())
