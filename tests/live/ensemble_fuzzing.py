"""Malformed requests of every opcode to every member of an ensemble, ours and Apache's in any mix: it must not mind.

Two kinds of input: a catalogue, which damages each field of each request in every way once, and the random scripts of
fuzzing.py. After each batch every member must take a write that all others then read, nobody may have ended or changed
its role, and sessions beside the sender's must live on the connections they have.

By hand: python tests/live/ensemble_fuzzing.py --kinds zktw,zktw,apache39 --leader zktw --requests 10000 --seed 1
"""

import argparse
import contextlib
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ensemble import Ensemble, Node
from fuzzing import (
    CLOSE,
    GRAMMAR,
    INTS,
    LONGS,
    MULTI,
    MULTI_OPS,
    MULTIREAD,
    READ_OPS,
    ROOT,
    SENTINEL,
    STRANGE,
    SUPER,
    SUPER_DIGEST,
    SYNC,
    close,
    forget,
    play,
    script,
)
from kills import (
    CREATE2,
    GETDATA,
    MULTI_END,
    NODEEXISTS,
    OK,
    OPEN_ACL,
    SETDATA,
    Link,
    Source,
    Violation,
    buf,
    i32,
    i64,
    text,
)

TICK_MS = 500
VERBOSE = bool(os.environ.get("ZKTW_VERBOSE"))
ANSWER_S = 10.0
SESSION_MS = 40_000
WITNESSES = "/witnesses"
QUOTAS = b"/zookeeper/quota/"
EXISTS, AUTH, DELETE, GETCHILDREN = 3, 100, 2, 8
OPTIONS = (
    "maxSessionTimeout=40000",
    f"DigestAuthenticationProvider.superDigest={SUPER_DIGEST}",
    "extendedTypesEnabled=true",
    "snapCount=2000",
    "preAllocSize=1024",
)
Request = tuple[str, int, bytes]


# ------------------------------------------------------------------------------------------------------ the catalogue


def sound(kind: str) -> bytes:
    """A field that nothing is wrong with."""
    match kind:
        case "s":
            return text(f"{ROOT}/a")
        case "d":
            return buf(b"data")
        case "a":
            return OPEN_ACL
        case "i":
            return i32(0)
        case "l":
            return i64(-1)
        case "b":
            return b"\0"
    return i32(1) + text(f"{ROOT}/a")


