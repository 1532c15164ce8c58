"""Story: a run as text, a line a moment: who voted for whom, when, and why it changed; who leads; what went wrong."""

from collections.abc import Iterable, Iterator

from zktw.node.chronicle import Connected, RoleChange, describe_vote
from zktw.sim.world import Moment
from zktw.terms.zxid import format_zxid
from zktw.wire.effects import (
    CloseLearner,
    ConfigSeen,
    Elected,
    EpochAcked,
    EpochAgreed,
    LeaderLost,
    LearnerJoined,
    LearnerSynced,
    PersistEpoch,
    PersistTree,
    PersistTxns,
    QuorumLost,
    RoundStarted,
    Serving,
    Synchronised,
    Truncate,
    VoteChanged,
)


def tell(trace: Iterable[Moment]) -> Iterator[str]:
    """The lines of a run; what is only traffic is left out."""
    for moment in trace:
        text = describe(moment.what)
        if text:
            who = f"server {moment.sid}" if moment.sid else "world   "
            yield f"{moment.at_ms:10.1f} ms  {who}  {text}"


def describe(what: object) -> str:
    """One happening in words; "" for traffic."""
    match what:
        case str():
            return what
        case RoleChange(state, term, reason):
            return f"is {state.name} (term {term})" + (f": {reason}" if reason else "")
        case RoundStarted(round_, vote):
            return f"votes in round {round_} for {describe_vote(vote)}"
        case VoteChanged(round_, vote, sender):
            return f"changes its vote in round {round_} to {describe_vote(vote)}, since {sender} has a better one"
        case ConfigSeen(_, anew):
            return "starts over with a newer configuration" if anew else "sees a later version of its configuration"
        case Elected(_, vote, round_, electors, joined):
            how = "joins" if joined else "elects"
            return f"{how} {vote.leader} in round {round_} by the votes of {', '.join(map(str, electors))}"
        case Connected(leader):
            return f"has connected to {leader}"
        case LearnerJoined(_, sid, observer):
            return f"hears {'observer' if observer else 'follower'} {sid}"
        case EpochAgreed(epoch):
            return f"agrees on epoch {epoch}"
        case EpochAcked(sid, epoch, zxid):
            return f"counts {sid}, which holds epoch {epoch} and zxid {format_zxid(zxid)}"
        case PersistEpoch(name, epoch):
            return f"writes {name} {epoch}"
        case PersistTree(zxid):
            return f"writes the snapshot of {format_zxid(zxid)}"
        case PersistTxns(txns):
            return f"writes what was committed up to {format_zxid(txns[-1][0])}"
        case Truncate(zxid):
            return f"cuts off all behind {format_zxid(zxid)}"
        case LearnerSynced(sid):
            return f"knows {sid} in sync"
        case Synchronised(mode, zxid):
            return f"is in sync by {mode} at {format_zxid(zxid)}"
        case Serving(epoch):
            return f"serves in epoch {epoch}"
        case CloseLearner(_, reason):
            return f"turns a learner away: {reason}"
        case LeaderLost(reason) | QuorumLost(reason):
            return f"gives up: {reason}"
    return ""
