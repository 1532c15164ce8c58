"""QuorumWire: the packets of one direction of a quorum connection; the trees among them are skipped."""

from collections.abc import Iterator

from zktw.terms.codes import PacketType
from zktw.terms.limits import JUTE_MAXBUFFER
from zktw.wire.peers import TREE_SIGNATURE, PacketParser, QuorumPacket


class QuorumWire:
    """Data of simulated nodes never has a tree's signature in it, so a tree ends where that stands."""

    def __init__(self) -> None:
        self._parser = PacketParser(JUTE_MAXBUFFER)
        self._tree: bytearray | None = None

    def feed(self, data: bytes) -> Iterator[QuorumPacket]:
        """The packets that are whole now."""
        if self._tree is not None:
            self._tree += data
        else:
            self._parser.put_back(self._parser.rest() + data)
        while self._tree is None or self._skip(self._tree):
            for packet in self._parser.packets():
                yield packet
                if packet.type == PacketType.SNAP:
                    self._tree = bytearray(self._parser.rest())
                    break
            else:
                return

    def _skip(self, tree: bytearray) -> bool:
        """Whether the tree has come to its end."""
        at = tree.find(TREE_SIGNATURE)
        if at < 0:
            return False
        self._parser.put_back(bytes(tree[at + len(TREE_SIGNATURE) :]))
        self._tree = None
        return True
