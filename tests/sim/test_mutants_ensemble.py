"""The checkers of replication can fail: each cure of a known bug is taken out, and the bug is found within some seeds.

The numbers are Apache's (ZOOKEEPER-n; wire document, h.2).
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from seeded import acknowledge_before_the_write, caught_as
from twisted.internet.defer import Deferred, succeed

from zktw.node.following import FollowingRole
from zktw.node.keeper import Keeper
from zktw.node.leading import LeadingRole
from zktw.pipeline.following import Following
from zktw.pipeline.handshakes import Handshakes
from zktw.pipeline.outlook import Outlook
from zktw.pipeline.primary import Primary
from zktw.sim.ensemble_faults import EnsembleFaults
from zktw.sim.ensemble_run import EnsembleOutcome, EnsembleShape, run_ensemble_seed
from zktw.sim.faults import Faults
from zktw.terms.codes import ErrorCode, OpCode, PacketType
from zktw.tree.database import Database
from zktw.tree.image import Image
from zktw.wire.effects import PersistEpoch, PersistTxns, Send
from zktw.wire.peers import QuorumPacket
from zktw.zab.broadcast import Broadcast
from zktw.zab.committedlog import CommittedLog, Entry
from zktw.zab.follower import Follower
from zktw.zab.leader import Leader
from zktw.zab.learner import Learner
from zktw.zab.synchroniser import Synchroniser
from zktw.zab.syncing import Plan

CALM = EnsembleFaults.none()
# Servers come and go, and learners have to be brought up to date by all means.
RESTARTS = replace(CALM, members=replace(Faults.none(), crash_every_ms=2500, stop_every_ms=4000), diverge_every_ms=3500)
# A finding is told after a few seeds as a rule; some faults are rare.
SEEDS = range(1, 241)


def shape(faults: EnsembleFaults, ring: int = 20) -> EnsembleShape:
    """A small ensemble with an observer, which takes snapshots often."""
    return EnsembleShape(3, 1, 3, ("snapCount=30", "snapshotSizeFactor=0"), ring, 8000, faults)


def caught(*words: str, faults: EnsembleFaults = RESTARTS, ring: int = 20) -> EnsembleOutcome:
    """The first finding in the seeds; it must be of an expected kind."""
    return caught_as(words, lambda seed: run_ensemble_seed(seed, shape(faults, ring)), SEEDS)


@pytest.mark.parametrize("ring", [3, 20])
def test_none_of_it_is_found_in_a_whole_server(ring: int) -> None:
    for seed in range(1, 6):
        outcome = run_ensemble_seed(seed, shape(RESTARTS, ring))
        assert not outcome.violation, outcome.violation


# -- synchronisation ---------------------------------------------------------------------------------------------------


def test_962_what_is_under_way_while_a_learner_joins_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    join = Broadcast.join

    def forgetful(self: Broadcast, connection: int, sid: int, *, observer: bool) -> list[Entry]:
        join(self, connection, sid, observer=observer)
        return []

    monkeypatch.setattr(Broadcast, "join", forgetful)
    caught("V2", "V3")


@pytest.mark.parametrize("ring", [3, 20])
def test_1154_what_the_leader_does_not_have_is_kept(monkeypatch: pytest.MonkeyPatch, ring: int) -> None:
    send = Synchroniser._send_plan

    def kind(self: Synchroniser, handler: Any, plan: Plan) -> Any:
        return send(self, handler, replace(plan, op=PacketType.DIFF) if plan.op == PacketType.TRUNC else plan)

    monkeypatch.setattr(Synchroniser, "_send_plan", kind)
    caught("V2", "PC", "D5", "no progress", ring=ring)


def test_1156_a_cut_that_does_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def _truncate(self: FollowingRole, zxid: int) -> None:
        self._then(succeed(None), lambda: self._truncated(zxid))  # type: ignore[arg-type]

    monkeypatch.setattr(FollowingRole, "_truncate", _truncate)
    caught("PC", "D5", "AG", "GPO")


def test_1324_newleader_is_said_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    newleader = Leader._newleader

    def _newleader(self: Leader, handler: Any, effects: Any) -> Any:
        said = newleader(self, handler, effects)
        return [*said, said[-1]]

    monkeypatch.setattr(Leader, "_newleader", _newleader)
    caught("V5")


def test_3104_newleader_overtakes_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    newleader = Leader._newleader

    def _newleader(self: Leader, handler: Any, effects: Any) -> Any:
        said = newleader(self, handler, effects)
        return [said[-1], *said[:-1]]

    monkeypatch.setattr(Leader, "_newleader", _newleader)
    caught("V5")


def test_2845_memory_does_not_follow_the_log_between_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = Keeper.settle
    monkeypatch.setattr(Keeper, "settle", lambda self, entries: settle(self, ()))
    caught("D5", "PC", "AG", "GPO")


def test_2355_a_server_says_that_it_holds_what_it_has_only_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    note = FollowingRole._note_history

    def _note_history(self: FollowingRole) -> None:
        note(self)
        if self._follower is not None and self._follower.last_zxid & 0xFFFFFFFF:
            self._means.history.last_zxid = self._follower.last_zxid + 1

    monkeypatch.setattr(FollowingRole, "_note_history", _note_history)
    caught("D3", "V4")


def test_a_leader_that_steps_down_forgets_what_it_has_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LeadingRole, "_note_history", lambda self: None)
    caught("D5", "PC", "PI", "GPO")


@pytest.mark.parametrize("what", ["nodes", "sessions"])
def test_2872_3642_half_a_tree_is_taken_for_a_whole_one(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    settle = Database.settle

    def half(self: Database, zxid: int) -> None:
        if what == "nodes":
            for path in [path for path in sorted(self.tree.nodes) if path.count("/") == 2 and path.startswith("/p")][
                :2
            ]:
                del self.tree.nodes[path]
        else:
            self.sessions.clear()
        settle(self, zxid)

    monkeypatch.setattr(Database, "settle", half)
    caught("D5", "C2", "logged", "read", ring=3)


def test_4925_what_is_applied_in_synchronisation_is_not_kept_for_learners(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Keeper.apply

    def forgetful(self: Keeper, entries: Iterable[Entry]) -> None:
        kept = self.committed
        self.committed = CommittedLog(kept.last)
        apply(self, entries)
        kept.last = kept.last_txn = self.committed.last
        self.committed = kept

    monkeypatch.setattr(Keeper, "apply", forgetful)
    caught("D5", "V2", "PC")


# -- what an acknowledgement promises ----------------------------------------------------------------------------------


@pytest.mark.parametrize("written", [False, True])
def test_3023_4785_newleader_is_acknowledged_before_the_history_is_durable(
    monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    def _persist_txns(self: FollowingRole, txns: tuple[Entry, ...]) -> None:
        for zxid, payload in txns:
            self._keeper.append(zxid, payload)
        if written:
            self._keeper.flush()
        self._keeper.apply(txns)
        self._then(succeed(None), lambda: self._txns_persisted(txns[-1][0]))  # type: ignore[arg-type]

    monkeypatch.setattr(FollowingRole, "_persist_txns", _persist_txns)
    caught("D3")


def test_3911_a_tree_is_acknowledged_before_it_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_ = Keeper.replace

    def hasty(self: Keeper, database: Database) -> Deferred[None]:
        replace_(self, database)
        self.reset(database)
        return succeed(None)

    monkeypatch.setattr(Keeper, "replace", hasty)
    caught("D3", ring=3)


def test_4643_the_epoch_is_written_before_what_it_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    persist = Learner._persist_txns

    def _persist_txns(self: Learner) -> Any:
        effects = persist(self)
        if isinstance(effects[0], PersistTxns):
            return [PersistEpoch("currentEpoch", self.epoch)]
        return effects

    monkeypatch.setattr(Learner, "_persist_txns", _persist_txns)
    caught("D3")


def test_4685_a_proposal_is_acknowledged_before_newleader(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Learner._step

    def _step(self: Learner, packet: QuorumPacket) -> list[Any]:
        effects = step(self, packet)
        waits = packet.type == PacketType.PROPOSAL and self.proposals and self.proposals[-1][0] == packet.zxid
        return [*effects, Send(0, QuorumPacket(PacketType.ACK, packet.zxid))] if waits else effects

    monkeypatch.setattr(Learner, "_step", _step)
    caught("V4", "D3")


def test_4394_what_was_proposed_before_uptodate_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The follower cannot go on then, and says so: it leaves, where nobody has failed."""
    begin = Follower.begin
    monkeypatch.setattr(Follower, "begin", lambda self, proposals, commits: begin(self, (), ()))
    for seed in SEEDS:
        outcome = run_ensemble_seed(seed, shape(CALM), with_story=True)
        if outcome.violation or any("gives up" in line for line in outcome.story):
            return
    pytest.fail(f"not caught in {len(SEEDS)} seeds")


