"""DataCheckers: invariants of the data service, held against a run from outside (wire document, h.1).

They read the wire with a tap and the disk as a power cut would leave it. The server's memory is looked at twice in a
life: when it has recovered, and when it has stopped.
"""

import zlib

from zktw.node.build import Node
from zktw.node.clock import Random
from zktw.node.dataparts import make_database
from zktw.sim.cnxn_checkers import Asked, CnxnCheckers
from zktw.sim.disk import SimDisk
from zktw.sim.history import Entry, History
from zktw.sim.pipe import Pipe
from zktw.sim.standalone import SID, StandaloneWorld
from zktw.sim.txn_checkers import TxnCheckers, records_of
from zktw.storage.datadir import DataDir
from zktw.storage.recovery import Recovered, Rules, recover
from zktw.terms.codes import OpCode
from zktw.terms.errors import StorageError

# An expiry is decided a little before it shows on the disk, and a stall shorter than this may cost its victims so much.
SILENCE_SLACK_S = 0.6


class _Session:
    """How long a session was silent, as far as the server's host can tell."""

    def __init__(self, timeout_ms: int, now_s: float) -> None:
        self.timeout_ms = timeout_ms
        self.closing = False
        self._last_s = now_s
        self._longest_s = 0.0

    def heard(self, now_s: float) -> None:
        """Something came."""
        self._longest_s = self.longest_s(now_s)
        self._last_s = now_s

    def longest_s(self, now_s: float) -> float:
        """The longest silence."""
        return max(self._longest_s, now_s - self._last_s)

    def begin_again(self, now_s: float) -> None:
        """The server has started: all have their whole time before them."""
        self._last_s, self._longest_s = now_s, 0.0


