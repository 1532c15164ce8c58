"""kazoo's own test suite, unchanged, on an ensemble of three: its harness starts, stops and restarts servers of ours.

What it needs is told in test_kazoo_suite.py; what differs here is listed in kazoo_suite.md. $ZKTW_KAZOO_KIND=apache38
runs it on three of Debian's Apache 3.8 instead, where all must pass.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest
from ensemble import DEBIAN_JARS, HOST, JVM_FLAGS, ROOT, free_port
from test_kazoo_suite import SHIM, listed, outcomes, suite_missing

pytestmark = pytest.mark.live

KIND = os.environ.get("ZKTW_KAZOO_KIND", "zktw")
SERVERS = 3
# What kazoo's harness takes for each server: five ports, the next server's ten further on.
PORTS_EACH, PORTS_APART = 5, 10
SUITE_S = 1500
TESTS_AT_LEAST = 485
TRIED_AGAIN_MAX = 20
# Apache's transport of the harness's choice is in a jar of its own.
APACHE_JARS = [*DEBIAN_JARS, "/usr/share/java/netty-codec.jar"]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_range() -> int:
    """The first of the ports for all servers."""
    while True:
        first = free_port()
        wanted = [first + PORTS_APART * server + port for server in range(SERVERS) for port in range(PORTS_EACH)]
        if all(map(is_free, wanted)):
            return first


def environment_of(kind: str, directory: Path) -> dict[str, str]:
    """For kazoo's harness, which starts whatever is called java."""
    made = os.environ | {
        "ZOOKEEPER_CLUSTER_SIZE": str(SERVERS),
        "ZOOKEEPER_PORT_OFFSET": str(free_range()),
        "ZOOKEEPER_VERSION": "3.8.0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(directory),
    }
    made.pop("PYTHONPATH", None)
    if kind != "zktw":
        return made | {"ZOOKEEPER_CLASSPATH": ":".join(APACHE_JARS), "JAVA_TOOL_OPTIONS": JVM_FLAGS}
    shim = directory / "bin" / "java"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(SHIM))} "$@"\n')
    shim.chmod(0o755)
    return made | {
        "PATH": os.pathsep.join([str(shim.parent), os.environ["PATH"]]),
        "ZKTW_ROOT": str(ROOT),
        "ZKTW_TWISTD": str(Path(sys.executable).parent / "twistd"),
        "ZOOKEEPER_CLASSPATH": "none",
    }


def node_id(name: str) -> str:
    """A listed test as pytest calls it."""
    module, group, test = name.split(".")
    return f"kazoo/tests/{module}.py::{group}::{test}"


def run_suite(
    kind: str, directory: Path, left_out: Iterable[str], only: Iterable[str] = ()
) -> tuple[dict[str, set[str]], str]:
    """Run it, or only these, on three servers of this kind; how each test ended, and the end of what was printed."""
    directory.mkdir()
    junit = directory / "junit.xml"
    command = [os.environ.get("KAZOO_PYTHON", sys.executable), "-m", "pytest", "-o", "addopts="]
    command += ["-q", "-p", "no:cacheprovider", "--timeout", "120", "--timeout-method", "signal"]
    command += ["--junitxml", str(junit), *(map(node_id, only) if only else ["kazoo/tests"])]
    for name in sorted(left_out):
        command += ["--deselect", node_id(name)]
    with open(directory / "out.log", "wb") as log:
        process = subprocess.Popen(
            command,
            cwd=os.environ["KAZOO_SOURCE"],
            env=environment_of(kind, directory),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(SUITE_S)
        finally:
            # Servers that the harness left behind would be in this group.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)
    return outcomes(junit), (directory / "out.log").read_text("utf-8", "replace")[-20000:]


def test_all_that_passes_on_three_of_apache_passes_on_three_of_ours(tmp_path: Path) -> None:
    reason = suite_missing()
    if reason is not None:
        pytest.skip(reason)
    ours = KIND == "zktw"
    left_out = listed("Left out here") if ours else set()
    excused = listed("Differs here") if ours else set()
    found, printed = run_suite(KIND, tmp_path / "all", left_out)
    failed = found["failed"] - excused
    print({how: len(tests) for how, tests in found.items()}, sorted(found["failed"]))
    if 0 < len(failed) <= TRIED_AGAIN_MAX:
        # kazoo gives a restarted server five seconds, which a busy host may not have: these once more, by themselves.
        again, printed = run_suite(KIND, tmp_path / "again", (), sorted(failed))
        failed -= again["passed"]
        found["passed"] |= again["passed"]
    assert not failed, printed
    assert not found["skipped"] - listed("Skipped on both")
    assert len(found["passed"]) >= TESTS_AT_LEAST