def test_an_acknowledgement_is_sent_when_the_write_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    acknowledge_before_the_write(monkeypatch, Keeper)
    caught("D3", "D4", "logged", "AssertionError")


def test_a_majority_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def _agreed(self: Broadcast, verifier: Any) -> int:
        return max(self._acked.values(), default=0)

    monkeypatch.setattr(Broadcast, "_agreed", _agreed)
    caught("D4")


def test_4541_4712_a_role_is_over_before_its_log_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def settle(self: Keeper, entries: Iterable[Entry]) -> Deferred[None]:
        self.apply(entries)
        return succeed(None)

    monkeypatch.setattr(Keeper, "settle", settle)
    slow = replace(RESTARTS.members, slow_disk_every_ms=800, ambush_every_ms=1000)
    caught("D3", "D5", "GPO", "PC", "logged", faults=replace(RESTARTS, members=slow))


def test_2247_a_server_goes_on_when_its_log_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Keeper, "_on_failed", lambda self, failure: None)
    faults = replace(CALM, failing_sync_every_ms=1500)
    caught("2247", "D3", "D4", "no progress", faults=faults)


def test_1277_there_is_a_zxid_behind_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zktw.pipeline.primary.COUNTER_MAX", 63)
    monkeypatch.setattr(Primary, "_next_zxid", lambda self: self._last_zxid + 1 + (not (self._last_zxid + 1) & 63))
    caught("V2", "LPO", "IN", faults=CALM)


