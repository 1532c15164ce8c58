"""The parts of zktw ensemble: seats and files, kinds, commands and keys, changes of role, its questions, its refusals.

Processes are stand-ins here; the live tests run real ones.
"""

import os
import selectors
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from toolrun import Zktw

from zktw.node.clock import Random
from zktw.tools.common import ToolError
from zktw.tools.ensemble import voters_of
from zktw.tools.ensemble_desk import FOUND, HELP, WELL, WRONG, Desk
from zktw.tools.ensemble_input import KEYS_HELP, Keys, Lines, Signals
from zktw.tools.ensemble_members import (
    HOST,
    Member,
    Seat,
    State,
    check_ports,
    command_of,
    config_text,
    free_base_port,
    port_trouble,
    seats,
)
from zktw.tools.ensemble_watch import ANSWER_MS, FAST_MS, SLOW_MS, Answer, Watch, answer_in


class FakeProcess:
    """Ends of SIGKILL and, unless it is deaf, of SIGTERM; keeps what it was sent."""

    def __init__(self, pid: int, *, deaf: bool = False) -> None:
        self.pid = pid
        self.deaf = deaf
        self.status: int | None = None
        self.sent: list[int] = []

    def poll(self) -> int | None:
        return self.status

    def send_signal(self, sig: int) -> None:
        self.sent.append(sig)
        if sig == signal.SIGKILL or (sig == signal.SIGTERM and not self.deaf):
            self.status = -sig

    def wait(self, timeout: float | None = None) -> int:
        if self.status is None:
            raise subprocess.TimeoutExpired("fake", timeout or 0)
        return self.status


class Bench:
    """A desk with stand-ins, a clock that is set by hand, and what was said."""

    def __init__(self, directory: Path, voters: int = 3, observers: int = 0, quorum: int | None = None) -> None:
        self.now_ms = 1000.0
        self.said: list[str] = []
        self.complaints: list[str] = []
        self.processes: list[FakeProcess] = []
        members = []
        for seat in seats(["zktw"] * voters, ["zktw"] * observers, 2181):
            own = directory / f"n{seat.sid}"
            own.mkdir()
            members.append(Member(seat, own, ["server"], {}, self.spawn))
        needed = voters // 2 + 1 if quorum is None else quorum
        self.desk = Desk(members, needed, self.said.append, self.complaints.append, lambda: self.now_ms)

    def spawn(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> FakeProcess:
        assert command == ["server"]
        self.processes.append(FakeProcess(100 + len(self.processes)))
        return self.processes[-1]

    def hear(self, *roles: str | None) -> None:
        """All servers say what they are, from the first on; "-" is silent."""
        for sid, role in enumerate(roles, 1):
            if role != "-":
                self.desk.seen(sid, Answer(role, "0x100000000") if role else None, self.now_ms)
        self.desk.look()

    def whole(self) -> "Bench":
        """Started, server 3 leading."""
        self.desk.start()
        self.hear("follower", "follower", "leader")
        assert not self.desk.busy
        self.said.clear()
        return self


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def zktw(capsys: pytest.CaptureFixture[str]) -> Zktw:
    return Zktw(capsys)


# -- seats and files -------------------------------------------------------------------------------------------------


def test_ports_follow_each_other_and_never_meet() -> None:
    taken = seats(["zktw"] * 90, ["zktw"] * 9, 2181)
    assert [seat.client_port for seat in taken[:3]] == [2181, 2182, 2183]
    assert (taken[0].quorum_port, taken[0].election_port) == (2281, 2381)
    ports = [port for seat in taken for port in seat.ports]
    assert len(ports) == len(set(ports)) == 297
    assert [seat.sid for seat in taken if seat.observer] == list(range(91, 100))


def test_the_file_of_a_member_and_of_an_observer() -> None:
    taken = seats(["zktw", "apache38"], ["zktw"], 3000)
    first, second, third = (config_text(seat, taken, Path("/d"), 500, {"syncLimit": "9"}) for seat in taken)
    for text in (first, second, third):
        assert "tickTime=500\n" in text
        assert "syncLimit=9\n" in text
        assert "syncLimit=5" not in text
        assert f"server.2={HOST}:3101:3201\n" in text
        assert f"server.3={HOST}:3102:3202:observer\n" in text
    assert "peerType" not in first + second
    assert "peerType=observer\n" in third
    assert "admin.enableServer=false\n" in second
    assert "admin" not in first


def test_the_file_of_a_lone_server_names_no_ensemble() -> None:
    taken = seats(["zktw"], [], 3000)
    text = config_text(taken[0], taken, Path("/d"), 2000, {})
    assert "server." not in text
    assert "clientPort=3000\n" in text


@pytest.mark.parametrize("alone", [True, False])
def test_files_are_written_and_data_stays(tmp_path: Path, alone: bool) -> None:
    member = Member(seats(["zktw"], [], 3000)[0], tmp_path / "n1", [], {})
    kept = tmp_path / "n1" / "data" / "version-2" / "log.1"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"log")
    member.write_files("a=b\n", alone=alone)
    assert (tmp_path / "n1" / "zoo.cfg").read_text() == "a=b\n"
    assert (tmp_path / "n1" / "data" / "myid").exists() is not alone
    assert kept.read_bytes() == b"log"


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    member = Member(seats(["zktw"], [], 3000)[0], tmp_path, [], {})
    assert member.log_tail(3) == []
    member.log_path.write_text("".join(f"line {number}\n" for number in range(20_000)))
    assert member.log_tail(2) == ["line 19998", "line 19999"]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_is_named_with_its_purpose(taken_port: int, zktw: Zktw) -> None:
    assert port_trouble(taken_port) == "Address already in use"
    told = zktw("ensemble", "1", "--base-port", str(taken_port))
    assert told.status == WRONG
    assert told.err.startswith(f"zktw: port {taken_port} (server 1, clients): Address already in use; --base-port")


