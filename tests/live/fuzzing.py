"""Requests, frames and clients that nobody ought to send, against a running server: it must not mind.

Structure-aware: a request is a list of typed fields, of which some are replaced, dropped, doubled or cut, before bytes
are damaged too. Every request is answered in its turn or the connection is closed; a witness session with an ephemeral
and a watch must notice nothing; the server's memory is measured. Scripts come from a seed and their number.

By hand: python tests/live/fuzzing.py --kind zktw --minutes 20 --seed 1 [--against apache39]
"""

import argparse
import contextlib
import random
import re
import shutil
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ensemble import HOST, Ensemble, Node
from kills import CREATE2, GETDATA, MULTI_END, OK, OPEN_ACL, SETDATA, Link, Source, Violation, buf, i32, i64, text

EXISTS, GETACL, SETACL, SYNC, PING, CHECK, MULTI, TTL, MULTIREAD, CLOSE = 3, 6, 7, 9, 11, 13, 14, 21, 22, -11
SENTINEL = 0x7EEEEEEE
ANSWER_S = 10.0
ROOT = "/fuzz"
SUPER, SUPER_DIGEST = b"super:test", "super:D/InIHSb7yEEbrWz8b9l71RjZJU="
# What an Apache server must not be sent: 3.8.0 never answers a lone check; the others do harm or are executed.
NOT_FOR_APACHE = {CHECK, 20, TTL, -10}
RSS_GROWTH_MAX_KB = 250_000

# The fields of each request: s path or name, d data, a list of rights, i int, l long, b flag, v list of paths.
GRAMMAR = {
    1: "sdai",
    2: "si",
    3: "sb",
    4: "sb",
    5: "sdi",
    6: "s",
    7: "sai",
    8: "sb",
    9: "s",
    11: "",
    12: "sb",
    13: "si",
    15: "sdai",
    16: "sssl",
    17: "si",
    18: "si",
    19: "sdai",
    20: "s",
    21: "sdail",
    100: "isd",
    101: "lvvv",
    102: "d",
    103: "s",
    104: "s",
    105: "lvvvvv",
    106: "si",
    107: "",
    -10: "i",
    -11: "",
    -1: "i",
    0: "",
    10: "s",
    99: "sd",
}
# All others are answered at once, before what waits, and sasl and auth are too.
QUEUED = {*GRAMMAR} - {0, 10, 99, -1, 100, 102, -10}
MULTI_OPS, READ_OPS = (1, 2, 5, 13, 15, 19, 21), (4, 8)
INTS = (-(2**31), -(2**31) + 1, -9, -8, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 31, 64, 0xFFFFF, 0x100000, 2**31 - 1)
LONGS = (-(2**63), -(2**40), -1, 0, 1, 1000, 2**40 - 1, 2**40, 0xFF << 56 >> 8, 2**63 - 1)
NAMES = [f"{ROOT}/{name}" for name in ("a", "b", "a/x", "a/y", "c", "a/x/deep")]
STRANGE = [
    None,
    "",
    "/",
    "//",
    "a",
    "/fuzz/",
    "/fuzz//a",
    "/fuzz/./a",
    "/fuzz/../a",
    "/fuzz/\0",
    "/fuzz/\x01",
    "/fuzz/\ud7ff",
    "/fuzz/\ue000",
    "/fuzz/\uffff",
    "/fuzz/\U0001f600",
    "/zookeeper",
    "/zookeeper/config",
    "/zookeeper/quota",
    "/zookeeper/quota/fuzz",
    "/zookeeper/quota/fuzz/zookeeper_limits",
    "/zookeeper/quota/fuzz/zookeeper_stats",
    "/fuzz/" + "n" * 4000,
    "/fuzz" + "/d" * 900,
]


# The others end the connection, most of them.
OFTEN = [*(set(GRAMMAR) & QUEUED - {CLOSE, -10}), MULTI, MULTI, MULTI, MULTIREAD, *(1, 15, 5, 2, 7, 19) * 2]


@dataclass
class Piece:
    """One field: its kind, and its bytes."""

    kind: str
    data: bytes


