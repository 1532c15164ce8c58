"""zktw ensemble with real servers: scripts, keys of a terminal, signals; nothing that it started stays behind it."""

import os
import pty
import re
import selectors
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from ensemble import ROOT, missing
from kazoo.client import KazooClient

pytestmark = pytest.mark.live

TIMEOUT_S = 90.0
EVERY_START_S = 60.0
needs_apache38 = pytest.mark.skipif(missing("apache38") is not None, reason=str(missing("apache38")))


class Tool:
    """The running command: what it prints, on either output, and the servers that it says it started."""

    def __init__(self, directory: Path, *arguments: str, terminal: bool = False) -> None:
        self.directory = directory
        self.text = ""
        self.terminal: int | None = None
        stdin: int = subprocess.PIPE
        if terminal:
            self.terminal, stdin = pty.openpty()
            self.side = stdin
        self.process = subprocess.Popen(
            [sys.executable, "-m", "zktw.tools.main", "ensemble", *arguments],
            env=environment(directory),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # With a terminal of its own, which is what is in front of it.
            preexec_fn=take_terminal if terminal else None,
            start_new_session=terminal,
        )

    def type(self, text: str) -> None:
        """Into its terminal or its pipe."""
        fd = self.terminal
        if fd is None:
            assert self.process.stdin is not None
            fd = self.process.stdin.fileno()
        os.write(fd, text.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read on until this has been printed behind the last that was waited for."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + TIMEOUT_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while (found := re.search(pattern, self.text, re.MULTILINE)) is None:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"not printed: {pattern}\n{self.text}")
                piece = os.read(self.process.stdout.fileno(), 65536)
                assert piece, f"it ended without {pattern}\n{self.text}"
                self.text += piece.decode()
        self.text = self.text[found.end() :]
        return found

    def end(self) -> int:
        """Its exit status, once it has ended."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        return self.process.wait(TIMEOUT_S)

    def close(self) -> None:
        """End it if it is still there, gently, for the sake of its servers."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(TIMEOUT_S)
        if self.terminal is not None:
            os.close(self.terminal)
            os.close(self.side)


def take_terminal() -> None:
    """Make standard input the terminal of this new session."""
    os.close(os.open(os.ttyname(0), os.O_RDWR))


def environment(directory: Path) -> Mapping[str, str]:
    """Temporary files where this test sees what stays of them."""
    return {**os.environ, "TMPDIR": str(directory), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[list[Tool]]:
    """Those that a test started, to be ended with it."""
    started: list[Tool] = []
    yield started
    for tool in started:
        tool.close()


def run(directory: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command with a script, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "zktw.tools.main", "ensemble", *arguments],
        env=environment(directory),
        input=script,
        capture_output=True,
        text=True,
        timeout=3 * EVERY_START_S,
        check=False,
    )


def pids_in(text: str) -> list[int]:
    """All servers that were started."""
    return [int(pid) for pid in re.findall(r"pid (\d+)", text)]


def assert_nothing_stays(directory: Path, pids: Sequence[int]) -> None:
    assert pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not list(directory.iterdir())


def test_a_script_replaces_the_leader(tmp_path: Path) -> None:
    done = run(tmp_path, "kill leader\nwait\nstatus\nrevive\nwait\nstatus\nquit\n", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    old = re.search(r"^server (\d) was killed \(pid (\d+)\)$", done.stdout, re.MULTILINE)
    assert old, done.stdout
    new = re.search(rf"^server (\d) leads, \d+ ms after server {old[1]} was killed$", done.stdout, re.MULTILINE)
    assert new, done.stdout
    assert new[1] != old[1]
    assert re.search(rf"^{old[1]} +zktw +\S+ +down +- +-$", done.stdout, re.MULTILINE), done.stdout
    last = done.stdout.splitlines()[-4:-1]
    assert sorted(line.split()[3] for line in last) == ["follower", "follower", "leader"]
    assert last[int(new[1]) - 1].split()[3] == "leader"
    assert_nothing_stays(tmp_path, pids_in(done.stdout))


def test_pause_and_stop_and_what_a_script_got_wrong(tmp_path: Path) -> None:
    script = "pause 1\nstop 2\nwait\nresume 1\nrevive 2\nwait\nkill 9\nlog 2 1"
    done = run(tmp_path, script, "2", "--observers", "1", "--tick", "500")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "server 3 observes" in done.stdout
    assert "server 2 ended (SIGTERM)" in done.stdout or "server 2 ended (exit status 0)" in done.stdout
    assert done.stderr.splitlines() == [
        "zktw: no leader can be: it needs 2 voters, running: 0",
        "zktw: kill 9: there are servers 1 to 3",
    ]
    assert done.stdout.count("all that run have a role") == 1
    assert re.search(r"^  2\| .+\nall servers have ended$", done.stdout, re.MULTILINE)
    assert_nothing_stays(tmp_path, pids_in(done.stdout))


def test_a_lone_server_serves_and_goes_on_with_its_files(tmp_path: Path, tools: list[Tool]) -> None:
    temporary, kept = tmp_path / "temporary", tmp_path / "kept"
    temporary.mkdir()
    for round_ in range(2):
        tool = Tool(temporary, "1", "--dir", str(kept), "--set", "autopurge.purgeInterval=0")
        tools.append(tool)
        address = tool.wait_for(r"clients (\S+), pid")[1]
        tool.wait_for("^server 1 serves alone, .*\nall servers have a role")
        client = KazooClient(address)
        client.start(30)
        try:
            if round_ == 0:
                client.create("/kept", b"so")
                busy = run(temporary, "", "1", "--dir", str(kept))
                assert (busy.returncode, busy.stderr) == (2, f"zktw: {kept}: another zktw ensemble runs in it\n")
            assert client.get("/kept")[0] == b"so"
        finally:
            client.stop()
            client.close()
        assert tool.end() == 0
        assert (kept / "n1" / "data" / "version-2").is_dir()
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_and_its_servers(number: signal.Signals, tmp_path: Path, tools: list[Tool]) -> None:
    tool = Tool(tmp_path, "2")
    tools.append(tool)
    pids = [int(tool.wait_for(rf"^server {sid} .*pid (\d+)$")[1]) for sid in (1, 2)]
    # In the middle of their start.
    tool.process.send_signal(number)
    tool.wait_for("^all servers have ended$")
    assert tool.process.wait(TIMEOUT_S) == 0
    assert_nothing_stays(tmp_path, pids)


def test_keys_of_a_terminal(tmp_path: Path, tools: list[Tool]) -> None:
    tool = Tool(tmp_path, "3", terminal=True)
    tools.append(tool)
    assert tool.terminal is not None
    before = termios.tcgetattr(tool.side)
    pids = [int(tool.wait_for(rf"^server {sid} .*pid (\d+)$")[1]) for sid in (1, 2, 3)]
    tool.wait_for("^all servers have a role")
    assert not termios.tcgetattr(tool.side)[3] & (termios.ICANON | termios.ECHO)
    tool.type("kl")
    old = tool.wait_for(r"kill which\? leader\nserver (\d) was killed")[1]
    tool.wait_for(rf"^server \d leads, \d+ ms after server {old} was killed$")
    tool.type(f"r{old}")
    pids.append(int(tool.wait_for(rf"^server {old} was started \(pid (\d+)\)$")[1]))
    tool.type(":wait 60\n")
    tool.wait_for("^all that run have a role")
    tool.type("s")
    tool.wait_for(r"^3 +zktw .* (leader|follower) ")
    tool.type("q")
    tool.wait_for("^all servers have ended$")
    assert tool.end() == 0
    assert termios.tcgetattr(tool.side) == before
    assert_nothing_stays(tmp_path, pids)


def test_ctrl_c_at_a_terminal(tmp_path: Path, tools: list[Tool]) -> None:
    tool = Tool(tmp_path, "1", terminal=True)
    tools.append(tool)
    pid = int(tool.wait_for(r"^server 1 .*pid (\d+)$")[1])
    tool.wait_for("^all servers have a role")
    tool.type("\x03")
    tool.wait_for("^all servers have ended$")
    assert tool.end() == 0
    assert_nothing_stays(tmp_path, [pid])


def test_a_server_that_dies_at_start_shows_why(tmp_path: Path) -> None:
    done = run(tmp_path, "wait\n", "2", "--set", "tickTime=banana")
    assert done.returncode == 1
    assert "ended by itself: exit status" in done.stderr
    assert "tickTime=banana: not a number" in done.stderr
    assert "have a role" not in done.stdout
    assert_nothing_stays(tmp_path, pids_in(done.stdout))


def test_a_server_that_somebody_else_kills_is_told(tmp_path: Path, tools: list[Tool]) -> None:
    tool = Tool(tmp_path, "1")
    tools.append(tool)
    pid = int(tool.wait_for(r"^server 1 .*pid (\d+)$")[1])
    tool.wait_for("^all servers have a role")
    os.kill(pid, signal.SIGKILL)
    tool.wait_for(r"^zktw: server 1 \(zktw\) ended by itself: SIGKILL\n(zktw:   1\| .+\n)+")
    tool.type("revive\nwait\n")
    again = int(tool.wait_for(r"^server 1 was started \(pid (\d+)\)$")[1])
    tool.wait_for("^server 1 serves alone, .* after server 1 was started$")
    assert tool.end() == 1
    assert_nothing_stays(tmp_path, [pid, again])


def test_a_reader_that_goes_away_leaves_no_servers(tmp_path: Path, tools: list[Tool]) -> None:
    tool = Tool(tmp_path, "1")
    tools.append(tool)
    pid = int(tool.wait_for(r"^server 1 .*pid (\d+)$")[1])
    assert tool.process.stdout is not None
    tool.process.stdout.close()
    tool.type("status\n")
    assert tool.process.wait(TIMEOUT_S) == 141
    assert_nothing_stays(tmp_path, [pid])


@needs_apache38
def test_a_mixed_one(tmp_path: Path) -> None:
    done = run(tmp_path, "kill leader\nwait\nrevive\nwait\nstatus\nlog 1 200", "--kinds", "apache38,zktw*2")
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout[done.stdout.index("\nserver  kind") :].splitlines()[2:5]
    assert [line.split()[1] for line in table] == ["apache38", "zktw", "zktw"]
    assert sorted(line.split()[3] for line in table) == ["follower", "follower", "leader"]
    # Asking for roles does not fill its log.
    assert "QuorumPeer" in done.stdout
    assert "Processing srvr" not in done.stdout
    assert_nothing_stays(tmp_path, pids_in(done.stdout))
