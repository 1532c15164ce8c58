"""zktw purge: remove old snapshots, and the logs that none of those left needs. A server may run meanwhile."""

import argparse
from functools import partial
from typing import Any

from zktw.storage.files import RealFiles
from zktw.tools.common import Progress, ReadOnlyFiles, add_directories, directories, print_json

EXPLANATION = """\
zktw purge /var/lib/zookeeper --dry-run      what would go
zktw purge /data /logs --keep 5              keep the five newest snapshots that are whole

A log is kept as long as a snapshot that is kept needs it. Where no snapshot is whole nothing is removed.
Exit status: 0 done, 1 a file could not be removed, 2 a wrong call.
"""

# As Apache's autopurge has it: with fewer, one damaged snapshot leaves little to go back to.
KEEP_MIN = 3


def add_parser(commands: Any) -> None:
    """The subcommand's options."""
    parser = commands.add_parser(
        "purge",
        help="remove old snapshots and logs",
        epilog=EXPLANATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_directories(parser)
    parser.add_argument(
        "--keep", type=_keep, default=KEEP_MIN, metavar="N", help=f"snapshots to keep, {KEEP_MIN} or more (default 3)"
    )
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, tell what would go")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(run=run)


def _keep(text: str) -> int:
    if not text.isdecimal() or int(text) < KEEP_MIN:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {KEEP_MIN}")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """The subcommand itself."""
    files = ReadOnlyFiles(Progress(asked=False))
    datadir = directories(options, files)
    datadir.purge(options.keep)
    paths = [path for operation, path in files.changes if operation == "remove"]
    sizes = {path: files.size(path) for path in paths}
    if not options.dry_run:
        # What was found, and not found anew: a server that runs may have taken a snapshot since.
        real = RealFiles()
        for path in paths:
            datadir.guard(path, partial(real.remove, path))
    for path in paths:
        if options.json:
            print_json({"path": path, "bytes": sizes[path], "removed": not options.dry_run})
        else:
            print(f"{'would remove' if options.dry_run else 'removed'} {path} ({sizes[path]} bytes)")
    if not options.json:
        verb = "would go" if options.dry_run else "removed"
        print(f"{len(paths)} files {verb}, {sum(sizes.values())} bytes")
    return 0
