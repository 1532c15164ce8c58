"""QuorumVerifier: which sets of servers are a quorum (wire document, d.6)."""

from collections.abc import Collection, Mapping
from typing import Protocol


class QuorumVerifier(Protocol):
    """Who votes, with what weight, and how many are enough."""

    voters: tuple[int, ...]

    def weight(self, sid: int) -> int:
        """The weight of a server's vote; one without weight can never be elected."""

    def contains_quorum(self, sids: Collection[int]) -> bool:
        """Whether these servers, those that do not vote left aside, are enough to decide."""


class QuorumMaj:
    """More than half of the voters."""

    def __init__(self, voters: tuple[int, ...]) -> None:
        self.voters = voters

    def weight(self, sid: int) -> int:
        """Each voter weighs the same."""
        return 1

    def contains_quorum(self, sids: Collection[int]) -> bool:
        """A strict majority of the voters."""
        return sum(voter in sids for voter in self.voters) > len(self.voters) // 2


class QuorumHierarchical:
    """More than half of the weight in more than half of the groups; groups without weight do not count."""

    def __init__(
        self, voters: tuple[int, ...], groups: Mapping[int, tuple[int, ...]], weights: Mapping[int, int]
    ) -> None:
        self.voters = voters
        self._weights = {sid: weights.get(sid, 1) for sid in voters}
        members = {group: tuple(sid for sid in sids if sid in self._weights) for group, sids in groups.items()}
        self._groups = [sids for sids in members.values() if sum(self._weights[sid] for sid in sids) > 0]

    def weight(self, sid: int) -> int:
        """As configured, 1 where it is not; 0 for strangers."""
        return self._weights.get(sid, 0)

    def contains_quorum(self, sids: Collection[int]) -> bool:
        """Count the groups won."""
        won = 0
        for members in self._groups:
            total = sum(self._weights[sid] for sid in members)
            acked = sum(self._weights[sid] for sid in members if sid in sids)
            won += acked > total // 2
        return won > len(self._groups) // 2