def test_a_port_that_is_none() -> None:
    with pytest.raises(ToolError, match=r"port 65636 \(server 1, elections\)|port 65600 \(server 1, learners\)"):
        check_ports([Seat(1, "zktw", False, 65_500)])


def test_free_ports_are_free() -> None:
    base = free_base_port(5, Random(7))
    assert all(port_trouble(port) is None for seat in seats(["zktw"] * 5, [], base) for port in seat.ports)


# -- kinds -----------------------------------------------------------------------------------------------------------


def test_number_and_kinds_agree() -> None:
    assert voters_of(None, None) == ["zktw"] * 3
    assert voters_of(5, None) == ["zktw"] * 5
    assert voters_of(2, ["apache38"]) == ["apache38"] * 2
    assert voters_of(None, ["apache38", "zktw"]) == ["apache38", "zktw"]
    with pytest.raises(ToolError, match="names 2 servers, not 3"):
        voters_of(3, ["apache38", "zktw"])


@pytest.fixture
def java(tmp_path: Path) -> dict[str, str]:
    program = tmp_path / "java"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return {"PATH": str(tmp_path)}


def test_what_starts_apache_s_servers(tmp_path: Path, java: dict[str, str]) -> None:
    (tmp_path / "zookeeper-3.9.9.jar").touch()
    config = tmp_path / "zoo.cfg"
    command = command_of("apache39", config, tmp_path, {**java, "ZK39_LIB": str(tmp_path), "JVMFLAGS": "-Da=b -Xmx9m"})
    assert command[0] == str(tmp_path / "java")
    assert command.index("-Xmx9m") > command.index("-Xmx192m")
    assert command[command.index("-cp") + 1] == f"{tmp_path}/*"
    assert command[-1] == str(config)
    command = command_of("apache38", config, tmp_path, {**java, "ZK38_CP": "one:two"})
    assert command[command.index("-cp") + 1] == "one:two"


