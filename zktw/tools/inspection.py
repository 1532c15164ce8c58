"""All snapshots and logs of a directory, whether a start needs them or not: the work of zktw check."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zktw.storage.datadir import DataDir, zxid_of_name
from zktw.storage.logformat import End
from zktw.storage.snapformat import Ending, read_snapshot
from zktw.terms.errors import StorageError, WireError
from zktw.terms.zxid import counter_of, epoch_of
from zktw.tools.common import Progress, chunks_of, hexed, print_json
from zktw.tree.database import Database
from zktw.wire.txn import decode_txn

_TOLD_MAX = 10


class Report:
    """What was found, told at once or, as JSON, at the end: facts, notes and damage."""

    def __init__(self, progress: Progress, as_json: bool) -> None:
        self._progress = progress
        self._json = as_json
        self._facts: dict[str, Any] = {}
        self._notes: list[str] = []
        self._damage: list[str] = []

    def title(self, text: str) -> None:
        """What the next lines are about."""
        self._print(f"{text}:")

    def line(self, text: str) -> None:
        """A fact for a person."""
        self._print(f"  {text}")

    def fact(self, name: str, value: Any) -> None:
        """A fact for a script."""
        self._facts[name] = value

    def note(self, text: str) -> None:
        """Something to know of, which harms nothing."""
        if text not in self._notes:
            self._notes.append(text)
            self._print(f"  note: {text}")

    def damage(self, text: str) -> None:
        """Something that is wrong."""
        if text not in self._damage:
            self._damage.append(text)
            self._print(f"  DAMAGE: {text}")

    def end(self, strict: bool) -> int:
        """Sum up; the exit status."""
        self._progress.clear()
        if self._json:
            print_json(self._facts | {"notes": self._notes, "damage": self._damage})
        elif self._damage:
            print(f"damaged: {len(self._damage)} findings, {len(self._notes)} notes")
        else:
            print(f"no damage, {len(self._notes)} notes")
        return 1 if self._damage or (strict and self._notes) else 0

    def _print(self, text: str) -> None:
        self._progress.clear()
        if not self._json:
            print(text)


@dataclass(frozen=True, slots=True)
class _Gap:
    """The log leaves numbers out between these two."""

    before: int
    after: int
    place: str


class Inspection:
    """One inspection under way."""

    def __init__(self, datadir: DataDir, report: Report, make_database: Callable[[], Database], maxbuffer: int) -> None:
        self._datadir = datadir
        self._report = report
        self._make_database = make_database
        self._maxbuffer = maxbuffer
        # Of snapshots that are whole, oldest first.
        self._endings: dict[str, Ending] = {}
        self._gaps: list[_Gap] = []

    def run(self) -> None:
        """Each snapshot by itself, each log by itself, then how they hang together."""
        self._snapshots()
        self._logs()
        self._replay()

    # -- snapshots ---------------------------------------------------------------------------------------------------

    def _snapshots(self) -> None:
        directory = self._datadir.snapshots
        self._report.title(f"snapshots in {directory}")
        facts = []
        for name in self._datadir.snapshot_names():
            path = f"{directory}/{name}"
            fact: dict[str, Any] = {"name": name, "whole": False}
            facts.append(fact)
            try:
                self._snapshot(name, path, fact)
            except WireError as error:
                self._report.damage(f"{path}: {error}")
            except StorageError as error:
                self._report.damage(str(error))
        if not facts:
            self._report.line("none")
        self._report.fact("snapshots", facts)

    def _snapshot(self, name: str, path: str, fact: dict[str, Any]) -> None:
        """Load one, and let go of it: a tree may fill half of the memory."""
        if not self._datadir.is_whole(name):
            # The crash of its writer; nothing was lost by it, since the log goes on.
            self._report.note(f"{path}: was not written to its end")
            return
        database, ending = self._load(name)
        self._endings[name] = ending
        fact |= {"whole": True, "nodes": len(database.tree.nodes), "sessions": len(database.sessions)}
        words = f"{name}: whole, {fact['nodes']} nodes, {fact['sessions']} sessions"
        if ending.digest is not None and ending.digest_zxid is not None:
            fact |= {"digest": hexed(ending.digest), "digest_zxid": hexed(ending.digest_zxid)}
            words += f", digest {fact['digest']} at {fact['digest_zxid']}"
        self._report.line(words)
        if 0 < (ending.digest_zxid or 0) == zxid_of_name(name) and database.tree.digest != ending.digest:
            self._report.damage(f"{path}: its tree's digest is {hexed(database.tree.digest)}, not {fact.get('digest')}")

    def _load(self, name: str) -> tuple[Database, Ending]:
        database = self._make_database()
        chunks = chunks_of(f"{self._datadir.snapshots}/{name}", self._datadir.files)
        ending = read_snapshot(name, chunks, database.parser(self._maxbuffer))
        database.settle(zxid_of_name(name))
        return database, ending

    # -- logs --------------------------------------------------------------------------------------------------------

    def _logs(self) -> None:
        directory = self._datadir.logs
        self._report.title(f"logs in {directory}")
        facts: list[dict[str, Any]] = []
        names = self._datadir.log_names()
        last = -1
        for name in names:
            fact: dict[str, Any] = {"name": name, "txns": 0, "first": None, "last": None}
            facts.append(fact)
            try:
                last = self._log(name, name == names[-1], last, fact)
            except StorageError as error:
                fact["end"] = "damaged"
                self._report.damage(str(error))
        if not names:
            self._report.line("none")
        elif sum(fact["txns"] for fact in facts) and len(self._gaps) > _TOLD_MAX:
            self._report.note(f"{directory}: {len(self._gaps)} gaps in all")
        self._report.fact("logs", facts)

    def _log(self, name: str, newest: bool, last: int, fact: dict[str, Any]) -> int:
        """Read one through; the zxid of its last transaction, or the one before it where it has none."""
        path = f"{self._datadir.logs}/{name}"
        reader = self._datadir.log_reader(name)
        for offset, zxid, payload in reader.entries():
            place = f"{path} at byte {offset}"
            try:
                decode_txn(payload, len(payload))
            except WireError as error:
                self._report.damage(f"{place}: transaction {hexed(zxid)} cannot be read: {error}")
            if not fact["txns"]:
                fact["first"] = hexed(zxid)
                if zxid != zxid_of_name(name):
                    self._report.damage(f"{place}: begins with {hexed(zxid)}, not with the number in its name")
            fact["txns"] += 1
            fact["last"] = hexed(zxid)
            self._look_for_gap(last, zxid, place)
            last = zxid
        fact["end"] = reader.end.value
        self._report.line(
            f"{name}: {fact['txns']} transactions"
            + (f", {fact['first']} to {fact['last']}" if fact["txns"] else "")
            + (f", {reader.end.value}" if reader.end is not End.CLEAN else "")
        )
        told = f"{path}: at byte {reader.end_offset}: {reader.defect}"
        if reader.end is End.UNBORN or (newest and reader.end is not End.CLEAN):
            self._report.note(f"{told}; a crash came before it was acknowledged, and a start takes it away")
        elif reader.end is End.CUT_OFF:
            self._report.note(f"{told}; Apache's servers leave that behind, if the next log goes on from there")
        elif reader.end is End.GARBAGE:
            self._report.damage(f"{told}, and it is not the newest log")
        return last

    def _look_for_gap(self, last: int, zxid: int, place: str) -> None:
        if last < 0:
            return
        if zxid <= last:
            # The last entry of a file that was cut off may come again in the next; any other is out of its place.
            if zxid < last:
                self._report.damage(f"{place}: {hexed(zxid)} comes after {hexed(last)}")
            return
        same = epoch_of(zxid) == epoch_of(last)
        if counter_of(zxid) == (counter_of(last) + 1 if same else 1):
            return
        self._gaps.append(_Gap(last, zxid, place))
        if len(self._gaps) <= _TOLD_MAX:
            self._report.note(f"{place}: {hexed(zxid)} follows {hexed(last)}: what was between them is missing")

    # -- together ----------------------------------------------------------------------------------------------------

    def _replay(self) -> None:
        """From the oldest snapshot behind which nothing is missing: each digest on the way must be right."""
        whole = list(self._endings)
        if not whole:
            return
        after = self._gaps[-1].after if self._gaps else -1
        base = next((name for name in whole if zxid_of_name(name) >= after), whole[-1])
        self._report.title(f"replay from {base}")
        database, ending = self._load(base)
        if ending.digest_zxid is not None and ending.digest_zxid > database.last_zxid:
            database.fuzzy_until = ending.digest_zxid
        replay = _Replay(database, self._report, self._sealed(after=zxid_of_name(base)))
        names = self._datadir.log_names()
        before = [name for name in names if zxid_of_name(name) <= database.last_zxid]
        try:
            for name in before[-1:] + names[len(before) :]:
                reader = self._datadir.log_reader(name)
                for offset, zxid, payload in reader.entries():
                    if zxid > database.last_zxid:
                        replay.take(f"{self._datadir.logs}/{name} at byte {offset}", payload)
        except WireError as error:
            self._report.damage(f"the replay ends early: {error}")
        except StorageError as error:
            self._report.damage(str(error))
        self._report.line(
            f"{replay.txns} transactions, up to {hexed(database.last_zxid)}; {replay.compared} digests compared,"
            f" {replay.mismatches} differ; {replay.snapshots} digests of later snapshots compared,"
            f" {replay.snapshots_differ} differ"
        )
        self._report.fact(
            "replay",
            {
                "from": base,
                "txns": replay.txns,
                "last_zxid": hexed(database.last_zxid),
                "digests_compared": replay.compared,
                "digests_differ": replay.mismatches,
                "snapshots_compared": replay.snapshots,
                "snapshots_differ": replay.snapshots_differ,
            },
        )

    def _sealed(self, after: int) -> dict[int, list[tuple[str, int]]]:
        """Names and digests of snapshots by the zxid that they are of."""
        sealed: dict[int, list[tuple[str, int]]] = {}
        for name, ending in self._endings.items():
            zxid = ending.digest_zxid
            if zxid is not None and ending.digest is not None and zxid > after:
                sealed.setdefault(zxid, []).append((name, ending.digest))
        return sealed


class _Replay:
    """A database as the log moves it, beside what others had at the same zxid."""

    def __init__(self, database: Database, report: Report, sealed: dict[int, list[tuple[str, int]]]) -> None:
        self.txns = 0
        self.compared = 0
        self.mismatches = 0
        self.snapshots = 0
        self.snapshots_differ = 0
        self._database = database
        self._report = report
        self._sealed = sealed

    def take(self, place: str, payload: bytes) -> None:
        """The next transaction. WireError: it cannot be read."""
        database = self._database
        header, txn, digest = decode_txn(payload, len(payload))
        database.apply(header, txn)
        database.tree.take_events()
        self.txns += 1
        if digest is not None and header.zxid >= database.fuzzy_until:
            self.compared += 1
            if not database.compare_digest(header.zxid, digest):
                self.mismatches += 1
                # One that differs makes all later ones differ.
                if self.mismatches == 1:
                    self._report.damage(
                        f"{place}: after {hexed(header.zxid)} the tree's digest is {hexed(database.tree.digest)}, its"
                        f" maker's was {hexed(digest)}"
                    )
        for name, sealed in self._sealed.get(header.zxid, ()) if header.zxid >= database.fuzzy_until else ():
            self.snapshots += 1
            if sealed != database.tree.digest:
                self.snapshots_differ += 1
                self._report.damage(
                    f"{name}: its digest at {hexed(header.zxid)} is {hexed(sealed)}, replay of the log gives"
                    f" {hexed(database.tree.digest)}"
                )
