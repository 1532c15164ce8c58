"""zktw check: read all that a server would start with, and what it would fall back on; nothing is changed."""

import argparse
from typing import Any

from zktw.storage.recovery import Rules, recover
from zktw.terms.errors import StorageError
from zktw.tools.common import Progress, ReadOnlyFiles, add_directories, add_maxbuffer, add_progress, directories, hexed
from zktw.tools.inspection import Inspection, Report
from zktw.tree.database import Database

EXPLANATION = """\
zktw check /var/lib/zookeeper                all of it: snapshots, logs, epochs, digests, then a start
zktw check --quick /data /logs               only what a start would read

A server that runs may add to what is being read; check a copy, or look at what is told of the newest log with that in
mind. What a crash leaves behind (a last entry cut off, a snapshot not written to its end) is a note, as are numbers
that the log leaves out; what a start would refuse, what it could not fall back on, and a tree that is not what its
makers had, is damage.

Exit status: 0 no damage (with --strict: no notes either), 1 damage, 2 a wrong call.
"""


def add_parser(commands: Any) -> None:
    """The subcommand's options."""
    parser = commands.add_parser(
        "check",
        help="check a server's data directory",
        epilog=EXPLANATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_directories(parser)
    parser.add_argument("--quick", action="store_true", help="read no more than a start would")
    parser.add_argument("--strict", action="store_true", help="exit status 1 for notes too")
    parser.add_argument("--json", action="store_true", help="one JSON object with all of it")
    parser.add_argument(
        "--emulate353", action="store_true", help="the server has emulate353TTLNodes=true (as zoo.cfg says)"
    )
    add_progress(parser)
    add_maxbuffer(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """The subcommand itself."""
    progress = Progress(options.progress)
    files = ReadOnlyFiles(progress)
    datadir = directories(options, files)
    report = Report(progress, options.json)

    def make_database() -> Database:
        return Database(extended_types=True, emulate_353=options.emulate353)

    try:
        # Tells of directories that were swapped; both are there.
        datadir.prepare(autocreate=True)
    except StorageError as error:
        report.damage(str(error))
    if not options.quick:
        Inspection(datadir, report, make_database, options.maxbuffer).run()
    # A server outside of an ensemble has none, and a start of it makes none.
    epochs = any(files.exists(f"{datadir.snapshots}/{name}") for name in ("currentEpoch", "acceptedEpoch"))
    rules = Rules(epochs=epochs, length_max=options.maxbuffer)
    report.title("a start from here")
    try:
        recovered = recover(datadir, make_database, rules)
    except StorageError as error:
        report.damage(f"a start is refused: {error}")
        report.fact("start", {"refused": True})
        return report.end(options.strict)
    database = recovered.database
    tree = database.tree
    start = {
        "refused": False,
        "zxid": hexed(recovered.last_zxid),
        "nodes": len(tree.nodes),
        "sessions": len(database.sessions),
        "ephemerals": tree.ephemeral_count,
        "containers": len(tree.containers),
        "ttl_nodes": len(tree.ttls),
        "data_bytes": tree.data_bytes,
        "txns_replayed": recovered.txns_replayed,
        "current_epoch": recovered.current_epoch if epochs else None,
        "accepted_epoch": recovered.accepted_epoch if epochs else None,
        "digest_mismatches": database.digest_mismatches,
    }
    report.fact("start", start)
    report.line(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in start.items() if name != "refused"))
    for warning in recovered.warnings:
        report.note(f"a start would tell: {warning}")
    if database.digest_mismatches:
        report.damage(f"{database.digest_mismatches} transactions led to another tree than their maker had")
    if tree.ttls:
        report.line(f"{len(tree.ttls)} nodes have a time to live: such a server needs extendedTypesEnabled=true")
    return report.end(options.strict)