@pytest.mark.parametrize(
    ("kind", "environment", "said"),
    [
        ("apache39", {}, r"\$ZK39_LIB.*not set"),
        ("apache39", {"ZK39_LIB": "/nonexistent"}, r"no zookeeper-3\.\*\.jar in /nonexistent"),
        ("apache38", {"PATH": "/nonexistent"}, "need Java: no java here"),
        ("apache38", {"JAVA_HOME": "/nonexistent"}, "no /nonexistent/bin/java here"),
    ],
)
def test_what_is_missing_is_named(
    kind: str, environment: dict[str, str], said: str, java: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(ToolError, match=said):
        command_of(kind, tmp_path / "zoo.cfg", tmp_path, {**java, **environment})


# -- the call --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["0"], "'0' is no number from 1 to 99"),
        (["--kinds", "zktw,apache37"], "'apache37' is no kind of server: zktw, apache38, apache39"),
        (["--kinds", "zktw*0"], "'0' is no number from 1 to 99"),
        (["--observers", "some"], "'some' is no kind of server"),
        (["--set", "syncLimit"], "'syncLimit' is no KEY=VALUE"),
        (["--set", "a=b\nc=d"], "is no KEY=VALUE"),
        (["--set", "server.1=here:1:2"], "server.1 differs from server to server"),
        (["--set", "dataDir=/d"], "dataDir differs from server to server"),
        (["--base-port", "65536"], "'65536' is no number from 1 to 65535"),
        (["90", "--observers", "10"], "100 servers are too many for one host: 99 at most"),
        (["3", "--kinds", "zktw*2"], "--kinds names 2 servers, not 3"),
    ],
)
def test_a_wrong_call_is_told(arguments: list[str], said: str, zktw: Zktw) -> None:
    told = zktw("ensemble", *arguments)
    assert told.status == WRONG
    assert said in told.err
    assert not told.out


def test_help_tells_commands_and_keys(zktw: Zktw) -> None:
    told = zktw("ensemble", "--help")
    assert told.status == WELL
    assert HELP in told.out
    assert KEYS_HELP in told.out


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path, zktw: Zktw) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    told = zktw("ensemble", "1", "--dir", tmp_path)
    assert told.status == WRONG
    assert "holds files that are not this command's" in told.err
    assert os.listdir(tmp_path) == ["thesis.txt"]


# -- roles -----------------------------------------------------------------------------------------------------------


def test_the_start_is_over_when_all_have_a_role(bench: Bench) -> None:
    bench.desk.start()
    assert [process.pid for process in bench.processes] == [100, 101, 102]
    bench.now_ms += 700
    bench.hear("follower", None, "leader")
    assert bench.desk.busy
    assert bench.desk.interval_ms == FAST_MS
    bench.now_ms += 100
    bench.hear("-", "follower")
    assert bench.said == [
        "server 1 follows, 700 ms after the start",
        "server 3 leads, 700 ms after the start",
        "server 2 follows, 800 ms after the start",
        "all servers have a role, 800 ms after the start",
    ]
    assert not bench.desk.busy
    assert bench.desk.interval_ms == SLOW_MS


def test_a_change_of_role_is_measured_from_the_blow(bench: Bench) -> None:
    desk = bench.whole().desk
    bench.now_ms = 5000
    desk.obey("kill leader")
    assert bench.processes[2].sent == [signal.SIGKILL]
    desk.obey("wait")
    bench.now_ms += 6
    # Both still follow the dead: no end of waiting.
    bench.hear("follower", "follower")
    assert desk.busy
    bench.now_ms += 40
    bench.hear("-", "leader")
    bench.hear("follower")
    assert bench.said == [
        "server 3 was killed (pid 102)",
        "server 2 leads, 46 ms after server 3 was killed",
        "all that run have a role, 46 ms after server 3 was killed",
    ]
    assert not desk.busy
    assert desk.status == WELL


