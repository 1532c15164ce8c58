"""The closed set of effects: all that a core can ask of its shell.

A core answers each call with a list of these, in the order in which they are to be carried out. Those of the second
half ask for nothing: they tell what the core has found, for the log, the chronicle and the simulator's checkers.
"""

from dataclasses import dataclass
from typing import Literal

from zktw.terms.vote import Notification, PeerState, Vote
from zktw.wire.peers import QuorumPacket

EpochName = Literal["acceptedEpoch", "currentEpoch"]


@dataclass(frozen=True, slots=True)
class SendVote:
    """Put this notification into the one-message queue of server sid; a newer one takes its place."""

    sid: int
    notification: Notification


@dataclass(frozen=True, slots=True)
class Elected:
    """The election is over for this server. electors are those whose equal votes decided, self included.

    joined says that they had that leader already, and that it has said so itself.
    """

    state: PeerState
    vote: Vote
    round: int
    electors: tuple[int, ...]
    joined: bool = False


@dataclass(frozen=True, slots=True)
class ConfigSeen:
    """A peer's vote carried a newer configuration; where its members are others, the election has begun anew."""

    config_text: str
    anew: bool = True


@dataclass(frozen=True, slots=True)
class Send:
    """Write the packet to a learner's connection (a leader's core) or to the leader (a learner's, connection 0)."""

    connection: int
    packet: QuorumPacket


@dataclass(frozen=True, slots=True)
class SendBytes:
    """Write packets that are encoded already to a learner's connection."""

    connection: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SendTree:
    """Write our tree as it is now to a learner's connection, behind the SNAP packet; all that follows goes behind."""

    connection: int


@dataclass(frozen=True, slots=True)
class ReadLog:
    """Read a part of our log behind this zxid for a learner, then call on_log_read. first: it begins with this part."""

    connection: int
    zxid: int
    first: bool


@dataclass(frozen=True, slots=True)
class CloseLearner:
    """End the connection of one learner."""

    connection: int
    reason: str


@dataclass(frozen=True, slots=True)
class PersistEpoch:
    """Make the epoch durable, then call on_epoch_persisted with the same two."""

    name: EpochName
    epoch: int


@dataclass(frozen=True, slots=True)
class ReadTree:
    """A tree follows the SNAP packet on the stream: read it to its end, then call on_tree."""

    zxid: int


@dataclass(frozen=True, slots=True)
class PersistTree:
    """Let the tree that was read, durable as the snapshot of this zxid, be ours, then call on_tree_persisted."""

    zxid: int


@dataclass(frozen=True, slots=True)
class Truncate:
    """Forget all behind this zxid, on disk and in memory, then call on_truncated."""

    zxid: int


@dataclass(frozen=True, slots=True)
class PersistTxns:
    """Log and apply these committed (zxid, payload), in order; once they are durable call on_txns_persisted."""

    txns: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class LeaderLost:
    """A learner's role is over."""

    reason: str


@dataclass(frozen=True, slots=True)
class QuorumLost:
    """A leader's role is over."""

    reason: str


@dataclass(frozen=True, slots=True)
class RoundStarted:
    """A voting round began, or was joined, with this vote."""

    round: int
    vote: Vote


@dataclass(frozen=True, slots=True)
class VoteChanged:
    """The vote of sender was better than ours."""

    round: int
    vote: Vote
    sender: int


@dataclass(frozen=True, slots=True)
class LearnerJoined:
    """A leader knows who a connection is."""

    connection: int
    sid: int
    observer: bool


@dataclass(frozen=True, slots=True)
class EpochAgreed:
    """The new epoch is fixed: by a quorum (at the leader), or by the leader's word (at a learner)."""

    epoch: int


@dataclass(frozen=True, slots=True)
class EpochAcked:
    """A leader counts this voter towards the quorum of the new epoch; it holds no more than the leader does."""

    sid: int
    current_epoch: int
    last_zxid: int


@dataclass(frozen=True, slots=True)
class LearnerSynced:
    """A leader was told that this learner holds its history, durably."""

    sid: int


@dataclass(frozen=True, slots=True)
class Synchronised:
    """This learner holds the leader's history, durably, and has said so. mode is DIFF, TRUNC or SNAP."""

    mode: str
    zxid: int


@dataclass(frozen=True, slots=True)
class Serving:
    """The role is established: a quorum holds the leader's history (leader), UPTODATE has come (learner)."""

    epoch: int


ElectionEffect = SendVote | Elected | ConfigSeen | RoundStarted | VoteChanged
ZabEffect = (
    Send
    | SendBytes
    | SendTree
    | ReadLog
    | CloseLearner
    | PersistEpoch
    | ReadTree
    | PersistTree
    | Truncate
    | PersistTxns
    | LeaderLost
    | QuorumLost
    | LearnerJoined
    | EpochAgreed
    | EpochAcked
    | LearnerSynced
    | Synchronised
    | Serving
)
Effect = ElectionEffect | ZabEffect
