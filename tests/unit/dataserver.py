"""A standalone server's core without sockets: clients, requests by hand, and a disk that writes when it is told to."""

import struct
from typing import Any

from zktw.pipeline.auth import Authentication
from zktw.pipeline.prep import PrepRequestProcessor
from zktw.pipeline.primary import Primary
from zktw.pipeline.request import Client
from zktw.pipeline.service import DataService
from zktw.pipeline.sessions import SessionTracker, password_of
from zktw.terms.codes import OpCode
from zktw.tree.database import Database
from zktw.wire.client import ConnectRequest
from zktw.wire.records import OPEN_ACL, Acl, Acls
from zktw.wire.txn import decode_txn

LENGTH_MAX = 2 * 0xFFFFF
TICK_MS = 1000


def i32(value: int) -> bytes:
    return struct.pack(">i", value)


def buf(data: bytes | None) -> bytes:
    return i32(-1) if data is None else i32(len(data)) + data


def text(value: str) -> bytes:
    return buf(value.encode())


def acl_list(acls: Acls) -> bytes:
    return i32(len(acls)) + b"".join(i32(acl.perms) + text(acl.scheme) + text(acl.id) for acl in acls)


def create_body(path: str, data: bytes | None = b"", acls: Acls = OPEN_ACL, flags: int = 0) -> bytes:
    return text(path) + buf(data) + acl_list(acls) + i32(flags)


def multi_body(*parts: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack(">i?i", op, False, -1) + part for op, part in parts)
    return body + struct.pack(">i?i", -1, True, -1)


class Figures:
    """Counts nothing."""

    def count(self, name: str, by: int = 1) -> None:
        """See the pipeline's Figures."""

    def add(self, name: str, value: int) -> None:
        """See the pipeline's Figures."""


class DataServer:
    """Requests are prepared at once, and happen when persist() is called."""

    def __init__(self, *, sid: int = 1, large_bytes: int = -1, **prep_options: Any) -> None:
        self.log: list[bytes] = []
        self.database = Database(extended_types=True)
        self.tracker = SessionTracker(sid, TICK_MS, 0.0, 0)
        self.auth = Authentication()
        self.service = DataService(
            self.database,
            self.tracker,
            self.auth,
            Figures(),
            length_max=LENGTH_MAX,
            timeout_min_ms=2 * TICK_MS,
            timeout_max_ms=20 * TICK_MS,
            large_bytes=large_bytes,
        )
        self.prep = PrepRequestProcessor(self.database, self.auth, LENGTH_MAX, **prep_options)
        self.standalone = Primary(self.service, self.prep, lambda _, payload: self.log.append(payload))
        self._number = 0

    def connect(self, session_id: int = 0, timeout_ms: int = 4000) -> Client:
        """A client with a session, a new one unless one is named."""
        self._number += 1
        client = Client(self._number, "127.0.0.1", None)
        self.service.opened(client)
        password = password_of(session_id)
        self.service.connect(client, ConnectRequest(0, 0, timeout_ms, session_id, password, False))
        self.persist()
        self.take(client)
        return client

    def send(self, client: Client, op: int, body: bytes = b"", xid: int = 1) -> None:
        """One request."""
        self.service.on_frame(client, struct.pack(">ii", xid, op) + body)

    def persist(self, upto: int = 2**62) -> None:
        """The disk has written all that was given to it, or what is up to a zxid."""
        self.standalone.on_committed(upto)

    def take(self, client: Client) -> list[tuple[int, int, bytes]]:
        """What a client was told since: (xid, err, body). As a shell, forget it then."""
        data = b"".join(client.out)
        client.out.clear()
        client.out_bytes = 0
        told = []
        while data:
            size = struct.unpack_from(">i", data)[0]
            xid, _, err = struct.unpack_from(">iqi", data, 4)
            told.append((xid, err, data[20 : 4 + size]))
            data = data[4 + size :]
        return told

    def ask(self, client: Client, op: int, body: bytes = b"") -> tuple[int, bytes]:
        """One request to its end: (err, body) of the reply."""
        self.send(client, op, body, 77)
        self.persist()
        replies = [(err, rest) for xid, err, rest in self.take(client) if xid == 77 or op == OpCode.PING]
        assert len(replies) == 1, replies
        return replies[0]

    def create(self, client: Client, path: str, data: bytes | None = b"", acls: Acls = OPEN_ACL, flags: int = 0) -> int:
        """Create a node; the error."""
        return self.ask(client, OpCode.CREATE, create_body(path, data, acls, flags))[0]

    def set_data(self, client: Client, path: str, data: bytes | None, version: int = -1) -> int:
        """Set a node's data; the error."""
        return self.ask(client, OpCode.SET_DATA, text(path) + buf(data) + i32(version))[0]

    def delete(self, client: Client, path: str, version: int = -1) -> int:
        """Delete a node; the error."""
        return self.ask(client, OpCode.DELETE, text(path) + i32(version))[0]

    def authenticate(self, client: Client, user: str, password: str = "secret") -> int:
        """Show a digest; the error."""
        return self.ask(client, OpCode.AUTH, i32(0) + text("digest") + text(f"{user}:{password}"))[0]

    def replayed(self) -> Database:
        """What another start makes of the log."""
        database = Database(extended_types=True)
        for payload in self.log:
            database.replay(payload)
        return database

    def hold_to_log(self) -> None:
        """A restart gives the same tree, lists of access included."""
        self.persist()
        other = self.replayed()
        assert other.digest_mismatches == 0
        assert described(other) == described(self.database)
        for payload in self.log:
            decode_txn(payload, LENGTH_MAX)


def described(database: Database) -> dict[str, tuple[bytes, Acls]]:
    """Nodes without the numbers of their lists, and the lists."""
    tree = database.tree
    return {path: (record[8:], tree.acls_of(record)) for path, record in tree.nodes.items()}


def digest_acl(user: str, hashed: str, perms: int = 31) -> Acls:
    return (Acl(perms, "digest", f"{user}:{hashed}"),)
