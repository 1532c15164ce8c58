"""Means: what every role works with, and what the peer tells the role it plays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from zktw.config import Config
from zktw.net.cnxmanager import QuorumCnxManager
from zktw.net.listener import Listener
from zktw.net.quorumcnxn import QuorumPort
from zktw.node.chronicle import Chronicle
from zktw.node.clock import Clock, Random, wall_ms
from zktw.node.driver import Driver
from zktw.node.keeper import Keeper
from zktw.node.reconfiguring import Reconfiguring
from zktw.node.resigning import Ending
from zktw.node.server import ZooKeeperServer
from zktw.quorum.election import FastLeaderElection
from zktw.quorum.ensemble import Ensemble
from zktw.quorum.peerstate import PeerEvent
from zktw.storage.files import IWorker
from zktw.storage.journal import Journal
from zktw.storage.logtail import LogTail
from zktw.terms.errors import NotHeldError
from zktw.terms.vote import Notification
from zktw.tree.database import Database
from zktw.tree.node import data_of
from zktw.tree.paths import CONFIG
from zktw.wire.effects import EpochName
from zktw.zab.office import History, SyncRules, Timing

log = Logger()


@dataclass
class Means:
    """What every role works with. end(event, reason) ends the present role; fail(status, reason) ends the process."""

    config: Config
    ensemble: Ensemble
    reactor: Any
    clock: Clock
    random: Random
    chronicle: Chronicle
    history: History
    keeper: Keeper
    # Of the thread that reads for learners, and of what it reads with.
    reader: IWorker
    make_log_tail: Callable[[], LogTail]
    # Reads what is on disk again; see truncate().
    reload: Callable[[], Database]
    manager: QuorumCnxManager
    quorum_port: QuorumPort
    quorum_listener: Listener
    server: ZooKeeperServer
    election: FastLeaderElection
    elections: Driver
    reconfiguring: Reconfiguring
    end: Callable[[PeerEvent, str], None]
    # Ends the present role too: the leader that a reconfiguration names, -1 for none.
    appoint: Callable[[int, str], None]
    fail: Callable[[int, str], None]

    @property
    def is_member(self) -> bool:
        """Whether we are one: a reconfiguration may have removed us, or be yet to add us."""
        return self.config.my_sid in self.ensemble.members

    @property
    def timing(self) -> Timing:
        """The patience that the configuration asks for."""
        config = self.config
        return Timing(config.tick_ms, config.init_limit, config.sync_limit, config.replication.leader_silence_ms)

    @property
    def journal(self) -> Journal:
        """What writes to the log."""
        return self.keeper.journal

    @property
    def sync_rules(self) -> SyncRules:
        """How learners are brought up to date."""
        wanted = self.config.replication
        return SyncRules(wanted.force_snapshot_sync, wanted.snap_syncs_max, wanted.diff_syncs_max)

    def show_config(self) -> None:
        """Let the tree show our configuration, whatever a leader's tree or an old snapshot says (bugs 2819, 3829)."""
        text, database = self.ensemble.text().encode("utf-8"), self.keeper.database
        # A transaction may have brought it, and then its time is the same on all servers.
        if not self.config.reconfig_enabled or data_of(database.tree.nodes[CONFIG]) != text:
            database.set_config(text, self.ensemble.version, wall_ms())

    def truncate(self, zxid: int) -> Deferred[Database]:
        """Forget all behind zxid, on disk; fires with the database as it is then. NotHeldError: it isn't held."""
        keeper = self.keeper
        if not keeper.is_logging:
            return fail(NotHeldError("nothing is kept on disk that could be cut"))
        cut = keeper.journal.drained()
        cut.addCallback(lambda _: keeper.journal.truncate(zxid))
        return cut.addCallback(lambda _: self.reader.run(self.reload))

    def write_epoch(self, name: EpochName, epoch: int) -> Deferred[None]:
        """Fires when it is on disk.

        A disk without history says nothing of the epoch that history is of: it would be taken for a member that holds
        all of it, were it given a vote one day.
        """
        if name == "currentEpoch" and not self.keeper.is_logging:
            return succeed(None)
        return self.journal.write_epoch(name, epoch)

    def disk_failed(self, failure: Failure) -> None:
        """What was to be durable is not: nothing that this server says can be trusted any more."""
        self.fail(1, failure.getErrorMessage())

    def broken(self, failure: Failure) -> None:
        """An invariant of ours does not hold: end, and recover from disk."""
        self.keeper.broken(failure)

    @property
    def data_bytes_max(self) -> int:
        """The bound of one packet's data."""
        return min(self.config.jute_maxbuffer + self.config.jute_extra, 2**31 - 1)


class Role(Ending, Protocol):
    """What the peer tells the role it plays."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> Deferred[Any]:
        """End all that was begun; fires when nothing of it is left."""

    def on_notification(self, notification: Notification) -> None:
        """A message came on the election port."""

    def on_disconnected(self, sid: int) -> None:
        """The election connection with sid ended."""
