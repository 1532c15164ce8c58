"""Broadcast: a leader's proposals, their acknowledgements, and what they commit (wire document, e.6).

Told in runs: what comes in one turn is written, acknowledged and committed together, each proposal encoded once.
"""

from collections import deque
from typing import Protocol

from zktw.quorum.verifier import QuorumVerifier
from zktw.terms.codes import PacketType
from zktw.terms.errors import ProtocolError
from zktw.terms.zxid import counter_of, format_zxid
from zktw.wire.peers import encode_bare, encode_bare_run, encode_proposal
from zktw.zab.committedlog import CommittedLog, Entry


class Outlet(Protocol):
    """What a leader works with: its own log, its own tree, its learners' connections."""

    def persist(self, zxid: int, payload: bytes) -> None:
        """Let our own log hold this; Broadcast.on_persisted says when it does."""

    def commit(self, zxid: int) -> None:
        """All that was proposed up to zxid is committed: let it happen. Learners hear of it afterwards."""

    def write(self, connection: int, data: bytes) -> None:
        """Let a learner be told this."""


class Broadcast:
    """One term's proposals. What learners are to be told gathers until flush()."""

    def __init__(
        self,
        my_sid: int,
        verifier: QuorumVerifier,
        committed: CommittedLog,
        outlet: Outlet,
    ) -> None:
        # The last zxid that was given.
        self.last_proposed = committed.last
        self.outstanding: deque[Entry] = deque()
        # Learners by connection: those that get proposals and commits, and those that get both as one.
        self.followers: dict[int, int] = {}
        self.observers: dict[int, int] = {}
        self._my_sid = my_sid
        self._verifier = verifier
        self._committed = committed
        self._outlet = outlet
        # Up to where each server has logged, as it says.
        self._acked: dict[int, int] = {}
        # Whether any of them has said so since that was looked at.
        self._stirred = False
        # A reconfiguration under way: it, and all behind it, needs a quorum of the new servers as well.
        self.pending: tuple[int, QuorumVerifier] | None = None
        # Kinds of commit packets that are not plain COMMITs, by zxid: the two packets of a reconfiguration.
        self.activations: dict[int, tuple[bytes, bytes]] = {}
        # Answers that have a place in the order: up to which zxid all is to be committed before, and whose they are.
        self._answers: deque[tuple[int, int, bytes]] = deque()
        self._to_followers: list[bytes] = []
        self._to_observers: list[bytes] = []

    def begin_epoch(self, zxid: int) -> None:
        """A quorum holds all that was before: what follows is numbered from here."""
        self.last_proposed = zxid
        self._committed.begin_epoch(zxid)

    def answer(self, connection: int, packet: bytes) -> None:
        """Tell a learner this once all that was proposed so far is committed, and of nothing later before that."""
        if self.outstanding:
            self._answers.append((self.last_proposed, connection, packet))
        else:
            self._write()
            self._outlet.write(connection, packet)

    def propose(self, zxid: int, payload: bytes) -> None:
        """The next transaction takes its place."""
        self.last_proposed = zxid
        self.outstanding.append((zxid, payload))
        if self.followers:
            self._to_followers.append(encode_proposal(PacketType.PROPOSAL, zxid, payload))
        self._outlet.persist(zxid, payload)

    # -- learners ----------------------------------------------------------------------------------------------------

    def join(self, connection: int, sid: int, *, observer: bool) -> list[Entry]:
        """From now on it gets all that happens. What it must be sent first: what is proposed and not committed."""
        # What waits is for those who were there when it happened.
        self.flush()
        if observer:
            self.observers[connection] = sid
            return []
        self.followers[connection] = sid
        # It may have had to cut off what it once had acknowledged.
        self._acked.pop(sid, None)
        return list(self.outstanding)

    def leave(self, connection: int) -> None:
        """It gets nothing any more, and its word does not count for what is not committed."""
        sid = self.followers.pop(connection, None)
        if sid is not None:
            self._acked.pop(sid, None)
        self.observers.pop(connection, None)
        if self._answers:
            self._answers = deque(answer for answer in self._answers if answer[1] != connection)

    def acked_by(self, sid: int) -> int:
        """Up to where a server has logged, since it joined; 0 where it has said nothing yet."""
        return self._acked.get(sid, 0)

    # -- acknowledgements --------------------------------------------------------------------------------------------

    def on_persisted(self, zxid: int) -> None:
        """Our own log is durable so far."""
        self._acked[self._my_sid] = zxid
        self._stirred = True

    def on_ack(self, sid: int, zxid: int) -> None:
        """A follower's log is durable so far: acknowledgements come in order, so one stands for all before it.

        What that commits is found out at flush(), once for all that came together.
        """
        if not counter_of(zxid):
            return  # of NEWLEADER, or of UPTODATE
        if zxid > self.last_proposed:
            raise ProtocolError(
                f"acknowledges {format_zxid(zxid)}, and the last proposal is {format_zxid(self.last_proposed)}"
            )
        if zxid > self._acked.get(sid, 0):
            self._acked[sid] = zxid
            self._stirred = True

    def _advance(self) -> None:
        self._stirred = False
        outstanding = self.outstanding
        if not outstanding:
            return
        frontier = self._frontier()
        if frontier < outstanding[0][0]:
            return
        run = []
        while outstanding and outstanding[0][0] <= frontier:
            run.append(outstanding.popleft())
        committed = self._committed
        for zxid, payload in run:
            committed.append(zxid, payload)
        self._outlet.commit(committed.last)
        while self._answers and self._answers[0][0] <= committed.last:
            zxid, connection, packet = self._answers.popleft()
            told = [entry for entry in run if entry[0] <= zxid]
            self._tell(told)
            del run[: len(told)]
            self._write()
            self._outlet.write(connection, packet)
        if run:
            self._tell(run)

    def _tell(self, run: list[Entry]) -> None:
        activations = self.activations
        if self.followers:
            if activations and any(zxid in activations for zxid, _ in run):
                for zxid, _ in run:
                    told = activations.get(zxid)
                    self._to_followers.append(told[0] if told else encode_bare(PacketType.COMMIT, zxid))
            else:
                self._to_followers.append(encode_bare_run(PacketType.COMMIT, [zxid for zxid, _ in run]))
        if self.observers:
            for zxid, payload in run:
                told = activations.get(zxid) if activations else None
                self._to_observers.append(told[1] if told else encode_proposal(PacketType.INFORM, zxid, payload))
        for zxid, _ in run if activations else ():
            activations.pop(zxid, None)

    def _frontier(self) -> int:
        """The greatest zxid up to which quorums have logged."""
        frontier = self._agreed(self._verifier)
        if self.pending is not None and frontier >= self.pending[0]:
            since, verifier = self.pending
            frontier = max(since - 1, min(frontier, self._agreed(verifier)))
        return frontier

    def _agreed(self, verifier: QuorumVerifier) -> int:
        acked = self._acked
        for zxid in sorted(acked.values(), reverse=True):
            if verifier.contains_quorum([sid for sid, reached in acked.items() if reached >= zxid]):
                return zxid
        return 0

    def activate(self, verifier: QuorumVerifier) -> None:
        """A reconfiguration has been committed. What waited for the old rule may be agreed on by the new one."""
        self._verifier = verifier
        self.pending = None
        self._stirred = True

    # -- what goes out -----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Commit what can be, and tell learners what has gathered for them."""
        if self._stirred:
            self._advance()
        self._write()

    def _write(self) -> None:
        for gathered, learners in ((self._to_followers, self.followers), (self._to_observers, self.observers)):
            if gathered:
                data = b"".join(gathered)
                gathered.clear()
                for connection in learners:
                    self._outlet.write(connection, data)
