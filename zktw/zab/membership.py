"""Membership: what a leader needs to know of the configuration in force, and of one that is under way."""

from collections.abc import Collection
from dataclasses import dataclass

from zktw.quorum.verifier import QuorumVerifier


@dataclass(frozen=True, slots=True)
class Membership:
    """members are all servers of the configuration in force. pending: who else must agree, since another is proposed.

    text is that which NEWLEADER tells; no learner may have a later version than ours.
    """

    verifier: QuorumVerifier
    members: tuple[int, ...]
    version: int
    text: bytes
    pending: QuorumVerifier | None = None

    def has_quorum(self, sids: Collection[int]) -> bool:
        """Whether these are enough, by both rules where there are two."""
        return self.verifier.contains_quorum(sids) and (self.pending is None or self.pending.contains_quorum(sids))
