"""Wire: what passes over one direction of a quorum connection, as lines of text."""

from collections.abc import Iterator

from zktw.terms.codes import PacketType
from zktw.terms.limits import JUTE_MAXBUFFER
from zktw.terms.zxid import format_zxid
from zktw.wire.jute import ByteFeed
from zktw.wire.peers import PacketParser
from zktw.wire.snapstream import SnapStreamParser


class Wire:
    """One direction of a quorum connection; pings and trees are read and left out."""

    def __init__(self) -> None:
        self._parser = PacketParser(JUTE_MAXBUFFER)
        self._tree: SnapStreamParser | None = None
        self._stream = ByteFeed()

    def feed(self, data: bytes) -> Iterator[str]:
        """The packets that are whole now."""
        self._parser.put_back(self._parser.rest() + data)
        going = True
        while going:
            going = False
            if self._tree is not None:
                self._stream.feed(self._parser.rest())
                if self._tree.advance(self._stream) is None:
                    return
                self._tree = None
                self._parser.put_back(self._stream.rest())
            for packet in self._parser.packets():
                if packet.type != PacketType.PING:
                    yield f"{packet.type.name} {format_zxid(packet.zxid)}"
                if packet.type == PacketType.SNAP:
                    self._tree = SnapStreamParser(JUTE_MAXBUFFER)
                    going = True
                    break
