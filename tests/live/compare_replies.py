"""Replies of two servers brought to one form: zxids mapped, times checked against their transactions, sets sorted.

What differs between releases, and what ours does otherwise on purpose, stands in DIFFERENCES by name.
"""

import bisect
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rawclient import NO_PASSWORD, Acl, Reader, Reply, Stat, Welcome
from workload import Request

# name: why it is no mismatch, and what the run does about it.
DIFFERENCES = {
    "config stat": "/zookeeper/config takes its times from the start of the server: they are not compared",
    "order of a closed session's deletions": "its ephemerals are deleted in the order of a hash set: events of such a "
    "step are compared as a set",
    "order of auth's identities": "scheme auth expands in the order of a hash set: neighbouring digest entries "
    "are sorted",
    "event zxid": "up to 3.8 an event carries zxid -1, since 3.9 that of its transaction: not compared with a 3.8",
    "top-level check": "3.8.0 takes it and never answers: not sent to it",
    "watch types 4 and 5": "unknown to 3.8, where persistent watches answer to types 1 to 3 too: not sent to it",
    "one mode a path": "up to 3.8 a later watch mode replaces the earlier one on a path: there two paths of their own",
    "setWatches2 with modes": "the same rule of modes: not sent to a 3.8",
    "create2 in multi": "3.8.0 turns it into create, in answer and log: not sent to it",
    "bad flag in multi": "an error of that op in 3.8.0, an unreadable request since: not sent to it",
    "null path of a watch": "null paths of check/removeWatches are taken since 3.9: not sent to a 3.8",
    "exists without READ": "checked since 3.8.4 and 3.9.2, never by Debian's 3.8.0: NOAUTH counts as a Stat there",
    "checkWatches where recursive watches are": "3.8.0 says 0 in places where there is no such watch: not compared",
    "zxid of an unreadable write": "it takes one in 3.8.0, none in 3.9 (but for most multis): not sent to a 3.8",
    "null ACL in multi": "an error of that op in 3.8.0, an unreadable request since: not sent to a 3.8",
    "failed multi, unprepared": "3.8.0 adds an empty result list to a multi's error header: not compared there",
    "setACL under way": "until it is applied, Apache judges the requests behind it by the old list, as it happens: not "
    "sent in one write with others",
    "wrong password": "Apache closes the connection that the session has, for whoever tries; ours must keep it",
    "poison": "a createTTL with another kind's flag and a negative ttl kills Apache: sent to ours alone, which refuses",
    "deleteContainer by a client": "Apache executes it without any check of ACLs: sent to ours alone, which refuses",
    "createSession by a client": "Apache opens a second session: sent to ours alone, which refuses",
}
CLOCK_SLACK_MS = 5_000
CONFIG = "/zookeeper/config"


@dataclass
class View:
    """How one server's figures are named: sessions by label, zxids by the other's, times by transaction."""

    labels: dict[int, str] = field(default_factory=dict)
    # From this zxid of its own on, so much is to be added to get the first server's.
    offsets: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])
    event_zxids: bool = True
    began_ms: float = field(default_factory=lambda: time.time() * 1000)
    _times: dict[int, int] = field(default_factory=dict)

    def zxid(self, own: int) -> int:
        """The first server's zxid for this one's."""
        at = bisect.bisect_right(self.offsets, (own, 1 << 62)) - 1
        return own + self.offsets[at][1] if at >= 0 and own > 0 else own

    def own(self, other: int) -> int:
        """This server's zxid for the first one's, the other way round."""
        fitting = [other - offset for start, offset in self.offsets if other - offset >= start]
        return max(0, fitting[-1]) if fitting else other

    def drifted(self, own: int, other: int) -> None:
        """From here on, zxids are apart by another offset."""
        self.offsets.append((own, other - own))
        self.offsets.sort()

    def owner(self, session: int) -> str | int:
        """A session by its label."""
        return self.labels.get(session, session)

    def time(self, zxid: int, at_ms: int) -> str:
        """Whether this is the time of that transaction; the first one that is told must be about now."""
        if zxid <= 0:
            return "zero" if at_ms == 0 else "some"
        if zxid not in self._times:
            if not self.began_ms - CLOCK_SLACK_MS < at_ms < time.time() * 1000 + CLOCK_SLACK_MS:
                return f"of another time: {at_ms}"
            self._times[zxid] = at_ms
        known = self._times[zxid]
        return "of its zxid" if known == at_ms else f"{at_ms - known} ms off its zxid's"

    def stat(self, stat: Stat, path: str | None = None) -> tuple[object, ...]:
        """A Stat for comparison."""
        czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, length, children, pzxid = stat
        times = ("-", "-") if path == CONFIG else (self.time(czxid, ctime), self.time(mzxid, mtime))
        zxids = self.zxid(czxid), self.zxid(mzxid), self.zxid(pzxid)
        return ("stat", *zxids, *times, version, cversion, aversion, self.owner(owner), length, children)


