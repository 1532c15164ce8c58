"""ReconfigLeading: a leader's part in a reconfiguration: proposed, agreed on by old and new, in force, handed over."""

from collections.abc import Callable
from dataclasses import replace

from twisted.logger import Logger

from zktw.node.means import Means
from zktw.pipeline.reconfiguring import Reconfigurer
from zktw.quorum.ensemble import Ensemble
from zktw.quorum.reconfig import Rules, designated_leader
from zktw.quorum.verifier import QuorumVerifier
from zktw.terms.codes import PacketType
from zktw.terms.zxid import make_zxid
from zktw.wire.peers import QuorumPacket, encode_designated, encode_packet
from zktw.zab.leader import Leader
from zktw.zab.learnerhandler import LearnerPhase
from zktw.zab.membership import Membership

log = Logger()


class ReconfigLeading:
    """For one term of office of this core. resign(reason) ends it; recount() looks again at what is committed."""

    def __init__(self, means: Means, core: Leader, resign: Callable[[str], None], recount: Callable[[], None]) -> None:
        self._means = means
        self._core = core
        self._resign = resign
        self._recount = recount
        self._members = means.reconfiguring
        self._patience = means.clock.alarm(self._handed_over)
        self._heir = -1
        self._members.look(means.keeper.database)
        core.membership = self._membership()

    def _membership(self) -> Membership:
        committed, last_seen = self._members.committed, self._members.last_seen
        pending = last_seen.verifier() if self._members.is_pending else None
        text = last_seen.text().encode("utf-8")
        # Whoever has what our history holds and is not in force here yet is not ahead of us.
        return Membership(committed.verifier(), tuple(committed.members), last_seen.version, text, pending)

    def stop(self) -> None:
        """The role is over."""
        self._patience.set(None)

    def on_epoch(self, epoch: int) -> None:
        """The epoch is agreed on, and no learner was told of members yet."""
        self._members.first(make_zxid(epoch, 0))
        self._core.membership = self._membership()

    def on_serving(self) -> None:
        """A quorum, of old and new, holds our history, and with it any reconfiguration there."""
        members = self._members
        if members.is_pending:
            members.adopt(members.last_seen)
            self._in_force()
            if self._core.my_sid not in members.committed.voters:
                self._means.clock.soon(lambda: self._resign("we are no voter in the configuration now in force"))

    def make_reconfigurer(self) -> Reconfigurer | None:
        """What works out a client's wish, where that is allowed."""
        config = self._means.config
        if not config.reconfig_enabled:
            return None
        alone = config.settings.get("standaloneEnabled", "true").strip().lower() == "false"
        rules = Rules(multi_address=config.multi_address, voters_min=1 if alone else 2)
        return Reconfigurer(self._members, rules, self._is_synced, self._begin)

    def _is_synced(self, verifier: QuorumVerifier) -> bool:
        # Not the observers: they acknowledge nothing before they have come anew as followers, and without a quorum of
        # the new members that does, neither this nor anything behind it would ever be committed, by whomever leads.
        return verifier.contains_quorum([self._core.my_sid, *self._followers()])

    def _followers(self) -> list[int]:
        return [
            handler.sid
            for handler in self._core.learners.values()
            if handler.phase == LearnerPhase.SERVING and not handler.observer
        ]

    def _begin(self, ensemble: Ensemble) -> None:
        verifier = ensemble.verifier()
        self._members.propose(ensemble)
        self._core.broadcast.pending = (ensemble.version, verifier)
        self._core.membership = replace(self._core.membership, pending=verifier)

    def on_committed(self, zxid: int) -> None:
        """All up to zxid is committed, and nobody was told yet."""
        pending = self._core.broadcast.pending
        if pending is None or zxid < pending[0]:
            return
        core, members, version = self._core, self._members, pending[0]
        old, new = members.committed, members.last_seen
        followers = self._followers()
        acked = {sid: core.broadcast.acked_by(sid) for sid in (core.my_sid, *followers)}
        heir = designated_leader(old, new, core.my_sid, version, acked, followers)
        told = encode_designated(core.my_sid if heir == -1 else heir)
        payload = next((payload for entry, payload in self._means.keeper.committed if entry == version), b"")
        core.broadcast.activations[version] = (
            encode_packet(QuorumPacket(PacketType.COMMITANDACTIVATE, version, told)),
            encode_packet(QuorumPacket(PacketType.INFORMANDACTIVATE, version, told + payload)),
        )
        members.commit()
        self._in_force()
        if heir == core.my_sid:
            self._means.clock.soon(self._recount)
        else:
            self._heir = heir
            log.info("the configuration now in force has server {heir} lead, not us", heir=heir)
            # Learners leave by themselves, once they have read it.
            self._patience.set(self._means.clock.now_ms() + self._means.config.tick_ms)

    def _in_force(self) -> None:
        self._core.membership = self._membership()
        self._core.broadcast.activate(self._core.membership.verifier)

    def _handed_over(self) -> None:
        self._resign("another server is to lead" if self._heir == -1 else f"server {self._heir} is to lead")