class Generator:
    """Requests of one script."""

    def __init__(self, rng: random.Random, *, gentle: bool) -> None:
        self.rng = rng
        self.gentle = gentle

    def request(self) -> tuple[int, bytes]:
        """An opcode and a body."""
        op = self.rng.choice(OFTEN if self.rng.random() < 0.9 else [*GRAMMAR])
        while self.gentle and op in NOT_FOR_APACHE:
            op = self.rng.choice(list(GRAMMAR))
        pieces = self.multi(op) if op in (MULTI, MULTIREAD) else self.record(GRAMMAR[op])
        if self.rng.random() < 0.02:
            op = self.rng.choice(INTS)
            if self.gentle and op in NOT_FOR_APACHE:
                op = 0
        return op, self.damaged(pieces)

    def record(self, fields: str) -> list[Piece]:
        return [Piece(kind, self.value(kind)) for kind in fields]

    def value(self, kind: str) -> bytes:
        """Mostly sound."""
        rng = self.rng
        strange = rng.random() < 0.12
        match kind:
            case "s":
                if rng.random() < 0.01:
                    return buf(rng.randbytes(rng.randint(1, 30)))
                name = rng.choice(STRANGE) if strange else rng.choice(NAMES)
                return buf(None if name is None else name.encode("utf-8", "surrogatepass"))
            case "d":
                return buf(rng.choice((None, b"", rng.randbytes(rng.choice((1, 20, 300))), b"user:password")))
            case "a":
                return self.rights() if strange else OPEN_ACL
            case "i":
                return i32(rng.choice(INTS) if strange else rng.choice((-1, 0, 0, 1, 2, 3)))
            case "l":
                return i64(rng.choice(LONGS) if strange else rng.choice((0, 5000)))
            case "b":
                return bytes([rng.choice((0, 1, 1, 255))])
        names = [self.value("s") for _ in range(rng.choice((0, 1, 2, 30)))]
        return (i32(rng.choice((-1, -5, len(names) + 1, 2**31 - 1))) if strange else i32(len(names))) + b"".join(names)

    def rights(self) -> bytes:
        rng = self.rng
        entries = [
            i32(rng.choice(INTS))
            + text(rng.choice(("world", "digest", "ip", "auth", "sasl", "super", "x", "", None)))
            + text(rng.choice(("anyone", "a:b", "a", "127.0.0.1", "127.0.0.0/8", "1.2.3.4/33", "::1", "", None)))
            for _ in range(rng.choice((0, 1, 2, 3, 40)))
        ]
        return i32(rng.choice((-1, -5, len(entries), len(entries), 2**31 - 1, 65537))) + b"".join(entries)

    def multi(self, op: int, depth: int = 0) -> list[Piece]:
        """Parts and their end; at times of the wrong kind, without an end, or within each other."""
        rng = self.rng
        pieces = []
        allowed = [kind for kind in (READ_OPS if op == MULTIREAD else MULTI_OPS) if not (self.gentle and kind == TTL)]
        for _ in range(rng.choice((0, 1, 2, 3, 5, 60))):
            kind = rng.choice(allowed)
            if rng.random() < 0.02:
                kind = rng.choice([kind for kind in GRAMMAR if not (self.gentle and kind in NOT_FOR_APACHE)])
            head = i32(kind) + bytes([rng.random() < 0.01]) + i32(rng.choice((-1, -1, 0, 5)))
            pieces.append(Piece("h", head))
            pieces += self.record(GRAMMAR[kind])
            if depth < 5 and rng.random() < 0.02:
                pieces.append(Piece("h", i32(rng.choice((MULTI, MULTIREAD))) + b"\x00" + i32(-1)))
                pieces += self.multi(rng.choice((MULTI, MULTIREAD)), depth + 1)
        if rng.random() < 0.97:
            pieces.append(Piece("e", MULTI_END))
        return pieces

    def damaged(self, pieces: list[Piece]) -> bytes:
        """A body: two of three are left as they are."""
        rng = self.rng
        while pieces and rng.random() < 0.25:
            at = rng.randrange(len(pieces))
            match rng.randrange(6):
                case 0:
                    del pieces[at]
                case 1:
                    pieces.insert(at, pieces[at])
                case 2:
                    pieces.insert(at, pieces.pop())
                case 3:
                    pieces[at] = Piece("r", self.value(rng.choice("sdailbv")))
                case 4 if pieces[at].kind in "sdav":
                    pieces[at] = Piece("r", i32(rng.choice(INTS)) + pieces[at].data[4:])
                case _:
                    pieces = pieces[: at + 1]
        body = bytearray(b"".join(piece.data for piece in pieces))
        while body and rng.random() < 0.1:
            at = rng.randrange(len(body))
            match rng.randrange(4):
                case 0:
                    body[at] ^= 1 << rng.randrange(8)
                case 1:
                    del body[at:]
                case 2:
                    body[at : at + 4] = i32(rng.choice(INTS))
                case _:
                    body += rng.randbytes(rng.randint(1, 20))
        return bytes(body)


