"""Patroni, unmodified: two PostgreSQL servers that take their leader's place through an ensemble of ours (or Apache's).

$ZKTW_PATRONI is the bin directory of an environment with Patroni, $ZKTW_POSTGRES (by default
/usr/lib/postgresql/15/bin) that of PostgreSQL, whose psql, initdb and postgres are used. To run it:

    apt-get install postgresql
    /usr/bin/python3 -m venv VENV && VENV/bin/pip install 'patroni[zookeeper]' psycopg2-binary
    ZKTW_PATRONI=VENV/bin pytest -s tests/live/test_application.py

PostgreSQL does not run as root: started by root, both run as the user postgres, who must be able to reach VENV.
$ZKTW_ROUNDS: how many leaders of the ensemble are killed.
"""

import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from ensemble import HOST, Ensemble, free_port, missing, wait_until

PATRONI = Path(os.environ.get("ZKTW_PATRONI", "/nowhere"))
POSTGRES = Path(os.environ.get("ZKTW_POSTGRES", "/usr/lib/postgresql/15/bin"))
ROUNDS = int(os.environ.get("ZKTW_ROUNDS", "3"))
USER = "postgres" if os.geteuid() == 0 else None
SECRET = "of the tests only"
# The least that Patroni takes as time to live; the session's timeout is bounded by the ensemble's ticks.
TTL_S, LOOP_S, RETRY_S = 20, 2, 4
TICK_MS = 500
START_S, FAILOVER_S, DEMOTION_S, RETURN_S = 180.0, 60.0, 60.0, 120.0
WRITE_EVERY_S = 0.1
WATCHED_S = 8.0

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not (PATRONI / "patroni").exists(), reason="$ZKTW_PATRONI names no environment with Patroni"),
    pytest.mark.skipif(not (POSTGRES / "initdb").exists(), reason="no PostgreSQL where $ZKTW_POSTGRES says"),
]
KINDS = [
    "zktw",
    pytest.param("apache38", marks=pytest.mark.skipif(bool(missing("apache38")), reason="no Apache 3.8")),
]


