"""Database: the tree, the sessions and the zxid up to which both hold. Everything that replicates."""

from collections import deque
from functools import partial

from zktw.terms.errors import WireError
from zktw.terms.limits import DIGESTS_MAX, JUTE_MAXBUFFER
from zktw.tree.applied import Applied
from zktw.tree.datatree import DataTree
from zktw.tree.image import Image, ImageParser
from zktw.tree.node import with_data
from zktw.tree.owner import OwnerRules
from zktw.tree.paths import CONFIG, ROOT, SYSTEM
from zktw.tree.plainrun import insert_run
from zktw.tree.prepared import PreparedCreate, apply_prepared
from zktw.wire.txn import CloseSessionTxn, CreateSessionTxn, CreateTxn, DeleteTxn, Txn, TxnHeader, decode_txn

DIGEST_EVERY = 128
_REPLAY_LENGTH_MAX = 2**31 - 1
_UNTIL_TOLD = 2**63 - 1


class Database:
    """One path for all transactions: broadcast, replay and synchronisation apply them here."""

    def __init__(
        self,
        *,
        extended_types: bool = False,
        emulate_353: bool = False,
        digest_enabled: bool = True,
        config_version: int = 0,
    ) -> None:
        self.rules = OwnerRules(extended=extended_types, emulate_353=emulate_353)
        self._digest_enabled = digest_enabled
        self._config_version = config_version
        self.tree = DataTree(self.rules, digest_enabled=digest_enabled, config_version=config_version)
        self.sessions: dict[int, int] = {}
        self.last_zxid = 0
        self.digest_mismatches = 0
        # (zxid, digest) now and then: where two servers differ, hash tells since when.
        self.digests: deque[tuple[int, int]] = deque(maxlen=DIGESTS_MAX)
        # A fuzzy snapshot's digest holds only once replay has come so far; until then there is nothing to compare.
        self.fuzzy_until = 0

    def apply(self, header: TxnHeader, txn: Txn, prepared: PreparedCreate | None = None) -> Applied:
        """Let the next transaction happen. Sessions change before the zxid says so (bug 3144)."""
        match txn:
            case CreateSessionTxn(timeout_ms):
                self.sessions[header.client_id] = timeout_ms
                applied = Applied(header.type)
            case CloseSessionTxn(paths):
                self.sessions.pop(header.client_id, None)
                self.tree.remove_ephemerals(header, paths)
                applied = Applied(header.type)
            case CreateTxn() if prepared is not None:
                applied = apply_prepared(self.tree, header.type, txn, prepared) or self.tree.apply(
                    header, header.type, txn
                )
            case _:
                applied = self.tree.apply(header, header.type, txn)
        if header.zxid > self.last_zxid:
            self.last_zxid = header.zxid
        if not header.zxid % DIGEST_EVERY and self._digest_enabled:
            self.digests.append((header.zxid, self.tree.digest))
        return applied

    def replay(self, payload: bytes) -> None:
        """One entry of the log. WireError: it cannot be read."""
        header, txn, digest = decode_txn(payload, _REPLAY_LENGTH_MAX)
        self.apply(header, txn)
        self.tree.take_events()
        self.compare_digest(header.zxid, digest)

    def compare_digest(self, zxid: int, digest: int | None) -> bool:
        """Whether the tree is what the transaction's maker had; a difference is counted, never refused."""
        if digest is None or not self._digest_enabled or zxid < self.fuzzy_until or digest == self.tree.digest:
            return True
        self.digest_mismatches += 1
        return False

    def take_for_fuzzy(self) -> None:
        """This tree is a leader's, which an Apache server sends while it changes: nothing adds up until be_whole()."""
        self.fuzzy_until = _UNTIL_TOLD

    def be_whole(self, zxid: int) -> None:
        """What a fuzzy tree holds too early is no later than this: from the next transaction on it adds up."""
        if self.fuzzy_until == _UNTIL_TOLD:
            self.fuzzy_until = zxid + 1

    def drop_orphans(self) -> list[str]:
        """Remove ephemerals whose session is unknown; a crash may leave them (wire document, c.5)."""
        gone = []
        for session_id in [owner for owner in self.tree.ephemerals if owner not in self.sessions]:
            for path in list(self.tree.ephemerals.get(session_id, ())):
                header = TxnHeader(session_id, 0, self.last_zxid, 0, 0)
                self.tree.apply(header, 2, DeleteTxn(path))
                gone.append(path)
        self.tree.take_events()
        return gone

    def set_config(self, text: bytes, version: int, time: int) -> None:
        """Let the node of the configuration show it: without a transaction, since it is each server's own file's."""
        nodes = self.tree.nodes
        record = nodes[CONFIG]
        nodes[CONFIG] = with_data(record, text, -1, version, time)
        self.tree.data_bytes += len(nodes[CONFIG]) - len(record)

    def image(self) -> Image:
        """All of it as it is now: copied in one turn, 25 ms a million nodes."""
        tree = self.tree
        return Image(
            self.last_zxid,
            dict(self.sessions),
            tree.acls.copy(),
            tree.nodes.copy(),
            tree.digest if self._digest_enabled else None,
        )

    # -- loading -----------------------------------------------------------------------------------------------------

    def parser(self, length_max: int = JUTE_MAXBUFFER) -> ImageParser:
        """Forget all; what the parser is fed becomes this database. settle() ends it."""
        self.tree = DataTree(self.rules, digest_enabled=self._digest_enabled, config_version=self._config_version)
        self.sessions = {}
        self.digests.clear()
        fresh, tree = dict(self.tree.nodes), self.tree
        tree.clear()
        self._fresh = fresh
        return ImageParser(
            self.rules,
            length_max,
            session=self.sessions.__setitem__,
            acl=tree.acls.load,
            node=self._insert,
            run=partial(insert_run, tree),
        )

    def _insert(self, path: str, record: bytes) -> None:
        nodes = self.tree.nodes
        if path in nodes:
            raise WireError(f"the node {path[:80]!r} twice")
        if path != ROOT and (path[: path.rfind("/")] or ROOT) not in nodes:
            raise WireError(f"the node {path[:80]!r} before its parent")
        self.tree.insert(path, record)

    def settle(self, zxid: int) -> None:
        """The parser is at its end: the database holds what was so at zxid, or a little later (fuzzy)."""
        for path, record in self._fresh.items():
            if path not in self.tree.nodes:
                # Snapshots of old releases lack these.
                self.tree.insert(path, record)
        self._fresh = {}
        assert SYSTEM in self.tree.nodes
        self.tree.settle()
        self.last_zxid = zxid