@dataclass
class Findings:
    """What was tried, and what went wrong."""

    tried: Counter[str] = field(default_factory=Counter)
    errors: Counter[int] = field(default_factory=Counter)
    closed: int = 0
    found: list[str] = field(default_factory=list)
    rss_kb: tuple[int, int, int] = (0, 0, 0)

    def add(self, what: str) -> None:
        self.found.append(what)
        print(f"FOUND {what[:3000]}", flush=True)

    def __str__(self) -> str:
        return (
            f"{sum(self.tried.values())} inputs {dict(self.tried)}, {self.closed} scripts ended by a close, errors "
            f"{dict(self.errors.most_common())}, resident kB at start, most, end: {self.rss_kb}, "
            f"{len(self.found)} findings"
        )


# The error of each request that was answered, and those of the parts of a multi.
Answers = dict[int, tuple[int, ...]]


@dataclass
class Played:
    """What became of a script."""

    answers: Answers = field(default_factory=dict)
    closed: bool = False


class Target:
    """A server under fuzz, its witness, and its memory."""

    def __init__(self, ensemble: Ensemble, node: Node) -> None:
        self.ensemble, self.node = ensemble, node
        ensemble.start(node)
        ensemble.wait_serving(node)
        self.witness = Link(node.client_port, ANSWER_S)
        assert self.witness.open(40_000)
        for path, flags in ((ROOT, 0), ("/witness", 1), ("/large", 0)):
            data = bytes(500_000) if path == "/large" else b"0"
            assert self.witness.call(CREATE2, text(path) + buf(data) + OPEN_ACL + i32(flags))[0] == OK
        self.rss_start = self.rss_most = self.rss()
        self.log_read = 0

    def rss(self) -> int:
        """Resident kB, the most since the last call."""
        assert self.node.process is not None
        pid = self.node.process.pid
        with open(f"/proc/{pid}/status") as status:
            most = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        with open(f"/proc/{pid}/clear_refs", "w") as clear:
            clear.write("5")
        return most

    def check(self) -> str:
        """What is wrong with the server; "" if nothing."""
        if not self.node.alive():
            return f"the server ended:\n{self.node.log_text()[-2500:]}"
        began = time.monotonic()
        try:
            # An event, then the reply that it precedes; and our ephemeral.
            self.witness.send(
                i32(1) + i32(GETDATA) + text("/witness") + b"\x01",
                i32(2) + i32(SETDATA) + text("/witness") + buf(b"1") + i32(-1),
                i32(3) + i32(PING),
            )
            if self.witness.reply(1)[0] != OK:
                return "the witness lost its ephemeral"
            if Source(self.witness.frame()).i32() != -1:
                return "the witness's watch is gone"
            if self.witness.reply(2)[0] != OK or Source(self.witness.frame()).i32() != -2:
                return "the witness is refused"
        except (OSError, Violation) as error:
            return f"the witness: {error!r}"
        if (took := time.monotonic() - began) > ANSWER_S / 2:
            return f"the witness waited {took:.1f} s"
        rss = self.rss()
        self.rss_most = max(self.rss_most, rss)
        if rss > self.rss_start + RSS_GROWTH_MAX_KB:
            return f"resident memory grew to {rss} kB"
        return self.trouble_in_log()

    def trouble_in_log(self) -> str:
        said = self.node.log_text()[self.log_read :]
        self.log_read += len(said)
        for sign in ("Traceback (most recent", "Unhandled", "OutOfMemory"):
            if sign in said:
                at = said.index(sign)
                return f"its log says {said[max(at - 300, 0) : at + 1500]}"
        return ""

    def restart(self, reader: str = "") -> str:
        """Kill and start it: what it wrote it must be able to read, and its sessions live on.

        reader: a kind of server that must be able to read it, too.
        """
        nodes = re.findall(r"Node count: \d+", self.node.ask("srvr"))
        self.node.kill()
        others = self.read_by(reader, nodes) if reader else ""
        self.ensemble.start(self.node)
        try:
            self.ensemble.wait_serving(self.node)
        except (RuntimeError, TimeoutError) as error:
            return f"after its restart: {error}"
        link = Link(self.node.client_port, ANSWER_S)
        if not link.open(40_000, 0, self.witness.session, self.witness.password):
            return "the witness's session is gone after a restart"
        self.witness.close()
        self.witness = link
        return f"{reader} cannot read what it wrote: {others}" if others else self.check()

    def read_by(self, reader: str, nodes: list[str]) -> str:
        """Let another server start from a copy; what is wrong with that."""
        with Ensemble([reader], extra=self.ensemble.extra) as other:
            shutil.copytree(self.node.data_dir / "version-2", other[1].data_dir / "version-2")
            other.start()
            try:
                other.wait_serving()
            except (RuntimeError, TimeoutError) as error:
                return str(error)
            found = re.findall(r"Node count: \d+", other[1].ask("srvr"))
            # Containers and nodes with a time to live are reaped, sessions expire: not in the first second.
            return "" if found == nodes else f"{found}, {nodes} here"


