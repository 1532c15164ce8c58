"""zktw ensemble: servers of ours and of Apache's on this host, for a developer's desk; kills and revives them."""

import argparse
import fcntl
import os
import selectors
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zktw.node.clock import Clock, new_random, use_monotonic_time
from zktw.tools.common import ToolError, warn
from zktw.tools.ensemble_desk import HELP, Desk
from zktw.tools.ensemble_input import KEYS_HELP, Signals, Source
from zktw.tools.ensemble_members import (
    KINDS,
    MEMBERS_MAX,
    OWN_KEYS,
    Member,
    check_ports,
    command_of,
    config_text,
    environment_of,
    free_base_port,
    seats,
    write_logging,
)
from zktw.tools.ensemble_watch import Watch

EXPLANATION = f"""\
zktw ensemble                                    three servers on free ports, ended with q
zktw ensemble 1 --base-port 2181                 one server, outside of an ensemble
zktw ensemble 5 --observers 1 --tick 500
zktw ensemble --kinds 'apache38,zktw*2'          a mixed one (Apache's jars: Debian's or $ZK38_CP; $ZK39_LIB)
printf 'kill leader\\nwait\\nstatus\\n' | zktw ensemble 3

commands, a line each on standard input, obeyed one after the other once all have a role:
{HELP}

keys, where standard input is a terminal:
{KEYS_HELP}

"""
_LOCK = ".zktw-ensemble"
_TICK_MS = 2000


