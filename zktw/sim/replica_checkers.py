"""ReplicaCheckers: what clients of an ensemble are told by any of its servers, held against the one order of writes.

A server may be behind; then its answers are those of an older tree, which is checked as exactly. Only sync and writes
tell of the present.
"""

import zlib

from zktw.node.build import Node
from zktw.sim.client import SimClient
from zktw.sim.cnxn_checkers import Asked, CnxnCheckers
from zktw.sim.ensemble import REGISTERS, EnsembleWorld
from zktw.sim.history import Entry
from zktw.sim.ledger import Ledger
from zktw.sim.linear import Kind, Operation, is_linearizable
from zktw.sim.pipe import Pipe
from zktw.sim.txn_checkers import TxnCheckers, records_of
from zktw.sim.world import CLIENT_PORT, Moment, Server
from zktw.sim.zab_checkers import ZabCheckers
from zktw.terms.codes import OpCode
from zktw.terms.zxid import epoch_of, format_zxid
from zktw.tree.database import Database
from zktw.wire.effects import Serving

CONFIG_NODE = "/zookeeper/config"
_KINDS: dict[int, Kind] = {OpCode.CREATE2: "create", OpCode.DELETE: "delete", OpCode.SET_DATA: "set"}


class ReplicaCheckers(TxnCheckers):
    """All of them, fed by one world. The first violation ends the run, as World.broken."""

    def __init__(self, world: EnsembleWorld) -> None:
        self.ledger = Ledger(self.fail, self.check_txn, self._on_committed)
        super().__init__(self.ledger.model)
        self.zab = ZabCheckers(world, self.ledger)
        self.clean_stops = 0
        self.databases = 0
        # Of all that clients and servers have said, and when.
        self.fingerprint = 0
        self._world = world
        self._tap = world.network.tap
        self._sids = {server.host: sid for sid, server in world.servers.items()}
        self._cnxns: dict[int, CnxnCheckers] = {}
        # Where the server is that writes just now.
        self.last_zxid = 0
        self._epoch = 0
        # By epoch, the last write that was acknowledged to a client; by request, what that was when it was asked.
        self._acknowledged: dict[int, int] = {}
        self._floors: dict[tuple[int, int], dict[int, int]] = {}
        self._closing: dict[int, None] = {}
        world.network.tap = self._on_bytes
        world.watchers.append(self._on_moment)
        world.on_stopped = self.check_stopped

    def fail(self, reason: str) -> None:
        """An invariant does not hold."""
        self.zab.fail(reason)

    def _on_committed(self, zxid: int) -> None:
        self.zab.check_quorum_holds(zxid)

    # -- the wire ----------------------------------------------------------------------------------------------------

    def _on_bytes(self, pipe: Pipe, from_dialler: bool, data: bytes) -> None:
        self.fingerprint = zlib.crc32(b"%d %.9f %b" % (pipe.number, self._world.schedule.now, data), self.fingerprint)
        if pipe.port != CLIENT_PORT:
            if self._tap is not None:
                self._tap(pipe, from_dialler, data)
            return
        cnxn = self._cnxns.get(pipe.number)
        if cnxn is None:
            cnxn = self._cnxns[pipe.number] = CnxnCheckers(self, pipe.number, pipe.dialler)
        if from_dialler:
            cnxn.on_request_bytes(data)
            return
        server = self._world.servers[self._sids[pipe.listener]]
        database = self._database(server)
        if database is not None and server.serving:
            self.last_zxid, self._epoch = database.last_zxid, server.epoch
            self.zab.learn(self.ledger_zxid(database), f"server {server.sid}")
            cnxn.on_reply_bytes(data)

    def _database(self, server: Server) -> Database | None:
        keeper = self._world.keeper(server)
        return None if keeper is None else keeper.database

    def ledger_zxid(self, database: Database) -> int:
        """The last transaction that a database has; the start of an epoch is none."""
        zxid = database.last_zxid
        return zxid if zxid & 0xFFFFFFFF else self.ledger.last_before(zxid)

    # -- what connections ask (see cnxn_checkers.Whole) --------------------------------------------------------------

    def entry(self, zxid: int) -> Entry | None:
        """See Whole."""
        return self.ledger.entry(zxid)

    def on_asked(self, session_id: int, asked: Asked) -> None:
        """See Whole."""
        self._asked[session_id, asked.xid] = asked
        if asked.op == OpCode.CLOSE_SESSION:
            self._closing[session_id] = None
        if asked.xid > 0:
            self._floors[session_id, asked.xid] = dict(self._acknowledged)

    def on_welcome(self, cnxn: CnxnCheckers, session_id: int, timeout_ms: int) -> None:
        """See Whole: a session that is given is on a quorum's disks."""
        if (
            timeout_ms
            and session_id not in self.model.sessions_at(self.last_zxid)
            and session_id not in self.model.sessions
        ):
            self.fail(f"session: 0x{session_id:x} is acknowledged, and its beginning is not committed")

    def check_may_end(self, session_id: int, told: str) -> None:
        """See TxnCheckers: how long a leader has heard nothing is not to be seen from here."""

    def check_txn(self, entry: Entry) -> None:
        """See TxnCheckers; and a write that was asked for when another had been acknowledged comes behind that."""
        super().check_txn(entry)
        header, _ = entry
        floor = max(self._floors.get((header.client_id, header.cxid), {0: 0}).values(), default=0)
        if header.cxid and header.zxid <= floor:
            self.fail(
                f"linear: {format_zxid(header.zxid)} was asked for when {format_zxid(floor)} was acknowledged already"
            )

    def on_write_acknowledged(self, cnxn: CnxnCheckers, asked: Asked, zxid: int) -> None:
        """See Whole."""
        epoch = epoch_of(zxid)
        self._acknowledged[epoch] = max(zxid, self._acknowledged.get(epoch, 0))

    def on_read_answered(self, cnxn: CnxnCheckers, asked: Asked, zxid: int) -> None:
        """See Whole: sync brings a server up to its leader, which has all that was acknowledged in its epoch."""
        if asked.op == OpCode.SYNC:
            floors = self._floors.get((cnxn.session_id, asked.xid), {})
            floor = max((last for epoch, last in floors.items() if epoch <= self._epoch), default=0)
            if zxid < floor:
                self.fail(f"sync: answered at {format_zxid(zxid)}, when {format_zxid(floor)} was acknowledged before")

    # -- memory ------------------------------------------------------------------------------------------------------

    def _on_moment(self, moment: Moment) -> None:
        if isinstance(moment.what, Serving):
            self.check_memory(self._world.servers[moment.sid])

    def check_memory(self, server: Server) -> None:
        """D5: memory is what the order of writes makes of it, and so is what is kept of it for learners."""
        keeper = self._world.keeper(server)
        if keeper is None:
            return
        self.databases += 1
        database, ring = keeper.database, keeper.committed
        self.check_database(database, database.last_zxid, f"server {server.sid}")
        last = 0
        for zxid, payload in ring:
            if self.ledger.proposed.get(zxid) != payload or not self.ledger.holds(zxid):
                self.fail(f"D5: server {server.sid} keeps {format_zxid(zxid)} for learners, which is not committed")
            if last and self.ledger.between(last, zxid) != [zxid]:
                self.fail(f"D5: server {server.sid} keeps {format_zxid(zxid)} next to {format_zxid(last)} for learners")
            last = zxid
        if last and last != self.ledger_zxid(database):
            self.fail(
                f"D5: server {server.sid} keeps all up to {format_zxid(last)}, at {format_zxid(database.last_zxid)}"
            )

    def check_stopped(self, server: Server, node: Node) -> None:
        """An orderly stop."""
        self.clean_stops += 1

    # -- the end -----------------------------------------------------------------------------------------------------

    def check_end(self, living: set[int]) -> None:
        """All is quiet: all servers have the same, and only the clients that are there have sessions."""
        for pipe in self._world.network.pipes():
            cnxn = self._cnxns.get(pipe.number)
            if cnxn is not None and cnxn.session_id in living and pipe.near is not None and pipe.near.connected:
                cnxn.check_watches(self.ledger.last)
        self.check_sessions(living)
        records = None
        for server in self._world.servers.values():
            self.zab.check_history(server, server.epoch + 1)
            database = self._database(server)
            if database is None:
                self.fail(f"end: server {server.sid} has no database")
                continue
            at, last = self.ledger_zxid(database), self.ledger.last
            if at != last:
                self.fail(f"end: server {server.sid} is at {format_zxid(at)}, not {format_zxid(last)}")
            self.check_memory(server)
            held = records_of(database)
            # It comes from each server's own file.
            held.pop(CONFIG_NODE, None)
            if records is not None and held != records:
                paths = [path for path in held.keys() | records.keys() if held.get(path) != records.get(path)]
                told = [(path, held.get(path), records.get(path)) for path in sorted(paths)[:2]]
                self.fail(f"end: server {server.sid} has another tree than the one before it: {told}")
            records = held

    def check_registers(self, clients: list[SimClient]) -> None:
        """Linearizable, and no word of zxids: what was answered of a node is what one node can have answered."""
        for path in REGISTERS:
            operations = [
                Operation(_KINDS[said.ask.op], said.ask.version, said.asked, said.answered, said.answer)
                for client in clients
                for said in client.asked
                if said.ask.path == path
            ]
            if not is_linearizable(operations):
                self.fail(f"linear: no order of {len(operations)} writes to {path} gives what was answered")