# ---------------------------------------------------------------------------------------------------- scripts


def script(seed: int, number: int, *, gentle: bool) -> list[tuple[int, int, bytes]]:
    """Requests as (xid, opcode, body)."""
    rng = random.Random(f"{seed}/{number}")
    generator = Generator(rng, gentle=gentle)
    requests = []
    for n in range(rng.choice((1, 3, 10, 40))):
        op, body = generator.request()
        xid = rng.choice((0, -2, -4, -8, 2**31 - 1)) if rng.random() < 0.03 else n + 1
        requests.append((xid, op, body))
    return requests


def play(port: int, requests: list[tuple[int, int, bytes]]) -> Played:
    """Send them all at once on a session of their own.

    Raises Violation if an answer is not the next one's, and TimeoutError if none comes.
    """
    link = Link(port, ANSWER_S)
    played = Played()
    waiting = [(n, xid, op) for n, (xid, op, _) in enumerate(requests)]
    try:
        assert link.open(4000)
        with contextlib.suppress(ConnectionError):
            last = i32(SENTINEL) + i32(EXISTS) + text("/") + b"\0"
            link.send(*(i32(xid) + i32(op) + body for xid, op, body in requests), last)
        while True:
            source = Source(link.frame())
            xid, _, error = source.i32(), source.i64(), source.i32()
            if xid == SENTINEL:
                if waiting:
                    raise Violation(f"no answers to {waiting}")
                close(link)
                break
            if xid == -1:
                continue
            request = answered(xid, waiting)
            waiting.remove(request)
            parts = codes(source) if request[2] in (MULTI, MULTIREAD) and not error else []
            played.answers[request[0]] = (error, *parts)
    except ConnectionError:
        played.closed = True
        forget(port, link)
    finally:
        link.close()
    return played


def answered(xid: int, waiting: list[tuple[int, int, int]]) -> tuple[int, int, int]:
    """The request that this answers: the next one, or, as Apache does, one that never stands in a queue."""
    for place, request in enumerate(waiting):
        # A ping that is refused is not told from other requests.
        mine = (-2, request[1]) if request[2] == PING else (request[1],)
        if xid in mine and (not place or request[2] not in QUEUED):
            return request
    raise Violation(f"an answer to {xid}, waiting for {waiting[:3]}")


def codes(source: Source) -> list[int]:
    """The errors of all results, whose bodies must be whole."""
    found: list[int] = []
    while True:
        kind, done, error = source.i32(), source.take(1), source.i32()
        if done != b"\0":
            if source.at != len(source.frame):
                raise Violation(f"{len(source.frame) - source.at} bytes behind the last result")
            return found
        found.append(error)
        match kind:
            case -1:
                source.i32()
            case 1 | 15:
                source.text()
            case 8:
                for _ in range(source.i32()):
                    source.buf()
            case 4:
                source.buf()
        if kind in (4, 5, 15):
            source.take(68)


def close(link: Link) -> None:
    """End the session; events may come before the answer."""
    link.send(i32(1) + i32(CLOSE))
    with contextlib.suppress(ConnectionError):
        while True:
            link.frame()


def forget(port: int, link: Link) -> None:
    """End a session whose connection was closed, so that its nodes go now and not when it expires."""
    again = Link(port, ANSWER_S)
    with contextlib.suppress(ConnectionError):
        if again.open(4000, 0, link.session, link.password):
            close(again)
    again.close()


