"""What zktw ensemble knows of its servers, and its commands. Terminal, sockets and time are given to it."""

import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zktw.tools.ensemble_members import Member, State
from zktw.tools.ensemble_watch import FAST_MS, SLOW_MS, Answer

HELP = """\
status                how the servers are: kind, address, role, pid, last zxid
kill N                SIGKILL                  revive N    start it again with its files; without N, all that are down
stop N                SIGTERM                  log N       the last lines of its log (log N 50: as many)
pause N               SIGSTOP                  wait [S]    until all that run have a role, at most S seconds (60)
resume N              SIGCONT; without N, all  quit        end all of them (also: end of input, SIGINT, SIGTERM)
N is the number of a server, or "leader", or "all".\
"""

WELL, FOUND, WRONG = 0, 1, 2
_WAIT_S, _WAIT_S_MIN, _WAIT_S_MAX = 60.0, 0.1, 86_400.0
_LOG_LINES, _LOG_LINES_MAX = 10, 1000
# After a longer time a change of role has another reason than the last thing that was done.
_BECAUSE_MS = 60_000.0
_END_S, _END_STEP_S = 5.0, 0.05

_DOES = {
    "leader": "leads",
    "follower": "follows",
    "observer": "observes",
    "standalone": "serves alone",
    "read-only": "serves read-only",
}
_LEADS = ("leader", "standalone")
_NEEDS = {
    "kill": (State.RUNNING, State.PAUSED, State.STOPPING),
    "stop": (State.RUNNING,),
    "pause": (State.RUNNING,),
    "resume": (State.PAUSED,),
    "revive": (State.DOWN,),
}


class _Refused(Exception):
    """A command that cannot be obeyed: WRONG at any time, or FOUND as things are."""

    def __init__(self, text: str, status: int = FOUND) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class _Known:
    """What was last heard of a member."""

    answer: Answer | None = None
    asked_ms: float = -1.0
    # What it was told meanwhile counts for nothing.
    since_ms: float = 0.0


