"""What a term of office starts from: the history a server holds and the patience it is configured with."""

from dataclasses import dataclass

# Epochs are signed 32-bit numbers on the wire.
EPOCH_MAX = 2**31 - 1
# No server is so many elections ahead of the others.
EPOCHS_AHEAD_MAX = 2**20


@dataclass(slots=True)
class History:
    """What is on this server's disk. The cores move it on as their writes become durable.

    last_zxid is -1 for an empty member that must be given a snapshot before it may count.
    """

    accepted_epoch: int = 0
    current_epoch: int = 0
    last_zxid: int = 0
    # The latest epoch that a member was heard to have accepted: not on our disk, but the next one must be above it.
    epoch_heard: int = 0
    # Our history could not be cut where a leader wanted it: the next one is asked for its whole tree.
    needs_tree: bool = False


@dataclass(frozen=True, slots=True)
class Timing:
    """tickTime and the two limits that are counted in it."""

    tick_ms: float
    init_limit: int
    sync_limit: int
    # How long an established leader, or a leader's quorum, may be silent, where that is not syncLimit; 0: it is.
    leader_silence_ms: float = 0

    @property
    def init_ms(self) -> float:
        """How long a phase before UPTODATE may last."""
        return self.tick_ms * self.init_limit

    @property
    def sync_ms(self) -> float:
        """How long an established peer may be silent."""
        return self.tick_ms * self.sync_limit

    @property
    def silence_ms(self) -> float:
        """How long a leader and its quorum go on without hearing of each other."""
        return self.leader_silence_ms or self.sync_ms


@dataclass(frozen=True, slots=True)
class SyncRules:
    """How a leader brings learners up to date: always by its tree; how many observers by their trees and by txns."""

    force_snapshot: bool = False
    snap_syncs_max: int = 10
    diff_syncs_max: int = 100