def play_script(target: Target, seed: int, number: int, findings: Findings, *, gentle: bool) -> Played | None:
    """One script; None if it led to a finding."""
    requests = script(seed, number, gentle=gentle)
    findings.tried["requests"] += len(requests)
    try:
        played = play(target.node.client_port, requests)
    except (Violation, TimeoutError, OSError, AssertionError) as error:
        sent = [(xid, op, body.hex()[:200]) for xid, op, body in requests]
        findings.add(f"{target.node.kind}, script {seed}/{number}: {error!r}; requests {sent}")
        return None
    findings.errors.update(error for error, *_ in played.answers.values())
    findings.closed += played.closed
    return played


# ---------------------------------------------------------------------------------------------------- other clients


def raw(port: int, *chunks: bytes, wait_s: float = 0.0) -> socket.socket:
    """A connection that has sent this."""
    link = socket.create_connection((HOST, port), ANSWER_S)
    with contextlib.suppress(OSError):
        for chunk in chunks:
            link.sendall(chunk)
            if wait_s:
                time.sleep(wait_s)
    return link


def opening(rng: random.Random) -> bytes:
    """A first frame, mostly damaged."""
    body = bytearray(
        i32(rng.choice((0, 0, -1, 7)))
        + i64(rng.choice((0, 0, 1, 2**62)))
        + i32(rng.choice((4000, 0, -1, 2**31 - 1)))
        + i64(rng.choice((0, 0, 1, -1, 0x100000000000001)))
        + rng.choice((buf(bytes(16)), buf(None), buf(b""), buf(bytes(500)), i32(2**31 - 1), i32(-2)))
        + rng.choice((b"", b"\0", b"\1", b"\xff", bytes(300)))
    )
    if rng.random() < 0.4:
        del body[rng.randrange(len(body)) :]
    if rng.random() < 0.2:
        body = bytearray(rng.randbytes(rng.randint(0, 80)))
    length = len(body) if rng.random() < 0.8 else rng.choice((*INTS, len(body) + 1, 0x72756F6B, 0x73746D6B, 0x636F6E73))
    return i32(length) + bytes(body)


def strangers(target: Target, rng: random.Random, findings: Findings) -> None:
    """First frames, and bytes behind them; half of them reset in the middle."""
    for _ in range(20):
        findings.tried["openings"] += 1
        data = opening(rng) + rng.choice(
            (b"", b"", rng.randbytes(rng.randint(1, 100)), opening(rng), b"GET / HTTP/1.1\r\n\r\n")
        )
        link = raw(target.node.client_port, data)
        if rng.random() < 0.5:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            link.settimeout(0.02)
            with contextlib.suppress(OSError):
                link.recv(1000)
        link.close()


def session(port: int) -> Link:
    """A session that takes care of itself."""
    link = Link(port, ANSWER_S)
    if not link.open(30_000):
        raise Violation("no new session")
    return link


def pour(link: Link, data: bytes, seconds: float) -> int:
    """Send as much as the server takes in this time, reading nothing; the bytes it took."""
    link.socket.settimeout(0.3)
    sent, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            sent += link.socket.send(data[sent % len(data) :])
        except TimeoutError:
            break
        except OSError:
            break
    return sent


def framed(op: int, body: bytes = b"", xid: int = 1) -> bytes:
    return i32(8 + len(body)) + i32(xid) + i32(op) + body


def never_reads(target: Target, rng: random.Random, findings: Findings) -> None:
    """Clients that ask for much and read nothing."""
    large = framed(GETDATA, text("/large") + b"\0") * 3000
    many = framed(EXISTS, text("/") + b"\0") * 5000
    pings = framed(PING, xid=-2) * 5000
    writes = framed(SETDATA, text(f"{ROOT}") + buf(bytes(200)) + i32(-1)) * 1000
    watched = framed(GETDATA, text(ROOT) + b"\1") + framed(106, text(ROOT) + i32(1)) + writes
    links = []
    for data in (large, many, pings, writes, watched):
        findings.tried["never reads"] += 1
        link = session(target.node.client_port)
        links.append(link)
        pour(link, data, 1.5)
        if trouble := target.check():
            findings.add(f"while a client reads nothing ({data[:40].hex()}): {trouble}")
    for link in links:
        link.close()


