"""zktw snapshot: the tree of a snapshot file, sums over its subtrees, and what differs between two."""

import argparse
import base64
from typing import Any

from zktw.tools.common import (
    Progress,
    ReadOnlyFiles,
    ToolError,
    add_maxbuffer,
    add_progress,
    hexed,
    print_json,
    shown,
    shown_data,
    warn,
)
from zktw.tools.snaptree import Snapshot, open_snapshot
from zktw.tree.node import data_of, unpack_node
from zktw.tree.paths import ROOT, parent_of

EXPLANATION = """\
zktw snapshot dump snapshot.3e               sessions and nodes, one a line, with their stats
zktw snapshot dump --json --data snapshot.3e.gz | jq 'select(.kind=="ephemeral")'
zktw snapshot summary snapshot.3e            nodes and bytes of the root and of what is right below it
zktw snapshot summary snapshot.3e /app --depth 2
zktw snapshot diff snapshot.3e snapshot.88   what came, went and changed

Packed files (.gz, .snappy) are read as well. Exit status: 0 all was read (diff: equal trees), 1 a file is damaged
(what stands before the damage is shown) or the trees differ, 2 a wrong call.
"""

# Fields of a node that count as a change, in the order in which they are told.
_COMPARED = (
    "kind",
    "session",
    "ttl_ms",
    "czxid",
    "ctime_ms",
    "mzxid",
    "mtime_ms",
    "pzxid",
    "version",
    "cversion",
    "aversion",
    "children",
    "bytes",
    "acl",
)