def add_parser(commands: Any) -> None:
    """The subcommand's options."""
    parser = commands.add_parser(
        "ensemble",
        help="run an ensemble on this host, and kill and revive its servers",
        description="Run servers on 127.0.0.1, tell their roles as they change, and obey. All end with this command.",
        epilog=EXPLANATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("servers", nargs="?", type=_count, metavar="N", help="voting servers (default 3)")
    parser.add_argument(
        "--kinds", type=_kinds, help=f"what each of them is, as in zktw*2,apache38: {', '.join(KINDS)} (default zktw)"
    )
    parser.add_argument(
        "--observers",
        type=_observers,
        default=[],
        metavar="N|KINDS",
        help="observers besides: how many, or of which kinds",
    )
    parser.add_argument(
        "--dir", type=Path, help="their files; a later run goes on with them (default: a temporary one)"
    )
    parser.add_argument("--keep", action="store_true", help="do not remove the temporary directory at the end")
    parser.add_argument(
        "--base-port",
        type=_port,
        metavar="P",
        help="clients at P, P+1, ...; peers 100 and 200 above (default: free ports)",
    )
    parser.add_argument("--tick", type=_tick, default=_TICK_MS, metavar="MS", help=f"tickTime (default {_TICK_MS})")
    parser.add_argument(
        "--set", type=_setting, action="append", default=[], metavar="KEY=VALUE", help="a line more in every zoo.cfg"
    )
    parser.set_defaults(run=run, refuse=parser.error)


def _number(text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {least} to {most}")
    return int(text)


def _count(text: str) -> int:
    return _number(text, 1, MEMBERS_MAX)


def _port(text: str) -> int:
    return _number(text, 1, 65_535)


def _tick(text: str) -> int:
    return _number(text, 1, 3_600_000)


def _kinds(text: str) -> list[str]:
    made: list[str] = []
    for part in text.split(","):
        kind, star, count = part.strip().partition("*")
        if kind not in KINDS:
            raise argparse.ArgumentTypeError(f"{kind!r} is no kind of server: {', '.join(KINDS)}")
        made += [kind] * (_count(count) if star else 1)
    return made


def _observers(text: str) -> list[str]:
    return ["zktw"] * _number(text, 0, MEMBERS_MAX) if text.isdecimal() else _kinds(text)


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not key or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} is no KEY=VALUE")
    if key in OWN_KEYS or key.startswith("server."):
        raise argparse.ArgumentTypeError(f"{key} differs from server to server, and is this command's own")
    return key, value


def voters_of(servers: int | None, kinds: list[str] | None) -> list[str]:
    """The kinds of the voting servers. Raises ToolError where number and kinds do not agree."""
    if kinds is None:
        return ["zktw"] * (servers or 3)
    if servers is not None and len(kinds) == 1:
        return kinds * servers
    if servers is not None and len(kinds) != servers:
        raise ToolError(f"--kinds names {len(kinds)} servers, not {servers}")
    return kinds


# -- files -----------------------------------------------------------------------------------------------------------


@contextmanager
def _directory(given: Path | None, keep: bool) -> Iterator[Path]:
    """The directory of all files, locked. A temporary one goes at the end, unless it is to be kept."""
    if given is None:
        made = Path(tempfile.mkdtemp(prefix="zktw-ensemble-"))
        try:
            yield made
        finally:
            if not keep:
                shutil.rmtree(made, ignore_errors=True)
        return
    directory = given.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()) and not (directory / _LOCK).exists():
        raise ToolError(f"{given}: holds files that are not this command's; give an empty directory, or a new one")
    with open(directory / _LOCK, "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ToolError(f"{given}: another zktw ensemble runs in it") from None
        yield directory


def _members(options: argparse.Namespace, voters: Sequence[str], base_port: int, directory: Path) -> list[Member]:
    """Members with their files, none started."""
    taken = seats(voters, options.observers, base_port)
    check_ports(taken)
    made = []
    for seat in taken:
        own = directory / f"n{seat.sid}"
        command = command_of(seat.kind, own / "zoo.cfg", directory, os.environ)
        made.append(Member(seat, own, command, environment_of(seat.kind, os.environ)))
    extra = dict(options.set)
    for member in made:
        text = config_text(member.seat, taken, member.directory / "data", options.tick, extra)
        member.write_files(text, alone=len(taken) == 1)
    if any(seat.kind != "zktw" for seat in taken):
        write_logging(directory)
    return made


# -- running ---------------------------------------------------------------------------------------------------------


class _NoReactor:
    """Stands where the clock wants a reactor."""


def _clock() -> Clock:
    stand_in = _NoReactor()
    use_monotonic_time(stand_in)
    return Clock(stand_in)


def _say(line: str) -> None:
    print(line, flush=True)


def _echo(text: str) -> None:
    print(text, end="", flush=True)


def run(options: argparse.Namespace) -> int:
    """The subcommand itself."""
    voters = voters_of(options.servers, options.kinds)
    count = len(voters) + len(options.observers)
    if count > MEMBERS_MAX:
        raise ToolError(f"{count} servers are too many for one host: {MEMBERS_MAX} at most")
    base_port = options.base_port or free_base_port(count, new_random())
    with Signals() as signals, _directory(options.dir, options.keep) as directory:
        members = _members(options, voters, base_port, directory)
        # By weights or groups it depends on which of them run.
        weighed = any(key.startswith(("group.", "weight.")) for key, _ in options.set)
        quorum = 0 if weighed else len(voters) // 2 + 1
        desk = Desk(members, quorum, _say, warn, _clock().now_ms)
        try:
            with Source(_echo) as source:
                desk.start()
                _introduce(desk, directory, source)
                _loop(desk, source, signals)
        finally:
            desk.close(lambda: signals.count > 1)
        kept = f"; their files are in {directory}" if options.dir or options.keep else ""
        _say(f"all servers have ended{kept}")
    return desk.status


def _introduce(desk: Desk, directory: Path, source: Source) -> None:
    _say(f"files in {directory}")
    for member in desk.members:
        seat = member.seat
        role = ", observer" if seat.observer else ""
        pid = member.process.pid if member.process is not None else 0
        peers = "" if len(desk.members) == 1 else f", peers {seat.quorum_port} {seat.election_port}"
        _say(f"server {seat.sid} ({seat.kind}{role}): clients {member.address}{peers}, pid {pid}")
    if len(desk.members) > 1:
        _say(f"connect string {','.join(member.address for member in desk.members)}")
    if source.terminal:
        _say(KEYS_HELP)


def _loop(desk: Desk, source: Source, signals: Signals) -> None:
    """Ask, tell and obey, until it is over."""
    clock = _clock()
    # Poll takes plain files, which epoll refuses.
    with selectors.PollSelector() as selector:
        watch = Watch(selector, desk.seen)
        selector.register(signals.fd, selectors.EVENT_READ, signals.drain)
        listening = False
        try:
            while not signals.count:
                desk.look()
                while source.commands and not desk.finished and not (source.in_turn and desk.busy):
                    desk.obey(source.commands.popleft())
                if desk.finished or (source.over and not source.commands and not (source.in_turn and desk.busy)):
                    break
                if listening != source.listens:
                    listening = source.listens
                    if listening:
                        selector.register(source.fd, selectors.EVENT_READ, source.read)
                    else:
                        selector.unregister(source.fd)
                pause_ms = watch.ask(desk.members, clock.now_ms(), desk.interval_ms)
                for key, _ in selector.select(pause_ms / 1000):
                    key.data()
                if signals.continued:
                    signals.continued = False
                    source.by_key()
        finally:
            watch.close()
