"""Reconfiguring: the members of the ensemble while the server runs: what is in force, what has been proposed last.

It is told by the roles, and tells all else: election, connections, ports, files (wire document, e.2 and e.8). With
reconfigEnabled=false nothing here ever changes, and the file's word holds (bugs 2819 and 3829).
"""

from collections.abc import Callable
from dataclasses import replace

from twisted.logger import Logger

from zktw.config import Config
from zktw.net.cnxmanager import QuorumCnxManager
from zktw.net.listener import Listener
from zktw.node.configfiles import ConfigFiles
from zktw.quorum.election import FastLeaderElection
from zktw.quorum.ensemble import Ensemble, LearnerType, QuorumServer
from zktw.quorum.reconfig import Change
from zktw.terms.errors import WireError
from zktw.tree.database import Database
from zktw.tree.node import data_of
from zktw.tree.paths import CONFIG
from zktw.wire.txn import SetDataTxn, decode_txn

log = Logger()

_LENGTH_MAX = 2**31 - 1


class Reconfiguring:
    """Of one server. use(config) is told of each configuration that comes into force, as our own settings with it."""

    def __init__(
        self,
        config: Config,
        manager: QuorumCnxManager,
        election: FastLeaderElection,
        election_listener: Listener,
        quorum_listener: Listener,
        files: ConfigFiles | None,
        use: Callable[[Config], None],
    ) -> None:
        assert config.ensemble is not None
        self.committed: Ensemble = config.ensemble
        self.last_seen: Ensemble = config.ensemble
        self.enabled = config.reconfig_enabled
        # Lets clients connect elsewhere.
        self.move_clients: Callable[[str, int], None] = _stay
        self._config = config
        self._manager = manager
        self._election = election
        self._election_listener = election_listener
        self._quorum_listener = quorum_listener
        self._files = files
        self._use = use

    def recover(self, database: Database) -> None:
        """At the start: our own log may know of a later configuration than the file that was read.

        So `<cfg>.dynamic.next` need not be read, which an Apache server would: what it holds is in the log, or was
        never agreed to by us.
        """
        if not self.enabled:
            return
        if self._files is not None and "dynamicConfigFile" not in self._config.settings:
            self._files.back_up()
        self.look(database)

    def look(self, database: Database) -> None:
        """What our history says: a proposal that a later leader had us forget is none any more."""
        record = database.tree.record(CONFIG)
        data = None if record is None else data_of(record)
        held = read_ensemble(data) if data and self.enabled else None
        self.last_seen = held if held is not None and held.version > self.committed.version else self.committed
        self._connect()

    @property
    def is_pending(self) -> bool:
        """Whether a configuration has been proposed that is not in force."""
        return self.last_seen.version > self.committed.version

    def first(self, zxid: int) -> None:
        """We begin to lead: a static configuration gets a version, so that all learn it from us (bug 1783)."""
        if self.enabled and not self.committed.version and not self.last_seen.version:
            self.last_seen = replace(self.committed, version=zxid)

    # -- a reconfiguration's way -------------------------------------------------------------------------------------

    def on_proposed(self, payload: bytes) -> None:
        """A transaction of kind reconfig has been proposed."""
        ensemble = ensemble_of(payload) if self.enabled else None
        if ensemble is not None:
            self.propose(ensemble)

    def propose(self, ensemble: Ensemble) -> None:
        """A new configuration is proposed: its servers can be reached from now on."""
        self.last_seen = ensemble
        if self._files is not None:
            self._files.propose(ensemble)
        self._connect()

    def commit(self) -> Change:
        """What has been proposed last comes into force. What that means for us."""
        return self.adopt(self.last_seen)

    def adopt(self, ensemble: Ensemble) -> Change:
        """This is in force."""
        old, config = self.committed, self._config
        self.last_seen = ensemble
        if ensemble.version == old.version:
            return Change.of(old, old, config.my_sid)
        self.committed = ensemble
        change = Change.of(old, ensemble, config.my_sid)
        me = ensemble.members.get(config.my_sid)
        observes = config.is_observer if me is None else me.role is LearnerType.OBSERVER
        # A stranger that was let in as what it is, and is a member as the same now, plays the same role.
        change = replace(change, role=observes != config.is_observer)
        self._config = replace(config, ensemble=ensemble, is_observer=observes)
        if me is not None and me.client_address is not None:
            self._config = replace(self._config, client_port=me.client_address.port)
        log.info("the configuration of version {version:x} is in force", version=ensemble.version)
        self._use(self._config)
        self._election.use(ensemble, observes=observes)
        self._connect()
        if me is not None:
            self._move(me, change)
        if self._files is not None:
            self._files.commit(ensemble, without_client_port=me is not None and me.client_address is not None)
        return change

    def _move(self, me: QuorumServer, change: Change) -> None:
        if change.quorum:
            self._quorum_listener.readdress(self._bindings([(a.host, a.port) for a in me.quorum_addresses]))
        if change.election:
            addresses = [(a.host, a.port) for a in me.election_addresses]
            self._manager.move(addresses)
            self._election_listener.readdress(self._bindings(addresses))
        if change.client and me.client_address is not None:
            self.move_clients(me.client_address.host, me.client_address.port)

    def _bindings(self, addresses: list[tuple[str, int]]) -> list[tuple[str, int]]:
        if self._config.listen_on_all_ips:
            return [("", port) for port in dict.fromkeys(port for _, port in addresses)]
        return addresses

    def _connect(self) -> None:
        """Dial all who vote, now or soon."""
        members = self.committed.members | self.last_seen.members
        voters = {*self.committed.voters, *self.last_seen.voters}
        self._manager.use(
            {sid: [(a.host, a.port) for a in members[sid].election_addresses] for sid in sorted(voters)},
            {
                sid: [(a.host, a.port) for a in member.election_addresses]
                for sid, member in members.items()
                if sid not in voters
            },
        )


def ensemble_of(payload: bytes) -> Ensemble | None:
    """The configuration of a transaction of kind reconfig; None: it is none that we can read."""
    try:
        _, txn, _ = decode_txn(payload, _LENGTH_MAX)
    except WireError:
        return None
    return read_ensemble(txn.data or b"") if isinstance(txn, SetDataTxn) else None


def read_ensemble(data: bytes) -> Ensemble | None:
    """The configuration of this text; None: it is none that we can read."""
    try:
        ensemble = Ensemble.from_text(data.decode("utf-8"))
    except ValueError as error:
        log.error("a configuration that cannot be read is passed over: {reason}", reason=str(error))
        return None
    return ensemble if ensemble.members else None


def _stay(host: str, port: int) -> None:
    """Where nobody listens for clients."""
