"""ReconfigFollowing: a learner's part in a reconfiguration, as its leader tells of it."""

import struct
from collections.abc import Callable

from zktw.node.means import Means
from zktw.node.observermaster import ObserverMasterPort
from zktw.node.reconfiguring import read_ensemble
from zktw.terms.codes import OpCode, PacketType
from zktw.terms.errors import ProtocolError
from zktw.wire.peers import QuorumPacket
from zktw.zab.follower import Follower

_SID = struct.Struct(">q")
_TYPE = slice(28, 32)
_RECONFIG = struct.pack(">i", OpCode.RECONFIG)


class ReconfigFollowing:
    """For one term of office under this leader. is_over() tells whether it has ended."""

    def __init__(self, means: Means, leader: int, is_over: Callable[[], bool]) -> None:
        self._means = means
        self._members = means.reconfiguring
        self._leader = leader
        self._is_over = is_over

    def on_proposed(self, payload: bytes) -> None:
        """A transaction was proposed to us."""
        if payload[_TYPE] == _RECONFIG:
            self._members.on_proposed(payload)

    def adopt(self, config_text: bytes | None) -> None:
        """What NEWLEADER told is in force with UPTODATE."""
        ensemble = read_ensemble(config_text) if config_text and self._members.enabled else None
        if ensemble is not None and ensemble.version >= self._members.committed.version:
            self._settle(self._members.adopt(ensemble).role, self._leader)

    def on_activation(
        self, follower: Follower, packet: QuorumPacket, observers: ObserverMasterPort | None, *, observer: bool
    ) -> None:
        """A reconfiguration is committed; observers hear of it as a whole. ProtocolError: it is no such packet."""
        data = packet.data or b""
        if len(data) < _SID.size or observer != (packet.type == PacketType.INFORMANDACTIVATE):
            raise ProtocolError(f"{packet.type.name} of {len(data)} bytes while serving")
        designated = _SID.unpack_from(data)[0]
        if observers is not None:
            observers.on_activation(packet.zxid, designated)
        if observer:
            follower.on_inform(packet.zxid, data[_SID.size :])
        else:
            follower.on_commit(packet.zxid)
        follower.flush()
        self.activate(designated)
        if observers is not None:
            observers.on_reconfigured()

    def activate(self, designated: int) -> None:
        """What has been proposed last is in force."""
        if self._members.is_pending:
            self._settle(self._members.commit().role, designated)

    def _settle(self, role_changes: bool, designated: int) -> None:
        if designated != self._leader:
            self._appoint(designated, f"a reconfiguration has server {designated} lead")
        elif role_changes:
            self._appoint(designated, "a reconfiguration has changed our role")

    def _appoint(self, leader: int, reason: str) -> None:
        """Once our clients have what they are to be told."""

        def appoint() -> None:
            if not self._is_over():
                self._means.appoint(leader, reason)

        self._means.clock.soon(appoint)
