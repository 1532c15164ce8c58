"""Synchroniser: a leader brings one learner after the other to its history (wire document, e.5)."""

from typing import Protocol

from zktw.terms.codes import PacketType
from zktw.terms.errors import ProtocolError
from zktw.wire.effects import ReadLog, Send, SendBytes, SendTree, ZabEffect
from zktw.wire.peers import QuorumPacket, encode_bare, encode_proposal
from zktw.zab.committedlog import CommittedLog, Entry
from zktw.zab.learnerhandler import LearnerHandler, LearnerPhase
from zktw.zab.office import SyncRules
from zktw.zab.syncing import Plan, Tail, plan_from_log, plan_from_memory


class Joining(Protocol):
    """What a learner joins once it has been sent what was before."""

    def join(self, connection: int, sid: int, *, observer: bool) -> list[Entry]:
        """From now on it gets all that happens. What it must be sent first: what is proposed and not committed."""


class Synchroniser:
    """Memory first, then the log, then the whole tree. Choosing, sending and joining the broadcast are one step.

    So nothing is committed between the two that a learner would miss (bug 962).
    """

    def __init__(self, committed: CommittedLog, broadcast: Joining, rules: SyncRules) -> None:
        self._committed = committed
        self._broadcast = broadcast
        self._rules = rules
        # Whom the log has failed when something was told already: they come again, and are given the tree.
        self._failed: set[int] = set()

    def begin(self, handler: LearnerHandler, learners: list[LearnerHandler]) -> list[ZabEffect]:
        """All that a learner lacks; while its phase is READING_LOG there is more to come. ProtocolError: not now."""
        committed, held = self._committed, handler.last_zxid
        plan: Plan | None = Plan(PacketType.SNAP, committed.last, [])
        if held != -1 and not self._rules.force_snapshot and handler.sid not in self._failed:
            plan = plan_from_memory(committed, held)
        if handler.observer:
            self._check_room(plan is not None and plan.op == PacketType.SNAP, learners)
        self._failed.discard(handler.sid)
        if plan is None:
            handler.phase = LearnerPhase.READING_LOG
            handler.sync_op = PacketType.DIFF
            return [ReadLog(handler.connection, held, True)]
        return self._send_plan(handler, plan) + self._join(handler)

    def _check_room(self, tree: bool, learners: list[LearnerHandler]) -> None:
        """Observers may be many, and nobody waits for them: only so many are brought up to date at a time."""
        under_way = [
            (other.sync_op == PacketType.SNAP)
            for other in learners
            if other.observer and other.phase in (LearnerPhase.READING_LOG, LearnerPhase.SYNCING)
        ]
        limit = self._rules.snap_syncs_max if tree else self._rules.diff_syncs_max
        if under_way.count(tree) >= limit:
            raise ProtocolError(f"{limit} observers are being brought up to date already")

    def on_log_read(self, handler: LearnerHandler, tail: Tail | None) -> list[ZabEffect]:
        """The next part of the log for a learner that lacks it."""
        if handler.phase != LearnerPhase.READING_LOG:
            return []
        committed = self._committed
        begins = handler.sent_zxid < 0
        if tail is None:
            return self._give_tree(handler, "our log does not reach back so far")
        entries = [entry for entry in tail.entries if entry[0] <= committed.last_txn]
        if not entries and max(handler.sent_zxid, tail.previous) < committed.first:
            return self._give_tree(handler, "our log ends before what is in memory begins")
        effects: list[ZabEffect]
        if begins:
            plan = plan_from_log(tail, handler.last_zxid, committed.last)
            if plan is None:
                return self._give_tree(handler, "")
            effects = self._send_plan(handler, Plan(plan.op, plan.zxid, entries))
        else:
            effects = self._send_txns(handler, entries)
        sent = handler.sent_zxid = entries[-1][0] if entries else max(handler.sent_zxid, tail.previous)
        if sent < committed.first:
            return [*effects, ReadLog(handler.connection, sent, False)]
        effects += self._send_txns(handler, [entry for entry in committed if entry[0] > sent])
        return effects + self._join(handler)

    def _give_tree(self, handler: LearnerHandler, why: str) -> list[ZabEffect]:
        if handler.sent_zxid >= 0:
            # The first packet cannot be taken back: let it come again, but not to the same part of the log.
            if handler.sid >= 0:
                self._failed.add(handler.sid)
            raise ProtocolError(f"it cannot be brought up to date: {why}")
        plan = Plan(PacketType.SNAP, self._committed.last, [])
        return self._send_plan(handler, plan) + self._join(handler)

    def _send_plan(self, handler: LearnerHandler, plan: Plan) -> list[ZabEffect]:
        handler.sync_op = plan.op
        effects: list[ZabEffect] = [Send(handler.connection, QuorumPacket(plan.op, plan.zxid))]
        if plan.op == PacketType.SNAP:
            effects.append(SendTree(handler.connection))
        return effects + self._send_txns(handler, plan.txns)

    def _send_txns(self, handler: LearnerHandler, txns: list[Entry]) -> list[ZabEffect]:
        """Each proposed and committed at once, to observers too."""
        if not txns:
            return []
        data = b"".join(
            [
                encode_proposal(PacketType.PROPOSAL, zxid, payload) + encode_bare(PacketType.COMMIT, zxid)
                for zxid, payload in txns
            ]
        )
        return [SendBytes(handler.connection, data)]

    def _join(self, handler: LearnerHandler) -> list[ZabEffect]:
        handler.phase = LearnerPhase.SYNCING
        outstanding = self._broadcast.join(handler.connection, handler.sid, observer=handler.observer)
        if not outstanding:
            return []
        data = b"".join([encode_proposal(PacketType.PROPOSAL, zxid, payload) for zxid, payload in outstanding])
        return [SendBytes(handler.connection, data)]
