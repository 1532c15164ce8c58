"""Wire: what passes over one direction of a quorum connection, as lines of text."""

from collections.abc import Iterator

from zktw.terms.codes import PacketType
from zktw.terms.limits import JUTE_MAXBUFFER
from zktw.terms.zxid import format_zxid
from zktw.tree.database import Database
from zktw.tree.image import ImageParser
from zktw.wire.peers import TREE_SIGNATURE, PacketParser


class Wire:
    """One direction of a quorum connection; pings and trees are read and left out."""

    def __init__(self) -> None:
        self._parser = PacketParser(JUTE_MAXBUFFER)
        self._tree: ImageParser | None = None
        # What has come of the word behind a tree.
        self._word: bytes | None = None

    def feed(self, data: bytes) -> Iterator[str]:
        """The packets that are whole now."""
        self._parser.put_back(self._parser.rest() + data)
        going = True
        while going:
            going = False
            if self._tree is not None:
                data = self._parser.rest()
                if self._word is None and self._tree.feed(data):
                    self._word, data = b"", self._tree.rest
                if self._word is None:
                    return
                self._word += data
                if len(self._word) < len(TREE_SIGNATURE):
                    return
                assert self._word.startswith(TREE_SIGNATURE)
                self._parser.put_back(self._word[len(TREE_SIGNATURE) :])
                self._tree = self._word = None
            for packet in self._parser.packets():
                if packet.type != PacketType.PING:
                    yield f"{packet.type.name} {format_zxid(packet.zxid)}"
                if packet.type == PacketType.SNAP:
                    self._tree = Database().parser(JUTE_MAXBUFFER)
                    going = True
                    break