def test_what_was_said_before_the_blow_counts_for_nothing(bench: Bench) -> None:
    desk = bench.whole().desk
    bench.now_ms = 5000
    desk.obey("kill 1")
    desk.obey("wait")
    desk.seen(2, Answer("follower", "0x0"), 4999)
    desk.seen(3, Answer("leader", "0x0"), 4999)
    desk.look()
    assert desk.busy
    bench.now_ms = 5001
    bench.hear("-", "follower", "leader")
    assert not desk.busy


def test_an_answer_from_before_the_end_is_not_one_of_the_new_process(bench: Bench) -> None:
    desk = bench.whole().desk
    desk.obey("kill 3")
    bench.now_ms = 6000
    desk.obey("revive 3")
    desk.seen(3, Answer("leader", "0x0"), 5999)
    desk.obey("status")
    assert bench.said[-1].split() == ["3", "zktw", "127.0.0.1:2183", "none", "103", "-"]


def test_a_role_that_is_lost_and_one_long_after(bench: Bench) -> None:
    bench.whole()
    bench.now_ms = 100_000
    bench.hear("-", None)
    assert bench.said == ["server 2 has no role any more"]
    bench.hear("-", "read-only")
    assert bench.said[1] == "server 2 serves read-only"


# -- waiting ---------------------------------------------------------------------------------------------------------


def test_waiting_ends_when_its_time_is_over(bench: Bench) -> None:
    desk = bench.whole().desk
    desk.obey("wait 5")
    bench.now_ms += 4999
    bench.hear("follower", None, "leader")
    assert desk.busy
    bench.now_ms += 1
    desk.look()
    assert bench.complaints == ["not within 5 s: server 2 has no role"]
    assert desk.status == FOUND
    assert not desk.finished


def test_waiting_without_a_quorum_is_given_up_at_once(bench: Bench) -> None:
    desk = bench.whole().desk
    for line in ("kill 1", "kill 2", "wait"):
        desk.obey(line)
    # It has not noticed.
    bench.hear("-", "-", "leader")
    assert bench.complaints == ["no leader can be: it needs 2 voters, running: 1"]
    assert (desk.busy, desk.status) == (False, FOUND)


def test_without_a_quorum_a_stop_is_waited_for_all_the_same(bench: Bench) -> None:
    desk = bench.whole().desk
    for line in ("kill 1", "stop 2", "wait"):
        desk.obey(line)
    assert desk.busy
    assert not bench.complaints
    desk.look()
    assert bench.said[-1] == "server 2 ended (SIGTERM), 0 ms after SIGTERM"
    assert bench.complaints == ["no leader can be: it needs 2 voters, running: 1"]


def test_waiting_for_the_end_of_all(bench: Bench) -> None:
    desk = bench.whole().desk
    for line in ("stop all", "wait"):
        desk.obey(line)
    assert desk.busy
    desk.look()
    assert bench.said[-1] == "no server runs"
    assert (desk.busy, desk.status) == (False, WELL)


def test_two_that_lead_are_not_whole(tmp_path: Path) -> None:
    bench = Bench(tmp_path, quorum=0).whole()
    desk = bench.desk
    bench.hear("leader", "leader", "leader")
    desk.obey("wait 1")
    bench.now_ms += 1000
    desk.look()
    desk.obey("kill leader")
    assert bench.complaints == [
        "not within 1 s: servers 1, 2 and 3 all say that they lead",
        "kill leader: servers 1, 2 and 3 all say that they lead",
    ]


def test_an_observer_is_no_voter(tmp_path: Path) -> None:
    bench = Bench(tmp_path, voters=1, observers=1)
    bench.desk.start()
    bench.hear("leader", "observer")
    assert bench.said[:2] == ["server 1 leads, 0 ms after the start", "server 2 observes, 0 ms after the start"]
    bench.desk.obey("kill 1")
    bench.desk.obey("wait")
    bench.desk.look()
    assert bench.complaints == ["no leader can be: it needs 1 voters, running: 0"]


