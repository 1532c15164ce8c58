"""zktw log: what a transaction log holds, line by line; copies that end earlier, or that can be read again."""

import argparse
import os
from typing import Any

from zktw.storage.datadir import VERSION_DIRECTORY, zxid_of_name
from zktw.storage.logformat import End, LogReader
from zktw.terms.errors import StorageError, WireError
from zktw.tools import logcopy
from zktw.tools.common import (
    Progress,
    ReadOnlyFiles,
    ToolError,
    add_progress,
    hexed,
    log_reader,
    print_json,
    warn,
    zxid_argument,
)
from zktw.tools.txnwords import header_fields, txn_fields, txn_lines
from zktw.wire.txn import decode_txn

EXPLANATION = """\
zktw log dump data/version-2/log.1           one line a transaction (a multi has one more for each part)
zktw log dump data --from 0x100 --to 0x1ff   all logs of a directory, oldest first
zktw log dump --json --data log.1 | jq .     one JSON object a line, data in base64
zktw log chop log.1 0x1f -o log.1.short      a copy that ends with this transaction
zktw log repair log.1 -o log.1.mended        a copy that can be read

Exit status: 0 all was read, 1 a log is damaged, 2 a wrong call. Damage is told on standard error with its offset.
No file that is there is ever changed. A server that runs may add to its newest log while it is read.
"""

# How a log may end, as it is told.
_ENDS = {
    End.CUT_OFF: "its last entry is cut off at byte {0}: {1}",
    End.GARBAGE: "damaged at byte {0}: {1}",
    End.UNBORN: "holds no transaction: {1}",
}


def add_parser(commands: Any) -> None:
    """The subcommand's options."""
    parser = commands.add_parser(
        "log",
        help="show, cut or repair transaction logs",
        epilog=EXPLANATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    dump = verbs.add_parser("dump", help="show transactions")
    dump.add_argument("path", metavar="FILE|DIR", help="a log, or a directory of logs (or the one with version-2)")
    dump.add_argument("--from", dest="first", type=zxid_argument, default=0, metavar="ZXID", help="begin with this")
    dump.add_argument("--to", dest="last", type=zxid_argument, default=None, metavar="ZXID", help="end with this")
    dump.add_argument("--data", action="store_true", help="show data as well, not only its size")
    dump.add_argument("--json", action="store_true", help="one JSON object a line")
    add_progress(dump)
    dump.set_defaults(run=run_dump)
    logcopy.add_verbs(verbs)


def run_dump(options: argparse.Namespace) -> int:
    """Show transactions."""
    progress = Progress(options.progress)
    files = ReadOnlyFiles(progress)
    damaged = False
    for path in _logs_of(options.path, options.first, options.last):
        reader = log_reader(path, files)
        if not options.json:
            print(f"# {path}")
        try:
            whole = _dump(reader, path, options)
            progress.clear()
        except StorageError as error:
            progress.clear()
            warn(str(error))
            whole = False
        damaged |= not whole
    return 1 if damaged else 0


def _logs_of(path: str, first: int, last: int | None) -> list[str]:
    """The file itself, or the logs in the directory that may hold something of a range, oldest first."""
    if not os.path.isdir(path):
        return [path]
    path = path.rstrip("/") or "/"
    inner = f"{path}/{VERSION_DIRECTORY}"
    directory = inner if os.path.isdir(inner) else path
    try:
        found = [name for name in os.listdir(directory) if name.startswith("log.") and zxid_of_name(name) >= 0]
    except OSError as error:
        raise ToolError(f"{directory}: {error.strerror}") from None
    if not found:
        raise ToolError(f"{directory}: holds no transaction log")
    names = sorted(found, key=zxid_of_name)
    # A log ends where the next begins.
    before = [name for name in names if zxid_of_name(name) <= first]
    needed = before[-1:] + names[len(before) :]
    return [f"{directory}/{name}" for name in needed if last is None or zxid_of_name(name) <= last]


def _dump(reader: LogReader, path: str, options: argparse.Namespace) -> bool:
    """Whether all of it could be read."""
    whole = True
    for offset, zxid, payload in reader.entries():
        if zxid < options.first:
            continue
        if options.last is not None and zxid > options.last:
            return whole
        try:
            header, txn, digest = decode_txn(payload, len(payload))
        except WireError as error:
            warn(f"{path}: damaged at byte {offset}: transaction {hexed(zxid)} cannot be read: {error}")
            whole = False
            continue
        if options.json:
            fields = header_fields(header) | txn_fields(header.type, txn, options.data)
            fields |= {"digest": None if digest is None else hexed(digest), "offset": offset}
            print_json(fields)
        else:
            print("\n".join(txn_lines(header, txn, digest, options.data)))
        # What is not asked for is not judged either.
        if zxid == options.last:
            return whole
    if reader.end is End.CLEAN:
        return whole
    warn(f"{path}: {_ENDS[reader.end].format(reader.end_offset, reader.defect)}")
    return False