class DataCheckers(TxnCheckers):
    """All of them, fed by one world. The first violation ends the run, as StandaloneWorld.broken."""

    def __init__(self, world: StandaloneWorld) -> None:
        self.txns: list[Entry] = []
        self.restarts = 0
        self.clean_stops = 0
        # Of all that was sent and written, and when.
        self.fingerprint = 0
        self._world = world
        self._disk = world.servers[SID].disk
        self._history = History(self._disk, world.logs)
        super().__init__(self._history.model)
        self._cnxns: dict[int, CnxnCheckers] = {}
        self._sessions: dict[int, _Session] = {}
        world.network.tap = self._on_bytes
        world.network.arrivals = self._on_arrival
        world.on_recovered = self.check_recovered
        world.on_stopped = self.check_stopped

    def fail(self, reason: str) -> None:
        """An invariant does not hold."""
        if not self._world.broken:
            self._world.broken = reason
            self._world.tell(0, reason)

    # -- the wire ----------------------------------------------------------------------------------------------------

    def _on_bytes(self, pipe: Pipe, from_client: bool, data: bytes) -> None:
        cnxn = self._cnxns.get(pipe.number)
        if cnxn is None:
            cnxn = self._cnxns[pipe.number] = CnxnCheckers(self, pipe.number, pipe.dialler)
        self.fingerprint = zlib.crc32(b"%d %.9f %b" % (pipe.number, self._world.schedule.now, data), self.fingerprint)
        if from_client:
            cnxn.on_request_bytes(data)
        else:
            self._grow()
            cnxn.on_reply_bytes(data)

    def _on_arrival(self, pipe: Pipe, from_client: bool) -> None:
        cnxn = self._cnxns.get(pipe.number)
        # What comes late for a process that is gone is heard by nobody.
        heard = pipe.far is not None and pipe.far.connected and pipe.far.process.alive
        if from_client and heard and cnxn is not None:
            cnxn.arrived_s = self._world.schedule.now
            # A client that comes back speaks for its session before it is welcome.
            wanted = cnxn.asked.session_id if cnxn.asked is not None else 0
            session = self._sessions.get(cnxn.session_id or wanted)
            if session is not None:
                session.heard(cnxn.arrived_s)

    def on_asked(self, session_id: int, asked: Asked) -> None:
        """A session asks for something."""
        self._asked[session_id, asked.xid] = asked
        if asked.op == OpCode.CLOSE_SESSION and session_id in self._sessions:
            self._sessions[session_id].closing = True

    def on_welcome(self, cnxn: CnxnCheckers, session_id: int, timeout_ms: int) -> None:
        """A session that is given is durable; one that is refused has ended, or is about to."""
        now_s = self._world.schedule.now
        assert cnxn.asked is not None
        if timeout_ms:
            if session_id not in self.model.sessions:
                self.fail(f"session: 0x{session_id:x} is acknowledged and not durable, or has ended")
            session = self._sessions.setdefault(session_id, _Session(timeout_ms, cnxn.arrived_s))
            session.heard(cnxn.arrived_s)
            session.timeout_ms = timeout_ms
            return
        wanted = cnxn.asked.session_id
        known = self._sessions.get(wanted)
        if wanted in self.model.sessions and known is not None and not self._may_end(known, now_s):
            self.fail(f"session: 0x{wanted:x} is refused though it has not ended")

    def check_may_end(self, session_id: int, told: str) -> None:
        """See TxnCheckers."""
        session = self._sessions.get(session_id)
        if session is not None and not self._may_end(session, self._world.schedule.now):
            self.fail(f"session: {told}: 0x{session_id:x} ends, silent for less than its {session.timeout_ms} ms")

    def _may_end(self, session: _Session, now_s: float) -> bool:
        return session.closing or session.longest_s(now_s) >= session.timeout_ms / 1000 - SILENCE_SLACK_S

    @property
    def last_zxid(self) -> int:
        """See cnxn_checkers.Whole: what is on the platter."""
        return len(self.txns)

    def entry(self, zxid: int) -> Entry | None:
        """See cnxn_checkers.Whole."""
        return self.txns[zxid - 1] if 0 < zxid <= len(self.txns) else None

    def on_write_acknowledged(self, cnxn: CnxnCheckers, asked: Asked, zxid: int) -> None:
        """See cnxn_checkers.Whole."""

    def on_read_answered(self, cnxn: CnxnCheckers, asked: Asked, zxid: int) -> None:
        """See cnxn_checkers.Whole."""

    # -- transactions ------------------------------------------------------------------------------------------------

    def _grow(self) -> None:
        for header, txn in self._history.new_entries():
            self.check_txn((header, txn))
            wrong = self.model.apply(header, txn)
            if wrong:
                self.fail(f"log: {wrong}")
            self.txns.append((header, txn))

    # -- the disk ----------------------------------------------------------------------------------------------------

    def _recover(self, disk: SimDisk) -> Recovered | None:
        """What a server would start from with these files."""
        config = self._world.config()
        datadir = DataDir(disk, config.data_dir, config.data_log_dir)
        try:
            datadir.prepare(True)
            return recover(datadir, lambda: make_database(config), Rules(epochs=False))
        except StorageError as error:
            self.fail(f"disk: a server would refuse to start: {error}")
            return None

    def check_recovered(self, recovered: Recovered) -> None:
        """The server has started: it holds all that is durable, and what it holds is."""
        self.restarts += 1
        self._grow()
        now_s = self._world.schedule.now
        for session in self._sessions.values():
            session.begin_again(now_s)
        zxid = len(self.txns)
        if recovered.last_zxid != zxid:
            self.fail(f"durable: the server starts at 0x{recovered.last_zxid:x}, the disk holds 0x{zxid:x} for certain")
            return
        self.check_database(recovered.database, zxid)
        left = self._recover(self._disk.after_worst(Random(0)))
        if left is not None and left.last_zxid != zxid:
            self.fail(f"durable: started at 0x{zxid:x}; after a power cut it would start at 0x{left.last_zxid:x}")

    def check_stopped(self, node: Node) -> None:
        """The server has stopped as it was told to: replay of its files gives its memory, sync or no sync."""
        self.clean_stops += 1
        self._grow()
        if node.keeper is None:
            return
        memory = node.keeper.database
        if memory.last_zxid != len(self.txns):
            self.fail(f"D5: stopped at 0x{memory.last_zxid:x}, the disk holds 0x{len(self.txns):x} for certain")
            return
        self.check_database(memory, len(self.txns))
        recovered = self._recover(self._disk.after_worst(Random(0)))
        if recovered is None:
            return
        replayed = recovered.database
        if replayed.last_zxid != memory.last_zxid or replayed.sessions != memory.sessions:
            self.fail(f"D5: replay comes to 0x{replayed.last_zxid:x} and {replayed.sessions}")
        if replayed.tree.digest != memory.tree.digest:
            self.fail(f"digest: 0x{memory.tree.digest:x} in memory, 0x{replayed.tree.digest:x} by replay")
        if records_of(replayed) != records_of(memory):
            self.fail("D5: replay of snapshot and log gives another tree than memory held")

    # -- the end -----------------------------------------------------------------------------------------------------

    def check_end(self, living: set[int]) -> None:
        """All is quiet: no watch has failed to fire, and only the clients that are there have sessions."""
        self._grow()
        for pipe in self._world.network.pipes():
            cnxn = self._cnxns.get(pipe.number)
            if cnxn is not None and cnxn.session_id in living and pipe.near is not None and pipe.near.connected:
                cnxn.check_watches(len(self.txns))
        self.check_sessions(living)
        node = self._world.servers[SID].node
        assert node is not None
        assert node.keeper is not None
        self.check_database(node.keeper.database, len(self.txns))