def acl_of(reader: Reader) -> list[Acl] | None:
    """An ACL list, in which neighbours of scheme digest with equal rights are sorted."""
    acl = reader.many(reader.acl)
    if acl is None:
        return None
    groups = itertools.groupby(acl, lambda entry: (entry[0], entry[1]))
    return [
        entry for (_, scheme), group in groups for entry in (sorted(group, key=repr) if scheme == "digest" else group)
    ]


def result_of(op: int, reader: Reader, view: View, path: str | None) -> object:
    """A result's body, for a reply or for a part of a multi."""
    if op == 1:
        return (reader.text(),)
    if op in (15, 19, 21):
        return reader.text(), view.stat(reader.stat(), path)
    if op in (3, 5, 7):
        return view.stat(reader.stat(), path)
    if op in (4, 16):
        return reader.buffer(), view.stat(reader.stat(), path)
    if op == 6:
        return acl_of(reader), view.stat(reader.stat(), path)
    if op == 8:
        return sorted(map(str, reader.many(reader.text) or []))
    if op == 12:
        return sorted(map(str, reader.many(reader.text) or [])), view.stat(reader.stat(), path)
    if op == 9:
        return reader.text()
    if op == 102:
        return reader.buffer()
    if op == 103:
        return sorted(map(str, reader.many(reader.text) or []))
    if op in (104, 106):
        return reader.i32()
    if op == 107:
        pairs = reader.many(lambda: (reader.text(), reader.text()))
        return sorted(map(str, pairs or []))
    return None


def multi_results(request: Request, reader: Reader, view: View) -> tuple[object, ...]:
    """(type, err, result) for each, to the end marker."""
    results: list[object] = []
    while True:
        kind, done, err = reader.i32(), reader.boolean(), reader.i32()
        if done:
            if (kind, err) != (-1, -1):
                raise ValueError(f"an end marker of {kind}, {err}")
            return tuple(results)
        number = len(results)
        path = request.parts[number][1] if number < len(request.parts) else None
        results.append((kind, err, reader.i32() if kind == -1 else result_of(kind, reader, view, path)))


def body_of(request: Request, reply: Reply, view: View) -> object:
    """The reply's body in a form to compare: an error's as hex, an unreadable one's with the reason."""
    if reply.err != 0 and not (request.op == 22 and reply.body):
        return reply.body.hex() or None
    reader = Reader(reply.body)
    try:
        if request.op in (14, 22):
            value: object = multi_results(request, reader, view)
        else:
            value = result_of(request.op, reader, view, request.path)
        reader.end()
    except (ValueError, KeyError) as error:
        return f"unreadable ({error!r}): {reply.body.hex()}"
    return value


def reply_item(request: Request, reply: Reply, view: View) -> tuple[object, ...]:
    """A reply for comparison."""
    return ("reply", reply.xid, view.zxid(reply.zxid), reply.err, body_of(request, reply, view))


def event_item(reply: Reply, view: View) -> tuple[object, ...]:
    """A watch event for comparison."""
    reader = Reader(reply.body)
    kind, state, path = reader.i32(), reader.i32(), reader.text()
    reader.end()
    return ("event", kind, state, path, view.zxid(reply.zxid) if view.event_zxids else "-", reply.err)


def welcome_item(welcome: Welcome, view: View, known: bytes | None) -> tuple[object, ...]:
    """A ConnectResponse for comparison: the password only as whether it is the one known."""
    if welcome.password == NO_PASSWORD:
        password = "zeros"
    elif known is None:
        password = f"{len(welcome.password)} new bytes"
    else:
        password = "the same" if welcome.password == known else "another"
    session = "none" if welcome.session == 0 else view.owner(welcome.session)
    return ("welcome", welcome.protocol, welcome.timeout_ms, session, password, welcome.read_only)


def same_but_order(ours: list[tuple[object, ...]], theirs: list[tuple[object, ...]]) -> bool:
    """Whether these differ only in the order of events."""
    return sorted(map(repr, ours)) == sorted(map(repr, theirs)) and [i for i in ours if i[0] != "event"] == [
        i for i in theirs if i[0] != "event"
    ]


Excuse = Callable[[Request, tuple[object, ...], tuple[object, ...]], bool]


def legacy_excuses(request: Request, first: tuple[object, ...], second: tuple[object, ...]) -> bool:
    """What a 3.8.0 answers otherwise, beyond what is not sent to it."""
    if first[0] != "reply" or second[0] != "reply":
        return False
    errs = {first[3], second[3]}
    if (request.op == 3 and errs == {0, -102}) or (request.op == 17 and errs == {0, -121}):
        return True
    return request.op == 14 and errs == {-5}
