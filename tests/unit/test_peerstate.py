"""Role changes: every pair of state and event, those that are a bug included."""

from itertools import product

import pytest

from zktw.quorum.peerstate import PeerEvent, elected_event, next_state
from zktw.terms.vote import PeerState

# Rows: the state; columns: the event. None is a pair that nothing may bring about.
TABLE: dict[PeerState, dict[PeerEvent, PeerState | None]] = {
    PeerState.LOOKING: {
        PeerEvent.ELECTED_SELF: PeerState.LEADING,
        PeerEvent.ELECTED_OTHER: PeerState.FOLLOWING,
        PeerEvent.ELECTED_AS_OBSERVER: PeerState.OBSERVING,
        PeerEvent.LEADER_LOST: None,
        PeerEvent.QUORUM_LOST: None,
        PeerEvent.RECONFIGURED: PeerState.LOOKING,
    },
    PeerState.FOLLOWING: {
        PeerEvent.ELECTED_SELF: None,
        PeerEvent.ELECTED_OTHER: None,
        PeerEvent.ELECTED_AS_OBSERVER: None,
        PeerEvent.LEADER_LOST: PeerState.LOOKING,
        PeerEvent.QUORUM_LOST: None,
        PeerEvent.RECONFIGURED: PeerState.LOOKING,
    },
    PeerState.LEADING: {
        PeerEvent.ELECTED_SELF: None,
        PeerEvent.ELECTED_OTHER: None,
        PeerEvent.ELECTED_AS_OBSERVER: None,
        PeerEvent.LEADER_LOST: None,
        PeerEvent.QUORUM_LOST: PeerState.LOOKING,
        PeerEvent.RECONFIGURED: PeerState.LOOKING,
    },
    PeerState.OBSERVING: {
        PeerEvent.ELECTED_SELF: None,
        PeerEvent.ELECTED_OTHER: None,
        PeerEvent.ELECTED_AS_OBSERVER: None,
        PeerEvent.LEADER_LOST: PeerState.LOOKING,
        PeerEvent.QUORUM_LOST: None,
        PeerEvent.RECONFIGURED: PeerState.LOOKING,
    },
}


@pytest.mark.parametrize(("state", "event"), list(product(PeerState, PeerEvent)), ids=lambda value: value.name)
def test_each_pair(state: PeerState, event: PeerEvent) -> None:
    following = TABLE[state][event]
    if following is None:
        with pytest.raises(AssertionError, match=f"no role change from {state.name} at {event.value}"):
            next_state(state, event)
    else:
        assert next_state(state, event) == following


@pytest.mark.parametrize("elected", [PeerState.FOLLOWING, PeerState.LEADING, PeerState.OBSERVING])
def test_an_election_leads_to_the_state_it_names(elected: PeerState) -> None:
    assert next_state(PeerState.LOOKING, elected_event(elected)) == elected


def test_no_election_ends_in_looking() -> None:
    with pytest.raises(KeyError):
        elected_event(PeerState.LOOKING)