def test_a_start_that_takes_too_long_is_the_end(bench: Bench) -> None:
    desk = bench.desk
    desk.start()
    desk.members[0].log_path.write_text("waiting for 2 and 3\n")
    bench.hear(None, "follower", "leader")
    bench.now_ms += 60_000
    desk.look()
    assert bench.complaints == [
        "not within 60 s: server 1 has no role",
        "server 1 (zktw):",
        "  1| waiting for 2 and 3",
    ]
    assert (desk.finished, desk.status) == (True, FOUND)


# -- ends ------------------------------------------------------------------------------------------------------------


def test_a_server_that_dies_at_start_ends_it_all_with_its_last_lines(bench: Bench) -> None:
    desk = bench.desk
    desk.start()
    desk.members[1].log_path.write_text("tickTime=banana: not a number\n")
    bench.processes[1].status = 2
    desk.look()
    assert bench.complaints == [
        "server 2 (zktw) ended by itself: exit status 2",
        "  2| tickTime=banana: not a number",
    ]
    assert bench.said == []
    assert (desk.finished, desk.status) == (True, FOUND)


def test_a_server_that_dies_later_is_told_and_may_be_revived(bench: Bench) -> None:
    desk = bench.whole().desk
    bench.processes[2].status = -signal.SIGSEGV
    desk.look()
    assert bench.complaints == ["server 3 (zktw) ended by itself: SIGSEGV", "  3| (it has written nothing)"]
    assert (desk.finished, desk.status) == (False, FOUND)
    bench.now_ms += 30
    bench.hear("-", "leader")
    assert bench.said == ["server 2 leads, 30 ms after server 3 ended"]
    desk.obey("revive")
    assert bench.said[1] == "server 3 was started (pid 103)"


def test_a_stop_is_waited_for(bench: Bench) -> None:
    desk = bench.whole().desk
    bench.processes[0].deaf = True
    desk.obey("stop 1")
    desk.obey("wait")
    bench.hear("-", "follower", "leader")
    assert desk.busy
    bench.now_ms += 90
    bench.processes[0].status = 0
    bench.hear("-", "follower", "leader")
    assert bench.said == [
        "server 1 was asked to stop (pid 100)",
        "server 1 ended (exit status 0), 90 ms after SIGTERM",
        "all that run have a role, 90 ms after server 1 was asked to stop",
    ]
    assert desk.status == WELL


def test_the_end_reaches_all_paused_and_deaf_ones_too(bench: Bench) -> None:
    desk = bench.whole().desk
    desk.obey("pause 1")
    bench.processes[1].deaf = True
    asked = iter([False, True])
    desk.close(lambda: next(asked, True))
    assert bench.processes[0].sent == [signal.SIGSTOP, signal.SIGTERM, signal.SIGCONT]
    assert bench.processes[1].sent == [signal.SIGTERM, signal.SIGKILL]
    assert all(process.status is not None for process in bench.processes)
    assert all(member.state is State.DOWN for member in desk.members)


def test_a_deaf_one_is_given_its_time(bench: Bench) -> None:
    desk = bench.whole().desk
    bench.processes[1].deaf = True
    killed: list[bool] = []

    def impatient() -> bool:
        killed.append(signal.SIGKILL in bench.processes[1].sent)
        bench.now_ms += 1000
        return False

    desk.close(impatient)
    # One look at server 1, four more within five seconds, one at server 3.
    assert killed == [*[False] * 5, True]
    assert bench.processes[1].sent == [signal.SIGTERM, signal.SIGKILL]


# -- commands --------------------------------------------------------------------------------------------------------


def test_pause_resume_and_the_table(bench: Bench) -> None:
    desk = bench.whole().desk
    for line in ("pause leader", "kill 1", "status"):
        desk.obey(line)
    assert bench.said[2:] == [
        "server  kind  clients         role      pid  zxid",
        "1       zktw  127.0.0.1:2181  down      -    -",
        "2       zktw  127.0.0.1:2182  follower  101  0x100000000",
        "3       zktw  127.0.0.1:2183  paused    102  -",
    ]
    desk.obey("resume")
    assert bench.processes[2].sent == [signal.SIGSTOP, signal.SIGCONT]
    assert bench.said[-1] == "server 3 was resumed (pid 102)"