def drips(target: Target, rng: random.Random, findings: Findings) -> None:
    """Frames that come byte by byte, long ones that never end, and many of both at once."""
    links = []
    first = i32(45) + i32(0) + i64(0) + i32(30_000) + i64(0) + buf(bytes(16)) + b"\0"
    for _ in range(30):
        findings.tried["drips"] += 1
        links.append(raw(target.node.client_port, first[: rng.randrange(1, len(first))]))
    for _ in range(20):
        findings.tried["drips"] += 1
        link = session(target.node.client_port)
        # A frame of almost a megabyte that stops before its end.
        with contextlib.suppress(OSError):
            link.socket.sendall(i32(0xFFFFF) + i32(1) + i32(1) + bytes(rng.choice((1, 1000, 900_000))))
        links.append(link.socket)
    link = session(target.node.client_port)
    for byte in framed(EXISTS, text("/") + b"\0"):
        link.socket.sendall(bytes([byte]))
        time.sleep(0.002)
    if link.reply(1)[0] != OK:
        findings.add("a frame that came byte by byte was not answered")
    link.close()
    if trouble := target.check():
        findings.add(f"while frames drip: {trouble}")
    for one in links:
        one.close()


def bounds(target: Target, rng: random.Random, findings: Findings) -> None:
    """Frames of every length around the bound, with a body or without."""
    for length in (-1, 0, 1, 7, 8, 0xFFFFF, 0x100000, 2**31 - 1, -(2**31)):
        findings.tried["lengths"] += 1
        link = session(target.node.client_port)
        body = (i32(1) + i32(SYNC) + text("/") + bytes(max(min(length, 0x100000), 0)))[: max(length, 0)]
        with contextlib.suppress(OSError):
            link.socket.sendall(i32(length) + body)
        must_close = length < 8 or length > 0xFFFFF
        try:
            link.frame()
            if must_close:
                findings.add(f"a frame of length {length} was answered")
        except ConnectionError:
            if not must_close:
                findings.add(f"a frame of length {length} was not answered")
        except TimeoutError:
            findings.add(f"a frame of length {length}: neither answer nor close")
        link.close()


def holders(target: Target, rng: random.Random, findings: Findings) -> None:
    """One session with very many watches, ephemerals and outstanding requests; then it is cut off."""
    link = session(target.node.client_port)
    findings.tried["holders"] += 1
    frames = b"".join(
        framed(CREATE2, text(f"{ROOT}/h{n}") + buf(b"") + OPEN_ACL + i32(1))
        + framed(EXISTS, text(f"/none/{n}") + b"\1")
        for n in range(3000)
    )
    link.socket.setblocking(True)
    with contextlib.suppress(OSError):
        link.socket.sendall(frames[: 100 * rng.randrange(1, 3000)])
    link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()
    again = Link(target.node.client_port, ANSWER_S)
    if again.open(4000, 0, link.session, link.password):
        again.call(CLOSE, b"")
    else:
        findings.add("a session whose connection was reset is gone")
    again.close()


def greedy(target: Target, rng: random.Random, findings: Findings) -> None:
    """A little that asks for very much: large reads behind a write, in one multiRead, all watches of a long list."""
    write = framed(SETDATA, text(ROOT) + buf(b"x") + i32(-1))
    behind = write + framed(GETDATA, text("/large") + b"\0") * 2000
    part = i32(GETDATA) + b"\0" + i32(-1) + text("/large") + b"\0"
    # Apache's server runs out of memory by this one.
    at_once = framed(MULTIREAD, part * 2000 + MULTI_END) if target.node.kind == "zktw" else b""
    many = framed(MULTI, (i32(SETDATA) + b"\0" + i32(-1) + text(ROOT) + buf(b"") + i32(-1)) * 2000 + MULTI_END)
    events = framed(101, i64(0) + i32(0) * 2 + i32(100_000) + text("/") * 100_000)
    for data in (behind, at_once, many, events):
        findings.tried["greedy"] += 1
        link = session(target.node.client_port)
        pour(link, data, 0.2)
        if trouble := target.check():
            findings.add(f"while a client asks for much ({data[:60].hex()}): {trouble}")
        link.close()


OTHERS: tuple[Callable[[Target, random.Random, Findings], None], ...] = (
    strangers,
    never_reads,
    drips,
    bounds,
    holders,
    greedy,
)


# ---------------------------------------------------------------------------------------------------- campaigns