class Member:
    """A Patroni and its PostgreSQL."""

    def __init__(self, number: int, directory: Path, hosts: list[str]) -> None:
        self.name = f"member{number}"
        self.directory = directory / self.name
        self.directory.mkdir()
        self.rest_port, self.port = free_port(), free_port()
        self.data = self.directory / "data"
        self.config = self.directory / "patroni.json"
        self.log = self.directory / "patroni.log"
        self.process: subprocess.Popen[bytes] | None = None
        # JSON is YAML too.
        self.config.write_text(json.dumps(self._settings(hosts), indent=1))
        if USER is not None:
            for path in (self.directory, self.config):
                shutil.chown(path, USER, USER)

    def _settings(self, hosts: list[str]) -> Mapping[str, object]:
        who = {"username": "postgres", "password": SECRET}
        return {
            "scope": "zktw",
            "name": self.name,
            "restapi": {"listen": f"{HOST}:{self.rest_port}", "connect_address": f"{HOST}:{self.rest_port}"},
            "zookeeper": {"hosts": hosts},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL_S,
                    "loop_wait": LOOP_S,
                    "retry_timeout": RETRY_S,
                    "postgresql": {
                        "use_pg_rewind": True,
                        "parameters": {"shared_buffers": "16MB", "max_connections": 20},
                    },
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"{HOST}:{self.port}",
                "connect_address": f"{HOST}:{self.port}",
                "data_dir": str(self.data),
                "bin_dir": str(POSTGRES),
                "pgpass": str(self.directory / "pgpass"),
                "remove_data_directory_on_rewind_failure": True,
                # On a busy host's disk a copy that is synced takes minutes.
                "basebackup": ["no-sync", {"checkpoint": "fast"}],
                "pg_hba": [f"host all all {HOST}/32 md5", f"host replication replicator {HOST}/32 md5"],
                "authentication": {"superuser": who, "replication": who | {"username": "replicator"}},
                "parameters": {"unix_socket_directories": str(self.directory), "fsync": "off"},
            },
        }

    def start(self) -> None:
        """Start its Patroni, which starts PostgreSQL."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [PATRONI / "patroni", self.config],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={"PATH": f"{POSTGRES}:{os.environ['PATH']}", "HOME": str(self.directory), "LC_ALL": "C"},
                user=USER,
                group=USER,
                extra_groups=None if USER is None else [],
            )

    def kill(self) -> None:
        """SIGKILL its Patroni; PostgreSQL stays and knows nothing of it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def close(self) -> None:
        """End both."""
        if self.process is not None:
            self.kill()
        with suppress(OSError, ValueError, IndexError):
            # The first line names the process that was started on this very directory.
            os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)

    def state(self) -> dict[str, object]:
        """What Patroni tells of itself; empty while it does not answer."""
        link = http.client.HTTPConnection(HOST, self.rest_port, timeout=5)
        try:
            link.request("GET", "/patroni")
            told = json.loads(link.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            return {}
        finally:
            link.close()
        return told if isinstance(told, dict) else {}

    def role(self) -> str | None:
        """primary, replica and so on, as long as PostgreSQL runs."""
        state = self.state()
        return str(state.get("role")) if state.get("state") == "running" else None

    def sql(self, statement: str) -> str:
        """What psql prints. Raises CalledProcessError, TimeoutExpired."""
        done = subprocess.run(
            [
                POSTGRES / "psql",
                "-XAtq",
                "-h",
                HOST,
                "-p",
                str(self.port),
                "-U",
                "postgres",
                "-c",
                statement,
                "postgres",
            ],
            env={"PGPASSWORD": SECRET, "PGCONNECT_TIMEOUT": "3", "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        return done.stdout.strip()

    def writable(self) -> bool:
        """Whether its PostgreSQL takes writes."""
        try:
            return self.sql("select pg_is_in_recovery()") == "f"
        except (subprocess.SubprocessError, OSError):
            return False


class Writer(threading.Thread):
    """Inserts a row again and again into one server; all that fails is kept."""

    def __init__(self, member: Member) -> None:
        super().__init__(daemon=True)
        self._member = member
        self.ending = threading.Event()
        self.rows = 0
        self.failed: list[str] = []

    def run(self) -> None:
        while not self.ending.wait(WRITE_EVERY_S):
            try:
                self._member.sql("insert into kept default values")
                self.rows += 1
            except subprocess.CalledProcessError as error:
                self.failed.append(error.stderr)
            except subprocess.TimeoutExpired as error:
                self.failed.append(str(error))


class Cluster:
    """Two members and the ensemble beneath them."""

    def __init__(self, ensemble: Ensemble, members: list[Member]) -> None:
        self.ensemble, self.members = ensemble, members

    def primary(self) -> Member | None:
        """Who says that it is primary, with the lock, and takes writes."""
        return next((each for each in self.members if each.role() == "primary" and each.writable()), None)

    def whole(self) -> bool:
        """One primary, and the other one streams from it."""
        primary = self.primary()
        if primary is None:
            return False
        told = {each.role() for each in self.members}
        return told == {"primary", "replica"} and bool(
            primary.sql("select 1 from pg_stat_replication where state = 'streaming'")
        )

    def wait_whole(self, timeout_s: float) -> tuple[Member, Member]:
        """Until then; the primary and the other one."""
        wait_until("a primary and a streaming replica", self.whole, timeout_s)
        primary = self.primary()
        assert primary is not None
        return primary, next(each for each in self.members if each is not primary)


@contextmanager
def cluster(kind: str) -> Iterator[Cluster]:
    """Both started, with a table to write to."""
    directory = Path(tempfile.mkdtemp(prefix="zktw-patroni-"))
    directory.chmod(0o755)
    members: list[Member] = []
    with Ensemble([kind] * 3, tick_ms=TICK_MS) as ensemble:
        try:
            ensemble.start()
            ensemble.wait_serving()
            for number in (1, 2):
                members.append(Member(number, directory, [node.address for node in ensemble.nodes]))
                members[-1].start()
            made = Cluster(ensemble, members)
            primary, _ = made.wait_whole(START_S)
            primary.sql("create table kept (id serial primary key)")
            yield made
        except BaseException:
            for member in members:
                printed = member.log.read_text("utf-8", "replace") if member.log.exists() else "never started"
                print(f"--- {member.name}\n{printed[-6000:]}")
            raise
        finally:
            for member in members:
                member.close()
            shutil.rmtree(directory, ignore_errors=True)


def took(what: str, happened: Callable[[], bool], timeout_s: float) -> None:
    print(f"{what}: after {wait_until(what, happened, timeout_s):.1f} s")


def timeline(member: Member) -> int:
    return int(member.sql("select timeline_id from pg_control_checkpoint()"))


@pytest.mark.parametrize("kind", KINDS)
def test_patroni_fails_over_by_the_ensemble_and_only_when_it_should(kind: str) -> None:
    with cluster(kind) as both:
        print(f"\n{kind}")
        the_leader_of_the_ensemble_dies(both)
        the_patroni_of_the_primary_dies(both)
        the_ensemble_loses_its_quorum(both)


def the_leader_of_the_ensemble_dies(both: Cluster) -> None:
    """Nothing happens: no failover, no demotion, not one write refused."""
    primary, other = both.wait_whole(START_S)
    before = timeline(primary)
    writer = Writer(primary)
    writer.start()
    for _ in range(ROUNDS):
        leader = both.ensemble.wait_leader()
        leader.kill()
        ends = time.monotonic() + WATCHED_S
        while time.monotonic() < ends:
            assert (primary.role(), other.role()) == ("primary", "replica")
            time.sleep(0.2)
        both.ensemble.start(leader)
        both.ensemble.wait_serving(leader)
    writer.ending.set()
    writer.join(30)
    assert not writer.failed
    assert timeline(primary) == before
    assert "demot" not in primary.log.read_text("utf-8", "replace").lower()
    print(
        f"{ROUNDS} leaders of the ensemble killed: no failover, no demotion, {writer.rows} rows written, none refused"
    )


def the_patroni_of_the_primary_dies(both: Cluster) -> None:
    """Its session ends, its lock goes, and the other one takes it."""
    primary, other = both.wait_whole(START_S)
    before = timeline(primary)
    rows = primary.sql("select count(*) from kept")
    wait_until("all rows on the replica", lambda: other.sql("select count(*) from kept") == rows, 30)
    primary.kill()
    took(
        "failover once the primary's Patroni was killed",
        lambda: other.role() == "primary" and other.writable(),
        FAILOVER_S,
    )
    wait_until("the new timeline", lambda: timeline(other) > before, 30)
    assert other.sql("select count(*) from kept") == rows
    primary.start()
    took("the old primary is the new one's replica", both.whole, RETURN_S)
    assert both.primary() is other


def the_ensemble_loses_its_quorum(both: Cluster) -> None:
    """Without a quorum nobody may be primary; with it there is one again, with all that was there."""
    primary, other = both.wait_whole(START_S)
    rows = primary.sql("select count(*) from kept")
    killed = both.ensemble.nodes[1:]
    for node in killed:
        node.kill()
    took(
        "the primary gave up without a quorum",
        lambda: primary.role() == "replica" and not primary.writable(),
        DEMOTION_S,
    )
    assert not other.writable()
    both.ensemble.start(*killed)
    took("a primary again, with a quorum", lambda: both.primary() is not None, RETURN_S)
    now, _ = both.wait_whole(RETURN_S)
    assert now.sql("select count(*) from kept") == rows
    now.sql("insert into kept default values")