def test_all_of_them(bench: Bench) -> None:
    desk = bench.whole().desk
    desk.obey("kill all")
    desk.obey("revive all")
    assert bench.said == ["servers 1, 2 and 3 were killed", "servers 1, 2 and 3 were started"]
    assert len(bench.processes) == 6


@pytest.mark.parametrize(
    ("line", "complaint", "status"),
    [
        ("kil 1", "kil: no such command (help lists them)", WRONG),
        ("kill", "kill: which server? its number, or leader, or all", WRONG),
        ("kill 4", "kill 4: there are servers 1 to 3", WRONG),
        ("kill 0", "kill 0: there are servers 1 to 3", WRONG),
        ("kill 1 2", "kill: which server? its number, or leader, or all", WRONG),
        ("quit now", "quit: takes nothing behind it", WRONG),
        ("wait soon", "wait: 'soon' is no number from 0.1 to 86400", WRONG),
        ("wait nan", "wait: 'nan' is no number from 0.1 to 86400", WRONG),
        ("log 1 2000", "log: '2000' is no number from 1 to 1000", WRONG),
        ("revive 1", "revive: server 1 is running", FOUND),
        ("resume 1", "resume: server 1 is running", FOUND),
        ("revive", "revive: there is none to do it to", FOUND),
    ],
)
def test_what_cannot_be_obeyed_is_told_and_counts(bench: Bench, line: str, complaint: str, status: int) -> None:
    desk = bench.whole().desk
    desk.obey(line)
    assert bench.complaints == [complaint]
    assert bench.said == []
    assert not any(process.sent for process in bench.processes)
    assert (desk.status, desk.finished, desk.busy) == (status, False, False)


def test_nobody_leads(bench: Bench) -> None:
    desk = bench.whole().desk
    desk.obey("pause leader")
    desk.obey("pause leader")
    assert bench.complaints == ["pause leader: no running server leads"]


def test_log_help_quit_and_notes(bench: Bench) -> None:
    desk = bench.whole().desk
    desk.members[1].log_path.write_text("one\ntwo\nthree\n")
    for line in ("", "# a note", "log 2 2", "help"):
        desk.obey(line)
    assert bench.said == ["  2| two", "  2| three", *HELP.splitlines()]
    desk.obey("quit")
    assert (desk.finished, desk.status) == (True, WELL)


# -- input -----------------------------------------------------------------------------------------------------------


def test_lines_come_in_pieces_and_the_last_needs_no_end() -> None:
    lines = Lines()
    assert lines.feed(b"kill le") == []
    assert lines.feed(b"ader\r\nwait\nsta") == ["kill leader", "wait"]
    assert lines.feed(b"tus") == []
    assert lines.feed(b"") == ["status"]


def test_keys_are_commands() -> None:
    shown: list[str] = []
    keys = Keys(shown.append)
    assert keys.feed(b"sk") == ["status"]
    assert keys.feed(b"2") == ["kill 2"]
    assert keys.feed(b"tlpar") == ["stop leader", "pause all"]
    assert keys.feed(b"x") == []
    assert keys.feed(b"q") == ["quit"]
    assert "".join(shown) == "kill which? 2\nstop which? leader\npause which? all\nrevive which? nothing done\n"


def test_a_colon_begins_a_line_that_can_be_mended() -> None:
    shown: list[str] = []
    keys = Keys(shown.append)
    assert keys.feed(b":kill 13\x7f2\n") == ["kill 12"]
    assert "".join(shown) == ":kill 13\b \b2\n"
    assert keys.feed(b":qu") == []
    assert keys.feed(b"\x1b") == []
    assert keys.feed(b"w") == ["wait"]


def test_arrows_do_nothing_and_unknown_keys_show_what_there_is() -> None:
    shown: list[str] = []
    keys = Keys(shown.append)
    assert keys.feed(b"\x1b[A") == []
    assert keys.feed(b"\n ") == []
    assert not shown
    assert keys.feed(b"z") == []
    assert shown == [f"{KEYS_HELP}\n"]