def tidy(target: Target) -> None:
    """Take away what scripts made, so that memory tells of harm and not of data."""
    link = session(target.node.client_port)

    def remove(path: str) -> None:
        error, source = link.call(8, text(path) + b"\0")
        for name in [source.text() for _ in range(source.i32())] if error == OK else []:
            remove(f"{path}/{name}")
        if path != ROOT:
            link.call(2, text(path) + i32(-1))

    # Scripts may have taken everybody's rights away.
    link.zxid = -1
    if link.call(100, i32(0) + text("digest") + buf(SUPER))[0] != OK:
        raise Violation("no super user")
    remove(ROOT)
    remove("/zookeeper/quota/fuzz")
    link.call(CLOSE, b"")
    link.close()


def campaign(
    kind: str,
    seed: int,
    *,
    scripts: int = 0,
    minutes: float = 0.0,
    against: str = "",
    others: bool = True,
    reader: str = "",
) -> Findings:
    """Fuzz a server of this kind until so many scripts were played, or so long.

    against: compare answers with it. reader: let it read the files afterwards.
    """
    findings = Findings()
    kinds = [kind, *([against] if against else [])]
    gentle = any(one.startswith("apache") for one in kinds)
    options = [
        f"DigestAuthenticationProvider.superDigest={SUPER_DIGEST}",
        "maxSessionTimeout=40000",
        "snapCount=1000",
        "preAllocSize=1024",
    ]
    with contextlib.ExitStack() as stack:
        targets = []
        for one in kinds:
            ensemble = stack.enter_context(Ensemble([one], extra=options))
            targets.append(Target(ensemble, ensemble[1]))
        rng = random.Random(seed)
        until = time.monotonic() + 60 * minutes
        number = 0
        while number < scripts or time.monotonic() < until:
            results = [play_script(target, seed, number, findings, gentle=gentle) for target in targets]
            if None in results and not targets[0].node.alive():
                findings.add(f"script {seed}/{number - 1} or {number}: {targets[0].check()}")
                return findings
            first, *others_played = results
            for other in others_played:
                words = differing(seed, number, first, other, gentle=gentle) if first and other else ""
                if words:
                    findings.add(f"script {seed}/{number}: {words}")
                if first is None or first.closed or words:
                    # Which of the last writes took place is chance, and from here on their trees may differ.
                    for target in targets:
                        tidy(target)
            number += 1
            if number % 50 == 0:
                for target in targets:
                    tidy(target)
            if others and number % 50 == 0:
                rng.choice(OTHERS)(targets[0], rng, findings)
            if number % 20 == 0 and (trouble := targets[0].check()):
                findings.add(f"after script {seed}/{number - 1}: {trouble}")
            if number % 2000 == 0:
                print(f"{number} scripts: {findings}", flush=True)
        if trouble := targets[0].restart(reader):
            findings.add(trouble)
        findings.rss_kb = (targets[0].rss_start, targets[0].rss_most, targets[0].rss())
    return findings


def differing(seed: int, number: int, first: Played, other: Played, *, gentle: bool) -> str:
    """The first request that was answered in two ways; "" if there is none.

    Where a connection was closed, which of the last answers still left it is chance.
    """
    requests = script(seed, number, gentle=gentle)
    for n, (_, op, body) in enumerate(requests):
        one, its = first.answers.get(n), other.answers.get(n)
        if one != its and None not in (one, its):
            return f"request {n}, op {op}, {body.hex()[:600]}: {one} and {its}"
    # Apache answers some of what comes behind an operation that ends the connection; how much is chance.
    if first.closed == other.closed or any(op not in QUEUED - {CLOSE} for _, op, _ in requests):
        return ""
    closed, answers = ("first", first.answers) if first.closed else ("other", other.answers)
    n = next((n for n in range(len(requests)) if n not in answers), len(requests) - 1)
    return f"closed by the {closed} only, at request {n}, op {requests[n][1]}, {requests[n][2].hex()[:600]}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Send a server what nobody ought to send.")
    parser.add_argument("--kind", default="zktw")
    parser.add_argument("--against", default="", help="a second server whose answers are compared")
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--scripts", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.getrandbits(32))
    parser.add_argument("--requests-only", action="store_true")
    parser.add_argument("--reader", default="", help="a server that must be able to read the files afterwards")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    findings = campaign(
        options.kind,
        options.seed,
        scripts=options.scripts,
        minutes=options.minutes,
        against=options.against,
        others=not options.requests_only,
        reader=options.reader,
    )
    print(f"{options.kind}: {findings}, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
