"""Reads: what is answered from the tree as it is, without changing it (wire document, b.4, b.7)."""

import struct
from collections.abc import Callable, Iterable, Iterator

from zktw.pipeline.auth import Authentication, user_of
from zktw.pipeline.request import Client
from zktw.terms.codes import ErrorCode, EventType, OpCode, Perm, WatcherType
from zktw.terms.errors import WireError, ZkError
from zktw.terms.limits import MULTI_READ_BYTES_MAX
from zktw.tree.acl import masked
from zktw.tree.database import Database
from zktw.tree.node import FRONT_BYTES, STAT_BYTES, stat_of
from zktw.tree.paths import ROOT
from zktw.tree.watches import CHILD, DATA, PERSISTENT, RECURSIVE, WatchManager
from zktw.wire.client import (
    BODY,
    MULTI_END,
    MULTI_HEADER,
    REPLY_HEADER,
    REPLY_HEADER_BYTES,
    Paths,
    WrongKindError,
    encode_event,
    encode_reply,
    read_multi_read,
    read_path,
    read_set_watches,
)
from zktw.wire.jute import Reader, decode_text, encode_text, put_string
from zktw.wire.records import put_acls

_INT = struct.Struct(">i")
_unpack_int = _INT.unpack_from
_pack_head = REPLY_HEADER.pack
_PATH_START = BODY + 4
_READ = Perm.READ
_OPEN = 0xFF
# zxid of events that no transaction causes.
NO_ZXID = -1
# What Java trims off a text.
_BLANKS = "".join(map(chr, range(0x21)))
# Stands for a null path, which may be watched in vain.
NULL_PATH = "\0null"
_LONG = frozenset({OpCode.GET_DATA, OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2})
# A child's name and its length, about.
_NAME_BYTES = 24
_ADD_WATCH_MODES = {0: PERSISTENT, 1: RECURSIVE}
_WATCHER_TYPES = {int(type_): type_ for type_ in WatcherType}


