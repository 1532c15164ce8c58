"""kazoo's own test suite, unchanged: its harness starts whatever is called java, which is a shim that starts ours."""

import os
import shlex
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ensemble import ROOT

SHIM = Path(__file__).parent / "programs" / "java_shim.py"
LIST = Path(__file__).with_name("kazoo_suite.md")
SUITE_S = 1500


def suite_missing() -> str | None:
    """Why kazoo's own suite cannot run here; None if it can."""
    source = os.environ.get("KAZOO_SOURCE", "")
    if not os.path.isdir(os.path.join(source, "kazoo", "tests")):
        return "$KAZOO_SOURCE names no checkout of kazoo's repository"
    wanted = "import pytest, pytest_timeout, jks, OpenSSL, gevent, eventlet, objgraph, puresasl"
    python = os.environ.get("KAZOO_PYTHON", sys.executable)
    tried = subprocess.run([python, "-c", wanted], capture_output=True, text=True, check=False)
    return None if not tried.returncode else f"$KAZOO_PYTHON: {tried.stderr.strip().splitlines()[-1]}"


def listed(heading: str) -> set[str]:
    """The tests that kazoo_suite.md names in a list below this heading."""
    section = LIST.read_text("utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return {line.split("`")[1] for line in section.splitlines() if line.startswith("- `")}


def outcomes(junit: Path) -> dict[str, set[str]]:
    """Names of tests by how they ended: passed, skipped, failed."""
    found: dict[str, set[str]] = {"passed": set(), "skipped": set(), "failed": set()}
    for case in ElementTree.parse(junit).iter("testcase"):
        name = f"{case.get('classname', '').removeprefix('kazoo.tests.')}.{case.get('name')}"
        tags = {child.tag for child in case}
        found["failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"].add(name)
    found["passed"] -= found["failed"]
    return found


def environment_of(directory: Path, servers: int, first_port: int) -> dict[str, str]:
    """For a harness that starts so many servers, whatever is called java; temporary files go into the directory."""
    made = os.environ | {
        "ZOOKEEPER_CLUSTER_SIZE": str(servers),
        "ZOOKEEPER_PORT_OFFSET": str(first_port),
        "ZOOKEEPER_VERSION": "3.8.0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(directory),
    }
    made.pop("PYTHONPATH", None)
    return made


def with_our_java(environment: dict[str, str], directory: Path) -> dict[str, str]:
    """The same where java is the shim, which is put into the directory."""
    shim = directory / "bin" / "java"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(SHIM))} "$@"\n')
    shim.chmod(0o755)
    return environment | {
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
    environment: dict[str, str], directory: Path, left_out: Iterable[str], only: Iterable[str] = ()
) -> tuple[dict[str, set[str]], str]:
    """Run it, or only these; how each test ended, and the end of what was printed."""
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
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(SUITE_S)
        finally:
            # Servers that the harness left behind would be in this group; the last of them is gone if none is.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)
    return outcomes(junit), (directory / "out.log").read_text("utf-8", "replace")[-20000:]
