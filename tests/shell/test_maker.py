"""What `twistd zkq` and `twist zkq` do as processes: options, refusals, exit statuses, signals, the daemon's files."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from zktw import __version__

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20
# The script of that name, whether it is on the path or not.
SCRIPT = ["-c", "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"]
TWISTD = [*SCRIPT, "-n", "--pidfile=", "zkq"]
TWIST = ["-m", "twisted", "zkq"]
both = pytest.mark.parametrize("command", [TWISTD, TWIST], ids=["twistd", "twist"])


def environ(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), **more}


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A process that is expected to end by itself."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environ(), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def write_config(folder: Path, *lines: str) -> Path:
    config = folder / "zoo.cfg"
    config.write_text("\n".join([f"dataDir={folder}/data", "clientPortAddress=127.0.0.1", *lines, ""]))
    return config


def write_standalone(folder: Path) -> Path:
    return write_config(folder, "clientPort=0")


def write_member(folder: Path) -> Path:
    """An ensemble of one server, the ports of which are free."""
    (folder / "data").mkdir()
    (folder / "data" / "myid").write_text("1\n")
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        ports = f"{one.getsockname()[1]}:{two.getsockname()[1]}"
    return write_config(
        folder, "clientPort=0", "standaloneEnabled=false", "initLimit=10", "syncLimit=5", f"server.1=127.0.0.1:{ports}"
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal."""
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("zkq: ")
    return line


def wait_until(what: str, happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)