def spoiled(kind: str) -> Iterator[tuple[str, bytes]]:
    """A field with all that can be wrong with it."""
    whole = sound(kind)
    yield "absent", b""
    yield "half", whole[: len(whole) // 2]
    if kind in "sdav":
        for length in (-1, -2, -(2**31), 0xFFFFF, 0x200000, 2**31 - 1):
            yield f"length {length}", i32(length) + whole[4:]
        yield "null", i32(-1)
    if kind == "s":
        for name in STRANGE:
            yield f"{str(name)[:30]!r}", buf(None if name is None else name.encode("utf-8", "surrogatepass"))
        yield "no utf-8", buf(b"/\xff\xfe\x80\xc0\xaf")
    elif kind == "a":
        yield "empty", i32(0)
        for scheme, identity in (("x", "y"), ("digest", ""), (None, None), ("auth", None), ("ip", "1.2.3.4/99")):
            for perms in (31, 0, -1):
                yield f"{perms} {scheme} {identity}", i32(1) + i32(perms) + text(scheme) + text(identity)
    elif kind == "i":
        for number in INTS:
            yield f"{number}", i32(number)
    elif kind == "l":
        for number in LONGS:
            yield f"{number}", i64(number)
    elif kind == "b":
        yield "255", b"\xff"


def records(op: int) -> Iterator[tuple[str, bytes]]:
    """Bodies of one opcode, each with one thing wrong."""
    fields = GRAMMAR[op]
    whole = [sound(kind) for kind in fields]
    yield "sound", b"".join(whole)
    yield "empty", b""
    yield "more behind it", b"".join(whole) + bytes(20)
    for at, kind in enumerate(fields):
        for what, data in spoiled(kind):
            yield f"field {at} ({kind}) {what}", b"".join([*whole[:at], data, *whole[at + 1 :]])
        yield f"ends before field {at}", b"".join(whole[:at])
        yield f"ends within field {at}", b"".join(whole[:at]) + whole[at][: len(whole[at]) // 2]


def head(op: int, done: int = 0) -> bytes:
    return i32(op) + bytes([done]) + i32(-1)


def multis(op: int) -> Iterator[tuple[str, bytes]]:
    """Multis, or multiReads, of one part that has one thing wrong, and wrong ones as such."""
    first = head(SETDATA) + text(ROOT) + buf(b"x") + i32(-1) if op == MULTI else head(GETDATA) + text(ROOT) + b"\0"
    yield "empty", b""
    yield "no parts", MULTI_END
    yield "no end", first
    yield "half an end", first + MULTI_END[:5]
    yield "end that is not done", first + i32(-1) + b"\0" + i32(-1)
    yield "more behind the end", first + MULTI_END + bytes(40)
    yield "within itself", head(op) + first + MULTI_END + MULTI_END
    for other in (*GRAMMAR, MULTI, MULTIREAD, 2**31 - 1, -(2**31)):
        yield f"head of {other} alone", first + head(other)
        yield f"head of {other} that is done", head(other, 1)
        if other in GRAMMAR and other not in (*MULTI_OPS, *READ_OPS):
            yield f"part {other}", first + head(other) + b"".join(map(sound, GRAMMAR[other])) + MULTI_END
    for part in MULTI_OPS if op == MULTI else READ_OPS:
        for what, body in records(part):
            yield f"part {part}, {what}", first + head(part) + body + MULTI_END
            yield f"only part {part}, {what}", head(part) + body + MULTI_END


def catalogue() -> list[Request]:
    """All of it: what is wrong, opcode, body."""
    found: list[Request] = []
    for op in GRAMMAR:
        found += [(f"op {op}: {what}", op, body) for what, body in records(op)]
    for op in (MULTI, MULTIREAD):
        found += [(f"op {op}: {what}", op, body) for what, body in multis(op)]
    for op in (*INTS, 23, 108, 1000):
        if op not in GRAMMAR and op not in (MULTI, MULTIREAD):
            found += [(f"op {op}: unknown", op, body) for body in (b"", text(ROOT), bytes(64))]
    return found


# ------------------------------------------------------------------------------------------------------- the ensemble


@dataclass
class Report:
    """What was tried, what came of it, what went wrong."""

    tried: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)

    def add(self, what: str) -> None:
        self.found.append(what)
        print(f"FOUND {what[:3000]}", flush=True)

    def __str__(self) -> str:
        return (
            f"{self.tried.total()} requests {dict(self.tried)}, outcomes {dict(self.outcomes.most_common(12))}, "
            f"{len(self.found)} findings"
        )


class Members:
    """A running ensemble, with a witness session on each member."""

    def __init__(self, ensemble: Ensemble, answer_s: float = ANSWER_S) -> None:
        self.ensemble = ensemble
        self.written = 0
        self.log_read = {node.sid: len(node.log_text()) for node in ensemble.nodes}
        self.modes = {node.sid: node.mode() for node in ensemble.nodes}
        self.pids = {node.sid: node.process.pid for node in ensemble.nodes if node.process is not None}
        self.witnesses: dict[int, Link] = {}
        for node in ensemble.nodes:
            link = self.witnesses[node.sid] = Link(node.client_port, answer_s)
            if not link.open(SESSION_MS):
                raise Violation(f"no session at server {node.sid}")
        for path in (ROOT, WITNESSES, *(f"{WITNESSES}/{node.sid}" for node in ensemble.nodes)):
            error, _ = self.witnesses[1].call(CREATE2, text(path) + buf(b"0") + OPEN_ACL + i32(0))
            if error not in (OK, NODEEXISTS):
                raise Violation(f"create {path}: {error}")
        for node in ensemble.nodes:
            # Each witness has a watch on what its neighbour writes.
            neighbour = 1 + node.sid % len(ensemble.nodes)
            link = self.witnesses[node.sid]
            if link.call(SYNC, text("/"))[0] != OK:
                raise Violation("no sync")
            if link.call(GETDATA, text(f"{WITNESSES}/{neighbour}") + b"\1")[0] != OK:
                raise Violation(f"{WITNESSES}/{neighbour} cannot be read at server {node.sid}")

    def close(self) -> None:
        """Let go of the witnesses."""
        for link in self.witnesses.values():
            link.close()

    def check(self) -> str:
        """What is wrong with the ensemble; "" if nothing."""
        for node in self.ensemble.nodes:
            if not node.alive():
                return f"server {node.sid} ({node.kind}) ended:\n{node.log_text()[-2500:]}"
        self.written += 1
        for sid, link in self.witnesses.items():
            began = time.monotonic()
            try:
                if trouble := self._write_and_look(sid, link):
                    return f"at server {sid} ({self.ensemble[sid].kind}): {trouble}"
            except (OSError, Violation) as error:
                return f"the witness at server {sid} ({self.ensemble[sid].kind}): {error!r}"
            if (took := time.monotonic() - began) > ANSWER_S / 2:
                return f"the witness at server {sid} waited {took:.1f} s"
        modes = {node.sid: node.mode() for node in self.ensemble.nodes}
        if modes != self.modes:
            return f"roles were {self.modes} and are {modes}"
        return self._trouble_in_logs()

    def _write_and_look(self, sid: int, link: Link) -> str:
        """A write here; then all others have it, behind a sync, and the watch of the one before has told of it."""
        value = b"%d" % self.written
        path = f"{WITNESSES}/{sid}"
        link.send(i32(1) + i32(SETDATA) + text(path) + buf(value) + i32(-1))
        if (error := link.reply(1)[0]) != OK:
            return f"the write is answered {error}"
        for other, its in self.witnesses.items():
            try:
                trouble = self._look(other, its, path, value, watches=1 + other % len(self.witnesses) == sid)
            except (OSError, Violation) as error:
                trouble = f"server {other} ({self.ensemble[other].kind}) does not show it: {error!r}"
            if trouble:
                return trouble
        return ""

    def _look(self, sid: int, link: Link, path: str, value: bytes, *, watches: bool) -> str:
        """Wait until a member shows this; whoever watches hears of it before. A leader of Apache's may lag behind."""
        told = False
        until = time.monotonic() + ANSWER_S
        while time.monotonic() < until:
            link.send(i32(2) + i32(SYNC) + text(path), i32(3) + i32(GETDATA) + text(path) + bytes([watches]))
            for xid in (2, 3):
                source = Source(link.frame())
                while (got := source.i32()) == -1:
                    told = True
                    source = Source(link.frame())
                source.i64()
                if got != xid or source.i32() != OK:
                    return f"server {sid} answers {source.frame!r}"
            if source.buf() == value:
                return "" if told or not watches else f"no event at server {sid}"
        return f"server {sid} does not come to show {value!r}"

    def _trouble_in_logs(self) -> str:
        for node in self.ensemble.nodes:
            said = node.log_text()[self.log_read[node.sid] :]
            self.log_read[node.sid] += len(said)
            signs = ("Traceback (most recent", "Unhandled") if node.kind == "zktw" else ("OutOfMemory", "Severe unrec")
            for sign in signs:
                if sign in said:
                    at = said.index(sign)
                    return f"the log of server {node.sid} says {said[max(at - 300, 0) : at + 2500]}"
        return ""

    def role(self, role: str, kind: str) -> Node | None:
        """A member of this kind in this role."""
        return next((n for n in self.ensemble.nodes if n.kind == kind and self.modes[n.sid] == role), None)


def start_led_by(ensemble: Ensemble, kind: str) -> None:
    """Start all so that one of this kind leads: the voters of it, with the highest sids, are there first."""
    first = [node for node in ensemble.nodes if node.kind == kind and not node.observer]
    others = [node for node in ensemble.nodes if node not in first and not node.observer]
    majority = (len(first) + len(others)) // 2 + 1
    # The highest sid leads when all come with nothing: who must not lead comes last.
    helpers = sorted(others, key=lambda node: node.sid)[: max(0, majority - len(first))]
    ensemble.start(*first, *helpers)
    ensemble.wait_serving(*first, *helpers)
    ensemble.start()
    ensemble.wait_serving()
    leader = ensemble.wait_leader()
    if leader.kind != kind:
        raise RuntimeError(f"server {leader.sid} ({leader.kind}) leads, not one of kind {kind}")


# ----------------------------------------------------------------------------------------------------------- requests


def send_alone(port: int, op: int, body: bytes, answer_s: float = 3.0) -> str:
    """One request on a session of its own; how it was met: an error code, "closed", or "nothing"."""
    link = Link(port, answer_s)
    outcome = ""
    try:
        if not link.open(4000):
            return "no session"
        link.send(i32(1) + i32(op) + body, i32(SENTINEL) + i32(EXISTS) + text("/") + b"\0")
        while True:
            source = Source(link.frame())
            xid, _, error = source.i32(), source.i64(), source.i32()
            if xid == SENTINEL:
                close(link)
                return outcome or "passed over"
            if xid != -1:
                outcome = str(error)
    except TimeoutError:
        return outcome or "nothing"
    except ConnectionError:
        with contextlib.suppress(OSError, Violation):
            forget(port, link)
        return "closed"
    finally:
        link.close()


def tidy(port: int) -> None:
    """Take away what the requests made."""
    link = Link(port, ANSWER_S)
    if not link.open(4000):
        raise Violation("no session")

    def remove(path: str) -> None:
        error, source = link.call(GETCHILDREN, text(path) + b"\0")
        for name in [source.text() for _ in range(source.i32())] if error == OK else []:
            remove(f"{path}/{name}")
        if path != ROOT:
            link.call(DELETE, text(path) + i32(-1))

    # Scripts may have taken everybody's rights away.
    link.zxid = -1
    if link.call(AUTH, i32(0) + text("digest") + buf(SUPER))[0] != OK:
        raise Violation("no super user")
    remove(ROOT)
    remove("/zookeeper/quota/fuzz")
    link.call(CLOSE, b"")
    link.close()


def run_catalogue(members: Members, node: Node, report: Report, requests: Sequence[Request], every: int = 25) -> bool:
    """All of these to one member; whether the ensemble is well afterwards."""
    batch: list[str] = []
    for n, (what, op, body) in enumerate(requests, 1):
        outcome = send_alone(node.client_port, op, body)
        report.tried[f"{node.kind} {members.modes[node.sid]}"] += 1
        report.outcomes[outcome] += 1
        if node.kind == "zktw" and outcome in ("nothing", "no session"):
            report.add(f"server {node.sid}, {what}, {body.hex()[:300]}: {outcome}")
        batch.append(f"{what} {body.hex()[:200]} -> {outcome}")
        if n % every == 0 or n == len(requests):
            if trouble := members.check():
                print(members.ensemble.logs(), flush=True)
                report.add(f"{trouble[:1000]}: at server {node.sid} ({members.modes[node.sid]}) after {batch}")
                return False
            batch.clear()
    tidy(node.client_port)
    return True


def run_scripts(
    members: Members, node: Node, report: Report, seed: int, numbers: range, *, gentle: bool, quotas: bool = True
) -> bool:
    """Random scripts to one member; whether the ensemble is well afterwards."""
    for number in numbers:
        requests = [one for one in script(seed, number, gentle=gentle) if quotas or QUOTAS not in one[2]]
        report.tried[f"{node.kind} {members.modes[node.sid]}"] += len(requests)
        try:
            played = play(node.client_port, requests)
            report.outcomes.update(str(error) for error, *_ in played.answers.values())
            report.outcomes["closed"] += played.closed
        except (Violation, TimeoutError, OSError, AssertionError) as error:
            # What an Apache member does to whoever sends it such things is its own affair.
            if VERBOSE:
                print(f"{node.kind} {seed}/{number}: {error!r}", flush=True)
            if node.kind == "zktw":
                sent = [(xid, op, body.hex()[:200]) for xid, op, body in requests]
                report.add(f"server {node.sid} ({members.modes[node.sid]}), script {seed}/{number}: {error!r}: {sent}")
            report.outcomes[type(error).__name__] += 1
        if (number % 5 == 0 or number == numbers[-1]) and (trouble := members.check()):
            where = f"server {node.sid} ({node.kind}, {members.modes[node.sid]})"
            print(members.ensemble.logs(), flush=True)
            report.add(f"after scripts up to {seed}/{number} at {where}: {trouble}")
            return False
        if number % 50 == 49:
            tidy(node.client_port)
    return True


def campaign(
    kinds: Sequence[str],
    observers: Sequence[str],
    leader: str,
    *,
    requests: int,
    seed: int,
    catalogued: bool = True,
    reconfig: bool = False,
    gentle: bool = False,
    quotas: bool = True,
    only: Sequence[str] = (),
) -> Report:
    """An ensemble led by this kind; each of its roles gets an equal share of so many requests.

    only: kinds and roles, as "zktw follower", to which requests go; all if empty.
    gentle: nothing is sent that stops Apache's servers, to none. quotas: texts of quotas are among it, of which one
    that is none ends every Apache server that applies a write below it. The ensemble goes with the first harm done.
    """
    report = Report()
    extra = [*OPTIONS, *(("reconfigEnabled=true", "skipACL=yes") if reconfig else ())]
    with Ensemble(kinds, observers, extra=extra, tick_ms=TICK_MS) as ensemble:
        start_led_by(ensemble, leader)
        members = Members(ensemble)
        roles = sorted({(node.kind, str(members.modes[node.sid])) for node in ensemble.nodes})
        chosen = [(kind, role) for kind, role in roles if not only or f"{kind} {role}" in only]
        for kind, role in chosen:
            node = members.role(role, kind)
            assert node is not None
            share = requests // len(chosen)
            if catalogued:
                entries = [entry for entry in catalogue() if quotas or QUOTAS not in entry[2]]
                random.Random(f"{seed}/{kind}/{role}").shuffle(entries)
                if not run_catalogue(members, node, report, entries[: share // 2]):
                    break
            number = 0
            label = f"{kind} {role}"
            while report.tried[label] < share:
                numbers = range(number, number + 50)
                if not run_scripts(members, node, report, seed, numbers, gentle=gentle, quotas=quotas):
                    return report
                number += 50
            print(f"{label}: {report}", flush=True)
        members.close()
        for node in ensemble.nodes:
            if (status := node.term()) not in (0, 143, -signal.SIGTERM):
                report.add(f"server {node.sid} ({node.kind}) ended with {status}")
    return report


# ------------------------------------------------------------------------------- what stops an ensemble of Apache's


def probe(kind: str, role: str, requests: Sequence[Request], *, reconfig: bool, budget_s: float) -> list[str]:
    """Which of these stop or shake an ensemble of this kind when sent to a member in this role; one line each."""
    found: list[str] = []
    until = time.monotonic() + budget_s
    position = 0
    extra = [*OPTIONS, *(("reconfigEnabled=true", "skipACL=yes") if reconfig else ())]
    while position < len(requests) and time.monotonic() < until:
        with Ensemble([kind] * 3, extra=extra, tick_ms=TICK_MS) as ensemble:
            ensemble.start()
            ensemble.wait_serving()
            members = Members(ensemble, 4.0)
            node = members.role(role, kind)
            assert node is not None
            while position < len(requests) and time.monotonic() < until:
                what, op, body = requests[position]
                position += 1
                outcome = send_alone(node.client_port, op, body)
                if trouble := members.check():
                    line = f"{kind} {role} {what} [{op} {body.hex()[:160]}] -> {outcome}; {trouble[:300]!r}"
                    line += f"; {aftermath(ensemble)}"
                    print(line, flush=True)
                    found.append(line)
                    break
            members.close()
    print(f"{kind} {role}: {position} of {len(requests)} tried, {len(found)} found", flush=True)
    return found


def aftermath(ensemble: Ensemble) -> str:
    """What is left of an ensemble some time after harm was done to it."""
    time.sleep(4)
    told = []
    for node in ensemble.nodes:
        state = str(node.mode()) if node.alive() else f"ended {node.process.poll() if node.process else None}"
        lines = [line for line in node.log_text().splitlines() if "Exception" in line or "ERROR" in line]
        told.append(f"server {node.sid}: {state} {[line[:200] for line in lines[-3:]]}")
    served = []
    for node in ensemble.nodes:
        with contextlib.suppress(OSError, Violation):
            link = Link(node.client_port, 3.0)
            if link.open(4000) and link.call(CREATE2, text("/after") + buf(b"") + OPEN_ACL + i32(1))[0] == OK:
                served.append(node.sid)
            link.close()
    return f"writes served by {served}; {told}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Send members of an ensemble what nobody ought to send.")
    parser.add_argument("--kinds", default="zktw,zktw,zktw")
    parser.add_argument("--observers", default="")
    parser.add_argument("--leader", default="zktw", help="the kind that is to lead")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.getrandbits(32))
    parser.add_argument("--only", default="", help='roles to send to, as "zktw follower,zktw leader"')
    parser.add_argument("--no-catalogue", action="store_true")
    parser.add_argument("--reconfig", action="store_true")
    parser.add_argument("--gentle", action="store_true")
    parser.add_argument("--no-quotas", action="store_true")
    parser.add_argument("--probe", default="", help="a kind: find out what stops an ensemble of it")
    parser.add_argument("--role", default="follower", help="for --probe")
    parser.add_argument("--ops", default="", help="for --probe: opcodes")
    parser.add_argument("--match", default="", help="for --probe: entries of the catalogue that this expression is in")
    parser.add_argument("--seconds", type=float, default=300)
    options = parser.parse_args()
    # So that whoever ends this ends its servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"seed {options.seed}", flush=True)
    if options.probe:
        wanted = {int(op) for op in options.ops.split(",") if op}
        entries = [entry for entry in catalogue() if not wanted or entry[1] in wanted]
        entries = [entry for entry in entries if re.search(options.match, entry[0])]
        probe(options.probe, options.role, entries, reconfig=options.reconfig, budget_s=options.seconds)
        return
    began = time.monotonic()
    report = campaign(
        options.kinds.split(","),
        [kind for kind in options.observers.split(",") if kind],
        options.leader,
        requests=options.requests,
        seed=options.seed,
        catalogued=not options.no_catalogue,
        reconfig=options.reconfig,
        gentle=options.gentle,
        quotas=not options.no_quotas,
        only=[role for role in options.only.split(",") if role],
    )
    print(f"{report}, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