@pytest.mark.parametrize("data", [b"\x04", b""])
def test_the_end_of_keys(data: bytes) -> None:
    keys = Keys(lambda text: None)
    assert keys.feed(data) == []
    assert keys.over


def test_signals_are_counted_wake_and_leave_what_was_there() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)]
    with Signals() as signals, selectors.PollSelector() as selector:
        selector.register(signals.fd, selectors.EVENT_READ)
        assert not selector.select(0)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGCHLD)
        assert selector.select(5)
        signals.drain()
        assert not selector.select(0)
        assert signals.count == 2
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)]
    assert after == before


# -- questions -------------------------------------------------------------------------------------------------------


def test_what_an_answer_tells() -> None:
    assert answer_in("Zookeeper version: 3\nZxid: 0x1f\nMode: observer\n") == Answer("observer", "0x1f")
    assert answer_in("Mode: leader\n") == Answer("leader", "?")
    assert answer_in("This ZooKeeper instance is not currently serving requests\n") is None
    assert answer_in("") is None


class Listener:
    """A port on which srvr is answered by hand, a member that has it, and the watch that asks."""

    def __init__(self, directory: Path) -> None:
        self.seen: list[tuple[int, Answer | None, float]] = []
        self.selector = selectors.PollSelector()
        self.watch = Watch(self.selector, lambda *heard: self.seen.append(heard))
        self.socket = socket.create_server((HOST, 0))
        self.socket.settimeout(5)
        seat = Seat(1, "zktw", False, self.socket.getsockname()[1])
        self.member = Member(seat, directory, [], {}, lambda *_: FakeProcess(1))
        self.member.start()

    def turn(self) -> None:
        """Let the watch do what is ready."""
        for key, _ in self.selector.select(5):
            key.data()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    made = Listener(tmp_path)
    yield made
    made.watch.close()
    assert not made.selector.get_map()
    made.selector.close()
    made.socket.close()


def test_a_question_and_its_answer_in_pieces(listener: Listener) -> None:
    assert listener.watch.ask([listener.member], 100.0, SLOW_MS) == SLOW_MS
    listener.turn()
    link, _ = listener.socket.accept()
    with link:
        link.settimeout(5)
        assert link.recv(100) == b"srvr"
        for piece in (b"Mode: lea", b"der\nZxid: 0x5\n"):
            link.sendall(piece)
            listener.turn()
    assert not listener.seen
    listener.turn()
    assert listener.seen == [(1, Answer("leader", "0x5"), 100.0)]
    # Seldom, and as soon as it is to be often.
    assert listener.watch.ask([listener.member], 150.0, SLOW_MS) == SLOW_MS - 50
    assert not listener.selector.get_map()
    listener.watch.ask([listener.member], 150.0, FAST_MS)
    assert listener.selector.get_map()


def test_who_accepts_and_is_silent_has_no_role(listener: Listener) -> None:
    listener.watch.ask([listener.member], 100.0, FAST_MS)
    listener.turn()
    listener.watch.ask([listener.member], 100.0 + ANSWER_MS - 1, FAST_MS)
    assert not listener.seen
    listener.watch.ask([listener.member], 100.0 + ANSWER_MS, FAST_MS)
    assert listener.seen == [(1, None, 100.0)]


def test_nobody_there_has_no_role(listener: Listener) -> None:
    listener.socket.close()
    listener.watch.ask([listener.member], 100.0, FAST_MS)
    if not listener.seen:
        listener.turn()
    assert listener.seen == [(1, None, 100.0)]


def test_who_is_paused_is_not_asked(listener: Listener) -> None:
    listener.watch.ask([listener.member], 100.0, FAST_MS)
    assert listener.selector.get_map()
    listener.member.signal(signal.SIGSTOP, State.PAUSED)
    listener.watch.ask([listener.member], 5000.0, FAST_MS)
    assert not listener.selector.get_map()
    assert not listener.seen