class Manager:
    """Where systemd would listen."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.words: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)

    def heard(self, word: str) -> bool:
        """Whether a server has said this."""
        try:
            while True:
                self.words.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            return word in self.words

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Where tests run in the background SIGINT is ignored, and children would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def served(manager: Manager, *arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server that is ready."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=log.parent,
            env=environ(NOTIFY_SOCKET=manager.path),
            stdout=output,
            stderr=output,
        )
    try:
        wait_until("READY", lambda: manager.heard("READY=1") or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


# -- options -----------------------------------------------------------------------------------------------------------


@both
def test_version(command: list[str], tmp_path: Path) -> None:
    done = run(*command, "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"zktw {__version__}\n", "")


@both
def test_check_says_what_the_configuration_means_and_touches_nothing(command: list[str], tmp_path: Path) -> None:
    config = write_config(tmp_path, "clientPort=0")
    done = run(*command, "--config", "zoo.cfg", "--check", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{config} is valid\nmode: standalone\n")
    assert [path.name for path in tmp_path.iterdir()] == ["zoo.cfg"]


@both
def test_the_configuration_is_zoo_cfg_if_none_is_named(command: list[str], tmp_path: Path) -> None:
    write_config(tmp_path, "clientPort=0")
    assert run(*command, "--check", cwd=tmp_path).returncode == 0


# -- refusals ----------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("check", [[], ["--check"]], ids=["start", "check"])
def test_a_wrong_configuration_is_one_line(command: list[str], check: list[str], tmp_path: Path) -> None:
    config = write_config(tmp_path, "tickTime=fast")
    line = refused(run(*command, "-c", str(config), *check, cwd=tmp_path))
    assert line == f"zkq: {config}: tickTime=fast: not a number"


def test_a_missing_configuration_is_one_line(tmp_path: Path) -> None:
    line = refused(run(*TWISTD, "-c", "nowhere.cfg", cwd=tmp_path))
    assert line.startswith(f"zkq: {tmp_path}/nowhere.cfg: ")


def test_bytes_that_are_no_text_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "zoo.cfg").write_bytes(b"dataDir=\xff\xfe\n")
    assert f"{tmp_path}/zoo.cfg" in refused(run(*TWISTD, cwd=tmp_path))


@both
def test_without_assertions_it_does_not_run(command: list[str], tmp_path: Path) -> None:
    write_config(tmp_path, "clientPort=0")
    assert "(-O)" in refused(run("-O", *command, "--check", cwd=tmp_path))


@both
def test_a_damaged_epoch_ends_it_with_a_line_that_names_the_file(command: list[str], tmp_path: Path) -> None:
    write_member(tmp_path)
    damaged = tmp_path / "data" / "version-2" / "currentEpoch"
    damaged.parent.mkdir()
    damaged.write_text("seven")
    done = run(*command, cwd=tmp_path)
    assert done.returncode == 3
    assert str(damaged) in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert damaged.read_text() == "seven"


@both
def test_a_client_port_in_use_ends_it(command: list[str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        write_config(tmp_path, f"clientPort={port}")
        done = run(*command, cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot bind the client port" in done.stdout + done.stderr
    assert str(port) in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_an_election_port_in_use_ends_it_as_it_ends_apache(tmp_path: Path) -> None:
    config = write_member(tmp_path)
    port = int(config.read_text().rsplit(":", 1)[1])
    config.write_text(config.read_text() + "electionPortBindRetry=1\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = run(*TWISTD, cwd=tmp_path)
    assert done.returncode == 14
    assert "cannot bind the election port" in done.stdout


# -- signals -----------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("write", [write_standalone, write_member], ids=["standalone", "member"])
def test_a_signal_ends_it_in_order_within_a_second(
    command: list[str], sent: signal.Signals, write: Callable[[Path], Path], tmp_path: Path, manager: Manager
) -> None:
    write(tmp_path)
    log = tmp_path / "log"
    with served(manager, *command, log=log) as process:
        began = time.monotonic()
        process.send_signal(sent)
        status = process.wait(PATIENCE_S)
        took = time.monotonic() - began
    # When all is in order Twisted ends a process by the signal that it was sent: for systemd a clean exit.
    assert status in (0, -sent)
    assert took < 1
    assert manager.heard("STOPPING=1")
    assert manager.words.index("READY=1") < manager.words.index("STOPPING=1")
    assert "Traceback" not in log.read_text()
    assert "Main loop terminated" in log.read_text()


# -- the daemon --------------------------------------------------------------------------------------------------------


def test_twistd_s_own_options_make_it_a_daemon(tmp_path: Path, manager: Manager) -> None:
    """It goes to the background, writes its pid and its log where it is told, serves, and leaves no pid behind."""
    config, log, pidfile = write_member(tmp_path), tmp_path / "zk.log", tmp_path / "zk.pid"
    config.write_text(config.read_text() + "4lw.commands.whitelist=*\n")
    rundir = tmp_path / "rundir"
    rundir.mkdir()
    options = ["--pidfile", str(pidfile), "-l", str(log), "--rundir", str(rundir)]
    started = subprocess.run(
        [sys.executable, *SCRIPT, *options, "zkq", "-c", str(config)],
        cwd=tmp_path,
        env=environ(NOTIFY_SOCKET=manager.path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (started.returncode, started.stdout, started.stderr) == (0, b"", b"")
    wait_until("its pid", lambda: pidfile.exists() and pidfile.read_text().strip().isdigit())
    pid = int(pidfile.read_text())
    try:
        wait_until("serving", lambda: "serving in epoch 1" in log.read_text())
        assert manager.heard("READY=1")
        (port,) = re.findall(r"ClientCnxnFactory starting on (\d+)", log.read_text())
        with socket.create_connection(("127.0.0.1", int(port)), PATIENCE_S) as client:
            client.settimeout(PATIENCE_S)
            client.sendall(b"ruok")
            assert client.recv(16) == b"imok"
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until("its end", lambda: not Path(f"/proc/{pid}").exists() or not pidfile.exists())
    wait_until("the end of its pid file", lambda: not pidfile.exists())
    assert "Traceback" not in log.read_text()
    assert (tmp_path / "data" / "version-2" / "currentEpoch").read_text() == "1"


def test_a_relative_configuration_is_found_although_the_daemon_leaves(tmp_path: Path) -> None:
    """The path is taken where twistd was started, before it goes to its --rundir."""
    write_config(tmp_path, "clientPort=0")
    (tmp_path / "elsewhere").mkdir()
    done = run(*SCRIPT, "-n", "--pidfile=", "--rundir", "elsewhere", "zkq", "-c", "zoo.cfg", "--check", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