def add_parser(commands: Any) -> None:
    """The subcommand's options."""
    parser = commands.add_parser(
        "snapshot",
        help="show, sum up or compare snapshots",
        epilog=EXPLANATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    dump = verbs.add_parser("dump", help="show sessions and nodes")
    dump.add_argument("path", metavar="FILE", help="a snapshot")
    dump.add_argument("--data", action="store_true", help="show data as well, not only its size")
    dump.set_defaults(run=run_dump)
    summary = verbs.add_parser("summary", help="count nodes and bytes of subtrees")
    summary.add_argument("path", metavar="FILE", help="a snapshot")
    summary.add_argument("top", metavar="PATH", nargs="?", default=ROOT, help="begin with this node (default /)")
    summary.add_argument("--depth", type=_depth, default=1, help="how far below it to go (default 1)")
    summary.set_defaults(run=run_summary)
    diff = verbs.add_parser("diff", help="compare two snapshots")
    diff.add_argument("path", metavar="A", help="a snapshot")
    diff.add_argument("other", metavar="B", help="another")
    diff.set_defaults(run=run_diff)
    for verb in (dump, summary, diff):
        verb.add_argument("--json", action="store_true", help="one JSON object a line")
        add_progress(verb)
        add_maxbuffer(verb)


def _depth(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0")
    return int(text)


def _load(path: str, options: argparse.Namespace) -> Snapshot:
    progress = Progress(options.progress)
    try:
        return open_snapshot(path, ReadOnlyFiles(progress), options.maxbuffer)
    finally:
        progress.clear()


def _tell_defect(snapshot: Snapshot) -> int:
    """The exit status."""
    if not snapshot.defect:
        return 0
    warn(f"{snapshot.path}: {snapshot.defect}")
    return 1


# -- dump ------------------------------------------------------------------------------------------------------------


def run_dump(options: argparse.Namespace) -> int:
    """Show sessions and nodes."""
    snapshot = _load(options.path, options)
    if options.json:
        print_json(_about(snapshot))
        for session_id, timeout_ms in snapshot.sessions.items():
            print_json({"record": "session", "session": hexed(session_id), "timeout_ms": timeout_ms})
    else:
        print(_about_line(snapshot))
        for session_id, timeout_ms in snapshot.sessions.items():
            print(f"session {hexed(session_id)} timeout={timeout_ms}ms")
    # The root is lacking where the damage is before it.
    for path in snapshot.walk() if snapshot.nodes else ():
        data = data_of(snapshot.nodes[path])
        if options.json:
            fields = {"record": "node"} | snapshot.fields(path)
            if options.data:
                fields["data_base64"] = None if data is None else base64.b64encode(data).decode("ascii")
            print_json(fields)
        else:
            words = [shown(path), *snapshot.words(path)]
            if options.data and data is not None:
                words.append(f"data={shown_data(data)}")
            print(" ".join(words))
    return _tell_defect(snapshot)


def _about(snapshot: Snapshot) -> dict[str, Any]:
    ending = snapshot.ending
    return {
        "record": "snapshot",
        "file": snapshot.path,
        "zxid": hexed(snapshot.zxid) if snapshot.zxid >= 0 else None,
        "file_bytes": snapshot.size,
        "nodes": len(snapshot.nodes),
        "sessions": len(snapshot.sessions),
        "acls": len(snapshot.acls),
        "digest": None if ending.digest is None else hexed(ending.digest),
        "digest_zxid": None if ending.digest_zxid is None else hexed(ending.digest_zxid),
        "last_zxid": None if ending.last_zxid is None else hexed(ending.last_zxid),
        "whole": not snapshot.defect,
    }


def _about_line(snapshot: Snapshot) -> str:
    ending = snapshot.ending
    line = f"# {snapshot.path}: {snapshot.size} bytes, {len(snapshot.nodes)} nodes, {len(snapshot.sessions)} sessions"
    line += f", {len(snapshot.acls)} access control lists"
    if ending.digest is not None and ending.digest_zxid is not None:
        line += f", digest {hexed(ending.digest)} at {hexed(ending.digest_zxid)}"
    if ending.last_zxid is not None:
        line += f", last zxid {hexed(ending.last_zxid)}"
    return line


# -- summary ---------------------------------------------------------------------------------------------------------


def run_summary(options: argparse.Namespace) -> int:
    """Count nodes and bytes of subtrees."""
    snapshot = _load(options.path, options)
    top = options.top if options.top == ROOT else options.top.rstrip("/")
    if top not in snapshot.nodes:
        status = _tell_defect(snapshot)
        if status:
            return status
        raise ToolError(f"{options.path}: holds no node {shown(options.top)}")
    sums = _sums(snapshot, top)
    if not options.json:
        print(f"{'nodes':>12} {'data bytes':>15}  path")
    floor = _level(top)
    for path in snapshot.walk(top):
        if _level(path) - floor > options.depth:
            continue
        nodes, size = sums[path]
        if options.json:
            print_json({"path": path, "nodes": nodes, "data_bytes": size, "children": _children(snapshot, path)})
        else:
            print(f"{nodes:>12} {size:>15}  {shown(path)}")
    return _tell_defect(snapshot)


def _children(snapshot: Snapshot, path: str) -> int:
    return len(snapshot.children.get(path, ()))


def _level(path: str) -> int:
    return 0 if path == ROOT else path.count("/")


def _sums(snapshot: Snapshot, top: str) -> dict[str, tuple[int, int]]:
    """Nodes and bytes of each subtree, its own node included."""
    paths = list(snapshot.walk(top))
    sums = {path: (1, snapshot.data_bytes(path)) for path in paths}
    # A node comes before what is below it, so backwards each sum is whole when it is added to the one above.
    for path in reversed(paths[1:]):
        parent = parent_of(path)
        nodes, size = sums[path]
        more_nodes, more_size = sums[parent]
        sums[parent] = (nodes + more_nodes, size + more_size)
    return sums


# -- diff ------------------------------------------------------------------------------------------------------------


def run_diff(options: argparse.Namespace) -> int:
    """Compare two snapshots."""
    one, other = _load(options.path, options), _load(options.other, options)
    came = went = changed = 0
    for path in sorted(one.nodes.keys() | other.nodes.keys(), key=lambda path: path.split("/")):
        if path not in one.nodes:
            came += 1
            _tell("+", path, other.fields(path), None, options.json)
        elif path not in other.nodes:
            went += 1
            _tell("-", path, one.fields(path), None, options.json)
        else:
            changes = _changes(one, other, path)
            changed += bool(changes)
            if changes:
                _tell("~", path, {}, changes, options.json)
    sessions_went = [session_id for session_id in one.sessions if session_id not in other.sessions]
    sessions_came = [session_id for session_id in other.sessions if session_id not in one.sessions]
    for sign, ids in (("-", sessions_went), ("+", sessions_came)):
        for session_id in ids:
            if options.json:
                print_json({"change": sign, "session": hexed(session_id)})
            else:
                print(f"{sign} session {hexed(session_id)}")
    if not options.json:
        print(
            f"nodes: {came} came, {went} went, {changed} changed; sessions: {len(sessions_came)} came,"
            f" {len(sessions_went)} went"
        )
    damaged = _tell_defect(one) | _tell_defect(other)
    return 1 if damaged or came or went or changed or sessions_came or sessions_went else 0


def _changes(one: Snapshot, other: Snapshot, path: str) -> dict[str, tuple[Any, Any]]:
    """What is different, with both values; of data whose size is the same only that it is."""
    same_record = one.nodes[path] == other.nodes[path] and _children(one, path) == _children(other, path)
    mine, others = unpack_node(one.nodes[path]), unpack_node(other.nodes[path])
    if same_record and one.acls_of(mine) == other.acls_of(others):
        return {}
    before, after = one.fields(path), other.fields(path)
    changes = {name: (before.get(name), after.get(name)) for name in _COMPARED if before.get(name) != after.get(name)}
    if mine.data != others.data and "bytes" not in changes:
        changes["data"] = ("one", "other")
    return changes


def _tell(
    sign: str, path: str, node: dict[str, Any], changes: dict[str, tuple[Any, Any]] | None, as_json: bool
) -> None:
    if as_json:
        fields: dict[str, Any] = {"change": sign} | node | {"path": path}
        if changes is not None:
            fields["fields"] = {name: list(values) for name, values in changes.items()}
        print_json(fields)
        return
    words = [f"{name}:{_word(before)}->{_word(after)}" for name, (before, after) in (changes or {}).items()]
    if node:
        words = [f"czxid={node['czxid']}", f"mzxid={node['mzxid']}", f"bytes={_word(node['bytes'])}"]
    print(" ".join([sign, shown(path), *words]))


def _word(value: Any) -> str:
    if isinstance(value, list):
        return shown(",".join(value))
    return "none" if value is None else shown(str(value))
