"""The table of role changes: which state follows which event. A missing pair is a bug, and asserts."""

from enum import Enum

from zktw.terms.vote import PeerState


class PeerEvent(Enum):
    """What ends a role."""

    ELECTED_SELF = "elected self"
    ELECTED_OTHER = "elected another"
    ELECTED_AS_OBSERVER = "elected another, being an observer"
    LEADER_LOST = "leader lost"
    QUORUM_LOST = "quorum lost"
    RECONFIGURED = "reconfigured"


_NEXT = {
    (PeerState.LOOKING, PeerEvent.ELECTED_SELF): PeerState.LEADING,
    (PeerState.LOOKING, PeerEvent.ELECTED_OTHER): PeerState.FOLLOWING,
    (PeerState.LOOKING, PeerEvent.ELECTED_AS_OBSERVER): PeerState.OBSERVING,
    (PeerState.LOOKING, PeerEvent.RECONFIGURED): PeerState.LOOKING,
    (PeerState.FOLLOWING, PeerEvent.LEADER_LOST): PeerState.LOOKING,
    (PeerState.FOLLOWING, PeerEvent.RECONFIGURED): PeerState.LOOKING,
    (PeerState.OBSERVING, PeerEvent.LEADER_LOST): PeerState.LOOKING,
    (PeerState.OBSERVING, PeerEvent.RECONFIGURED): PeerState.LOOKING,
    (PeerState.LEADING, PeerEvent.QUORUM_LOST): PeerState.LOOKING,
    (PeerState.LEADING, PeerEvent.RECONFIGURED): PeerState.LOOKING,
}


def next_state(state: PeerState, event: PeerEvent) -> PeerState:
    """The state that follows; asserts on a pair the table does not have."""
    following = _NEXT.get((state, event))
    assert following is not None, f"no role change from {state.name} at {event.value}"
    return following


def elected_event(elected: PeerState) -> PeerEvent:
    """The event that an election's outcome is."""
    return {
        PeerState.LEADING: PeerEvent.ELECTED_SELF,
        PeerState.FOLLOWING: PeerEvent.ELECTED_OTHER,
        PeerState.OBSERVING: PeerEvent.ELECTED_AS_OBSERVER,
    }[elected]