class Reads:
    """One handler an operation: (client, xid, frame) -> the reply, encoded. A refusal is a ZkError."""

    def __init__(self, database: Database, watches: WatchManager, auth: Authentication, length_max: int) -> None:
        self.database = database
        self._watches = watches
        self._auth = auth
        self._length_max = length_max
        self.handlers: dict[int, Callable[[Client, int, bytes], bytes]] = {
            OpCode.EXISTS: self._exists,
            OpCode.GET_DATA: self._get_data,
            OpCode.GET_ACL: self._get_acl,
            OpCode.GET_CHILDREN: self._get_children,
            OpCode.GET_CHILDREN2: self._get_children,
            OpCode.SYNC: self._sync,
            OpCode.PING: self._ping,
            OpCode.CHECK_WATCHES: self._check_watches,
            OpCode.REMOVE_WATCHES: self._check_watches,
            OpCode.MULTI_READ: self._multi_read,
            OpCode.SET_WATCHES: self._set_watches,
            OpCode.SET_WATCHES2: self._set_watches,
            OpCode.GET_EPHEMERALS: self._get_ephemerals,
            OpCode.GET_ALL_CHILDREN_NUMBER: self._get_all_children_number,
            OpCode.ADD_WATCH: self._add_watch,
            OpCode.WHO_AM_I: self._who_am_i,
        }

    def answer(self, client: Client, op: int, xid: int, frame: bytes) -> bytes:
        """The reply to this request, errors included."""
        try:
            return self.handlers[op](client, xid, frame)
        except ZkError as error:
            code: int = error.code
        except WrongKindError:
            return encode_reply(xid, self.database.last_zxid, ErrorCode.MARSHALLING_ERROR, MULTI_END)
        except (WireError, IndexError, struct.error):
            code = ErrorCode.MARSHALLING_ERROR
        return encode_reply(xid, self.database.last_zxid, code)

    def size_of(self, op: int, frame: bytes) -> int:
        """Bytes of the reply as things are, about; of those that may be long."""
        if op == OpCode.MULTI_READ:
            return MULTI_READ_BYTES_MAX
        if op not in _LONG:
            return 0
        try:
            path, _ = self._path_and_watch(frame)
        except (WireError, IndexError, struct.error):
            return 0
        if op == OpCode.GET_DATA:
            return len(self.database.tree.nodes.get(path, b""))
        return _NAME_BYTES * len(self.database.tree.children.get(path, ()))

    # -- shared by the handlers --------------------------------------------------------------------------------------

    def _path_and_watch(self, frame: bytes) -> tuple[str, bool]:
        length = _unpack_int(frame, BODY)[0]
        if length < 0:
            raise WireError("a null path")
        end = _PATH_START + length
        # The byte behind the path tells that the path is whole, too.
        watch = frame[end]
        return decode_text(frame[_PATH_START:end]), watch != 0

    def _reader(self, frame: bytes) -> Reader:
        reader = Reader(frame, self._length_max)
        reader.offset = BODY
        return reader

    def _record(self, path: str) -> bytes:
        record = self.database.tree.nodes.get(path)
        if record is None:
            if path:
                raise ZkError(ErrorCode.NO_NODE)
            record = self.database.tree.nodes[ROOT]
        return record

    def _check_read(self, record: bytes, client: Client) -> None:
        # The number of the open list is -1; all others are positive.
        if record[0] != _OPEN and not self._auth.allows(self.database.tree.acls_of(record), _READ, client.identities):
            raise ZkError(ErrorCode.NO_AUTH)

    # -- handlers ----------------------------------------------------------------------------------------------------

    def _get_data(self, client: Client, xid: int, frame: bytes) -> bytes:
        path, watch = self._path_and_watch(frame)
        record = self._record(path)
        self._check_read(record, client)
        if watch:
            self._watches.add(client.number, path, DATA)
        # Length, data and Stat are the record's own bytes.
        size = len(record) - FRONT_BYTES + REPLY_HEADER_BYTES
        return _pack_head(size, xid, self.database.last_zxid, 0) + record[FRONT_BYTES:]

    def _exists(self, client: Client, xid: int, frame: bytes) -> bytes:
        path, watch = self._path_and_watch(frame)
        if "\0" in path:
            raise ZkError(ErrorCode.BAD_ARGUMENTS)
        record = self.database.tree.nodes.get(path) if path else self._record(path)
        if record is not None:
            self._check_read(record, client)
        if watch:
            self._watches.add(client.number, path, DATA)
        if record is None:
            raise ZkError(ErrorCode.NO_NODE)
        return encode_reply(xid, self.database.last_zxid, 0, record[-STAT_BYTES:])

    def _get_children(self, client: Client, xid: int, frame: bytes) -> bytes:
        path, watch = self._path_and_watch(frame)
        record = self._record(path)
        self._check_read(record, client)
        if watch:
            self._watches.add(client.number, path, CHILD)
        body = self._names(path)
        if _unpack_int(frame, 4)[0] == OpCode.GET_CHILDREN2:
            body += record[-STAT_BYTES:]
        return encode_reply(xid, self.database.last_zxid, 0, body)

    def _names(self, path: str) -> bytes:
        names = self.database.tree.children.get(path or ROOT)
        if names is None:
            return _INT.pack(0)
        return _encode_strings(names)

    def _get_acl(self, client: Client, xid: int, frame: bytes) -> bytes:
        record = self._record(read_path(self._reader(frame)))
        acls = self.database.tree.acls_of(record)
        if not self._auth.allows(acls, Perm.READ | Perm.ADMIN, client.identities):
            raise ZkError(ErrorCode.NO_AUTH)
        if not self._auth.allows(acls, Perm.ADMIN, client.identities):
            acls = masked(acls)
        body = bytearray()
        put_acls(body, acls)
        return encode_reply(xid, self.database.last_zxid, 0, bytes(body) + record[-STAT_BYTES:])

    def _sync(self, client: Client, xid: int, frame: bytes) -> bytes:
        body = bytearray()
        put_string(body, self._reader(frame).string())
        return encode_reply(xid, self.database.last_zxid, 0, bytes(body))

    def _ping(self, client: Client, xid: int, frame: bytes) -> bytes:
        return _pack_head(REPLY_HEADER_BYTES, -2, self.database.last_zxid, 0)

    def _multi_read(self, client: Client, xid: int, frame: bytes) -> bytes:
        pieces: list[bytes] = []
        size = 0
        for op, path in read_multi_read(self._reader(frame)):
            if size > MULTI_READ_BYTES_MAX:
                raise ZkError(ErrorCode.SYSTEM_ERROR)
            if path is None:
                body = b"".join(pieces) + MULTI_END
                return encode_reply(xid, self.database.last_zxid, ErrorCode.MARSHALLING_ERROR, body)
            try:
                record = self._record(path)
                self._check_read(record, client)
            except ZkError as error:
                pieces.append(MULTI_HEADER.pack(OpCode.ERROR, False, error.code) + _INT.pack(error.code))
                continue
            pieces.append(MULTI_HEADER.pack(op, False, 0))
            pieces.append(record[FRONT_BYTES:] if op == OpCode.GET_DATA else self._names(path))
            size += len(pieces[-1])
        pieces.append(MULTI_END)
        return encode_reply(xid, self.database.last_zxid, 0, b"".join(pieces))

    def _get_ephemerals(self, client: Client, xid: int, frame: bytes) -> bytes:
        prefix = self._reader(frame).string() or ""
        # Blanks count for nothing only where there is nothing else.
        wants_all = prefix.strip(_BLANKS) in ("", ROOT)
        session_id = client.session.id if client.session is not None else 0
        paths = [
            path for path in self.database.tree.ephemerals.get(session_id, ()) if wants_all or path.startswith(prefix)
        ]
        return encode_reply(xid, self.database.last_zxid, 0, _encode_strings(paths))

    def _get_all_children_number(self, client: Client, xid: int, frame: bytes) -> bytes:
        path = read_path(self._reader(frame))
        self._check_read(self._record(path), client)
        count = self.database.tree.descendant_count(path)
        return encode_reply(xid, self.database.last_zxid, 0, _INT.pack(count))

    def _who_am_i(self, client: Client, xid: int, frame: bytes) -> bytes:
        body = bytearray(_INT.pack(len(client.identities)))
        for identity in client.identities:
            put_string(body, identity.scheme)
            put_string(body, user_of(identity))
        return encode_reply(xid, self.database.last_zxid, 0, bytes(body))

    # -- watches -----------------------------------------------------------------------------------------------------

    def _add_watch(self, client: Client, xid: int, frame: bytes) -> bytes:
        reader = self._reader(frame)
        path, mode = reader.string(), _ADD_WATCH_MODES.get(reader.i32())
        if mode is None:
            raise WireError("an unknown mode of a watch")
        self._watches.add(client.number, NULL_PATH if path is None else path, mode)
        return encode_reply(xid, self.database.last_zxid, 0, _INT.pack(0))

    def _check_watches(self, client: Client, xid: int, frame: bytes) -> bytes:
        reader = self._reader(frame)
        path, type_ = reader.string(), _WATCHER_TYPES.get(reader.i32())
        if type_ is None:
            raise WireError("an unknown type of watch")
        remove = _unpack_int(frame, 4)[0] == OpCode.REMOVE_WATCHES
        found = (self._watches.remove if remove else self._watches.has)(
            client.number, NULL_PATH if path is None else path, type_
        )
        if not found:
            raise ZkError(ErrorCode.NO_WATCHER)
        return encode_reply(xid, self.database.last_zxid, 0)

    def _set_watches(self, client: Client, xid: int, frame: bytes) -> bytes:
        """Watches of a former connection; what happened meanwhile is told in front of the reply.

        A null list or path ends it with an error, but what stood before it has been done.
        """
        wanted = read_set_watches(self._reader(frame), _unpack_int(frame, 4)[0])
        since, number, add = wanted.relative_zxid, client.number, self._watches.add
        out: list[bytes] = []
        code = 0
        try:
            for path in _present(wanted.data):
                record = self._look(path)
                if record is None:
                    out.append(encode_event(EventType.NODE_DELETED, path, NO_ZXID))
                elif stat_of(record).mzxid > since:
                    out.append(encode_event(EventType.NODE_DATA_CHANGED, path, NO_ZXID))
                else:
                    add(number, path, DATA)
            for path in _present(wanted.exist):
                if self._look(path) is not None:
                    out.append(encode_event(EventType.NODE_CREATED, path, NO_ZXID))
                else:
                    add(number, path, DATA)
            for path in _present(wanted.child):
                record = self._look(path)
                if record is None:
                    out.append(encode_event(EventType.NODE_DELETED, path, NO_ZXID))
                elif stat_of(record).pzxid > since:
                    out.append(encode_event(EventType.NODE_CHILDREN_CHANGED, path, NO_ZXID))
                else:
                    add(number, path, CHILD)
            for paths, mode in ((wanted.persistent, PERSISTENT), (wanted.recursive, RECURSIVE)):
                if paths is None:
                    raise WireError("a null list of paths")
                for maybe in paths:
                    add(number, NULL_PATH if maybe is None else maybe, mode)
        except WireError:
            code = ErrorCode.MARSHALLING_ERROR
        out.append(encode_reply(xid, self.database.last_zxid, code))
        return b"".join(out)

    def _look(self, path: str) -> bytes | None:
        return self.database.tree.nodes.get(path or ROOT)


def _present(paths: Paths) -> Iterator[str]:
    if paths is None:
        raise WireError("a null list of paths")
    for path in paths:
        if path is None:
            raise WireError("a null path")
        yield path


def _encode_strings(strings: Iterable[str]) -> bytes:
    pack = _INT.pack
    pieces = [b""]
    for text in strings:
        raw = encode_text(text)
        pieces.append(pack(len(raw)))
        pieces.append(raw)
    pieces[0] = pack(len(pieces) // 2)
    return b"".join(pieces)