def test_1277_counters_end_and_epochs_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cure itself: an epoch of 63 transactions, and another one, and nothing is lost between."""
    monkeypatch.setattr("zktw.pipeline.primary.COUNTER_MAX", 63)
    outcome = run_ensemble_seed(1, shape(CALM))
    assert not outcome.violation, outcome.violation
    assert outcome.epochs > 3
    assert outcome.txns > 150


# -- sessions ----------------------------------------------------------------------------------------------------------


def test_1367_sessions_that_begin_in_synchronisation_are_not_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    replay = Database.replay

    def forgetful(self: Database, payload: bytes) -> None:
        before = dict(self.sessions)
        replay(self, payload)
        for session_id in self.sessions.keys() - before.keys():
            del self.sessions[session_id]

    monkeypatch.setattr(Database, "replay", forgetful)
    caught("C2", "session")


def test_2926_what_is_about_to_be_made_outlives_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outlook, "ephemerals_of", lambda self, session_id: ())
    caught("C2", "log", "read")


def test_3144_a_snapshot_lacks_the_session_of_its_zxid(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Database.image

    def hasty(self: Database) -> Image:
        last = max(self.sessions, default=None)
        timeout = self.sessions.pop(last) if last is not None else 0
        taken = image(self)
        if last is not None:
            self.sessions[last] = timeout
        return taken

    monkeypatch.setattr(Database, "image", hasty)
    caught("C2", "session", "log")


def test_3127_a_snapshot_is_named_before_all_of_its_zxid_has_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Database.image

    def later(self: Database) -> Image:
        taken = image(self)
        taken.zxid += 1
        return taken

    monkeypatch.setattr(Database, "image", later)
    caught("D5", "C2", "PC", "D3", "PI", "digest", "log", "session")


def test_a_session_is_not_held_to_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it asked of the server that it has left comes late, behind what it has asked since."""
    monkeypatch.setattr(Primary, "_refusal", lambda self, request, owner: ErrorCode.OK)
    members = replace(Faults.none(), slow_link_every_ms=400)
    caught("C2", "order", "log", faults=replace(CALM, members=members, client_moves_every_ms=150))


# -- what clients are told ---------------------------------------------------------------------------------------------


def test_who_has_seen_more_is_served_by_a_server_that_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the leader is asked about the session, its answer comes behind all that the client can have seen."""
    connect = Handshakes.connect

    def lenient(self: Handshakes, client: Any, asked: Any) -> str:
        return connect(self, client, replace(asked, last_zxid_seen=0))

    def alone(self: Following, client: Any, session_id: int, timeout_ms: int) -> None:
        self._service.handshakes.on_revalidated(client, True)

    monkeypatch.setattr(Handshakes, "connect", lenient)
    monkeypatch.setattr(Following, "_revalidate", alone)
    members = replace(Faults.none(), slow_link_every_ms=400)
    caught("C1", "session", faults=replace(CALM, members=members, client_moves_every_ms=150))


def test_sync_is_answered_by_the_follower_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    submit = Following.submit

    def hasty(self: Following, request: Any) -> None:
        if request.op == OpCode.SYNC:
            self._service.released(request)
        else:
            submit(self, request)

    monkeypatch.setattr(Following, "submit", hasty)
    caught("sync", faults=replace(CALM, members=replace(Faults.none(), slow_link_every_ms=1000)))


def test_3240_a_learner_that_leaves_leaves_its_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = FollowingRole.stop

    def quiet(self: FollowingRole) -> Deferred[None]:
        cnxn, self._cnxn = self._cnxn, None
        if cnxn is not None:
            cnxn.events = None
        return stop(self)

    monkeypatch.setattr(FollowingRole, "stop", quiet)
    caught("V5", faults=replace(CALM, members=replace(Faults.none(), pause_every_ms=2000)))