def _how_ended(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


class Desk:
    """Servers, what is known of them, and what may be done to them.

    say: takes a line of facts; complain: one of what is wrong. now_ms: monotonic milliseconds. quorum: how many running
    voters an ensemble needs, 0 where that depends on which. status: the exit status so far.
    """

    def __init__(
        self,
        members: Sequence[Member],
        quorum: int,
        say: Callable[[str], None],
        complain: Callable[[str], None],
        now_ms: Callable[[], float],
    ) -> None:
        self.members = members
        self.status = WELL
        self.finished = False
        self._quorum = quorum
        self._say = say
        self._complain = complain
        self._now_ms = now_ms
        self._known = {member.sid: _Known() for member in members}
        self._because = "the start"
        self._because_ms = now_ms()
        self._wait_until_ms: float | None = None
        self._wait_s = _WAIT_S
        self._starting = False
        self._stopped_ms: dict[int, float] = {}

    # -- what happens ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all, and wait until they have roles; if that fails, it is the end."""
        self._happened("the start", *self.members)
        for member in self.members:
            member.start()
        self._starting = True
        self._wait(_WAIT_S)

    def _happened(self, what: str, *to: Member) -> None:
        self._because, self._because_ms = what, self._now_ms()
        for member in to:
            self._known[member.sid] = _Known(since_ms=self._because_ms)

    def seen(self, sid: int, answer: Answer | None, asked_ms: float) -> None:
        """What a member said when it was asked at that moment; a change of role is told in a line."""
        known, member = self._known[sid], self._member(sid)
        if member.state is not State.RUNNING or asked_ms < known.since_ms:
            return
        before, known.answer, known.asked_ms = known.answer, answer, asked_ms
        was, now = (said.role if said else None for said in (before, answer))
        if was != now:
            does = _DOES.get(now, f"is {now}") if now else "has no role any more"
            self._say(f"server {sid} {does}{self._after()}")

    def _after(self) -> str:
        passed_ms = self._now_ms() - self._because_ms
        return f", {passed_ms:.0f} ms after {self._because}" if passed_ms <= _BECAUSE_MS else ""

    def look(self) -> None:
        """Notice processes that have ended, and waiting that is over."""
        for member in self.members:
            was = member.state
            status = member.ended()
            if status is None:
                continue
            if was is State.STOPPING:
                took_ms = self._now_ms() - self._stopped_ms[member.sid]
                self._say(f"server {member.sid} ended ({_how_ended(status)}), {took_ms:.0f} ms after SIGTERM")
            else:
                self._ended_by_itself(member, status)
        if self._wait_until_ms is not None and not self.finished:
            self._look_at_waiting(self._wait_until_ms)

    def _ended_by_itself(self, member: Member, status: int) -> None:
        self.status = max(self.status, FOUND)
        self._happened(f"server {member.sid} ended", member)
        self._complain(f"server {member.sid} ({member.seat.kind}) ended by itself: {_how_ended(status)}")
        self._tell_log(member, _LOG_LINES, self._complain)
        self.finished = self.finished or self._starting

    # -- waiting -----------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a command (or the start) still waits for something."""
        return self._wait_until_ms is not None

    @property
    def interval_ms(self) -> float:
        """How often members are to be asked."""
        return SLOW_MS if self._lacking() is None else FAST_MS

    def _wait(self, seconds: float) -> None:
        self._wait_s = seconds
        self._wait_until_ms = self._now_ms() + seconds * 1000

    def _lacking(self) -> str | None:
        """What is missing until all that run have a role; None if nothing is."""
        running = [member for member in self.members if member.state is State.RUNNING]
        for member in self.members:
            if member.state is State.STOPPING:
                return f"server {member.sid} has not ended yet"
        for member in running:
            known = self._known[member.sid]
            if known.answer is None:
                return f"server {member.sid} has no role"
            # What it said before the last blow may be void.
            if known.asked_ms < self._because_ms:
                return f"server {member.sid} has not answered"
        leading = self._leading()
        if running and len(leading) != 1:
            return f"servers {_joined(leading)} all say that they lead" if leading else "no server leads"
        return None

    def _look_at_waiting(self, until_ms: float) -> None:
        # Who leads without a quorum has not noticed yet.
        running = [member for member in self.members if member.state is State.RUNNING]
        voters = sum(not member.seat.observer for member in running)
        stopping = any(member.state is State.STOPPING for member in self.members)
        lacking = self._lacking()
        if not running and not stopping:
            self._wait_until_ms = None
            self._say("no server runs")
        elif voters < self._quorum and not stopping:
            self._give_up(f"no leader can be: it needs {self._quorum} voters, running: {voters}")
        elif lacking is None:
            self._wait_until_ms = None
            self._say(f"all {'servers' if self._starting else 'that run'} have a role{self._after()}")
            self._starting = False
        elif self._now_ms() >= until_ms:
            self._give_up(f"not within {self._wait_s:g} s: {lacking}")

    def _give_up(self, why: str) -> None:
        self._wait_until_ms = None
        self.status = max(self.status, FOUND)
        self._complain(why)
        if self._starting:
            for member in self.members:
                if self._known[member.sid].answer is None:
                    self._complain(f"server {member.sid} ({member.seat.kind}):")
                    self._tell_log(member, _LOG_LINES, self._complain)
            self.finished = True

    # -- commands ----------------------------------------------------------------------------------------------------

    def obey(self, line: str) -> None:
        """Carry out a command. One that can't be is complained about and counts for the exit status."""
        name, *arguments = line.split() or ["#"]
        if name.startswith("#"):
            return
        try:
            if name in _NEEDS:
                self._signal(name, arguments)
            elif name in ("status", "help", "quit"):
                if arguments:
                    raise _Refused(f"{name}: takes nothing behind it", WRONG)
                {"status": self._tell_status, "help": self._tell_help, "quit": self._quit}[name]()
            elif name == "wait":
                self._wait(_number(name, arguments, 0, _WAIT_S, _WAIT_S_MIN, _WAIT_S_MAX))
            elif name == "log":
                count = int(_number(name, arguments, 1, _LOG_LINES, 1, _LOG_LINES_MAX))
                for member in self._chosen(name, arguments[:1]):
                    self._tell_log(member, count, self._say)
            else:
                raise _Refused(f"{name}: no such command (help lists them)", WRONG)
        except _Refused as refused:
            self.status = max(self.status, refused.status)
            self._complain(str(refused))

    def _member(self, sid: int) -> Member:
        return self.members[sid - 1]

    def _leading(self) -> list[int]:
        return [
            member.sid
            for member in self.members
            if member.state is State.RUNNING
            and (answer := self._known[member.sid].answer) is not None
            and answer.role in _LEADS
        ]

    def _chosen(self, name: str, arguments: Sequence[str]) -> list[Member]:
        if len(arguments) != 1:
            raise _Refused(f"{name}: which server? its number, or leader, or all", WRONG)
        word = arguments[0]
        if word == "all":
            return list(self.members)
        if word == "leader":
            leading = self._leading()
            if len(leading) != 1:
                who = f"servers {_joined(leading)} all say that they lead" if leading else "no running server leads"
                raise _Refused(f"{name} leader: {who}")
            return [self._member(leading[0])]
        if not word.isdecimal() or not 1 <= int(word) <= len(self.members):
            raise _Refused(f"{name} {word}: there are servers 1 to {len(self.members)}", WRONG)
        return [self._member(int(word))]

    def _signal(self, name: str, arguments: Sequence[str]) -> None:
        if not arguments and name in ("revive", "resume"):
            arguments = ["all"]
        chosen = self._chosen(name, arguments)
        fit = [member for member in chosen if member.state in _NEEDS[name]]
        if not fit:
            one = (
                f"server {chosen[0].sid} is {chosen[0].state.value}"
                if len(chosen) == 1
                else "there is none to do it to"
            )
            raise _Refused(f"{name}: {one}")
        # The moment before the blow: what follows is measured from it.
        done = {"kill": "killed", "stop": "asked to stop", "pause": "paused", "resume": "resumed", "revive": "started"}
        who = f"server {fit[0].sid} was" if len(fit) == 1 else f"servers {_joined([m.sid for m in fit])} were"
        self._happened(f"{who} {done[name]}", *fit)
        for member in fit:
            match name:
                case "kill":
                    member.kill()
                case "stop":
                    self._stopped_ms[member.sid] = self._because_ms
                    member.signal(signal.SIGTERM, State.STOPPING)
                case "pause":
                    member.signal(signal.SIGSTOP, State.PAUSED)
                case "resume":
                    member.signal(signal.SIGCONT, State.RUNNING)
                case "revive":
                    member.start()
        pid = f" (pid {fit[0].process.pid})" if len(fit) == 1 and fit[0].process else ""
        self._say(f"{who} {done[name]}{pid}")

    def _tell_status(self) -> None:
        rows = [("server", "kind", "clients", "role", "pid", "zxid")]
        for member in self.members:
            answer = self._known[member.sid].answer
            role = member.state.value
            if member.state is State.RUNNING:
                role = answer.role if answer else "none"
            pid = "-" if member.state is State.DOWN or member.process is None else str(member.process.pid)
            seat = member.seat
            rows.append((str(seat.sid), seat.kind, member.address, role, pid, answer.zxid if answer else "-"))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            self._say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def _tell_help(self) -> None:
        for line in HELP.splitlines():
            self._say(line)

    def _tell_log(self, member: Member, count: int, tell: Callable[[str], None]) -> None:
        lines = member.log_tail(count)
        for line in lines:
            tell(f"  {member.sid}| {line}")
        if not lines:
            tell(f"  {member.sid}| (it has written nothing)")

    def _quit(self) -> None:
        self.finished = True

    # -- the end -----------------------------------------------------------------------------------------------------

    def close(self, impatient: Callable[[], bool]) -> None:
        """End every process: SIGTERM, and SIGKILL to those that stay, at once where one is impatient. Says nothing."""
        left = [member for member in self.members if member.state is not State.DOWN and member.process is not None]
        for member in left:
            was = member.state
            member.signal(signal.SIGTERM, State.STOPPING)
            if was is State.PAUSED:
                member.signal(signal.SIGCONT, State.STOPPING)
        until_ms = self._now_ms() + _END_S * 1000
        for member in left:
            while member.state is not State.DOWN:
                if impatient() or self._now_ms() >= until_ms:
                    member.kill()
                elif member.process is not None:
                    try:
                        member.process.wait(_END_STEP_S)
                        member.state = State.DOWN
                    except subprocess.TimeoutExpired:
                        pass


def _joined(sids: Sequence[int]) -> str:
    return " and ".join(filter(None, [", ".join(map(str, sids[:-1])), str(sids[-1])]))


def _number(name: str, arguments: Sequence[str], at: int, default: float, least: float, most: float) -> float:
    """The number at this place behind a command, or the default."""
    if len(arguments) <= at:
        return default
    try:
        number = float(arguments[at])
    except ValueError:
        number = -1.0
    if len(arguments) > at + 1 or not least <= number <= most:
        raise _Refused(f"{name}: {' '.join(arguments[at:])!r} is no number from {least:g} to {most:g}", WRONG)
    return number
