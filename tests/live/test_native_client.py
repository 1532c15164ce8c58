"""A C program on Apache's client library, on Apache's server and on ours: the same transcript, over a killed server.

Its source is programs/native_session.c; it is compiled here, against the header and library of Debian's package
libzookeeper-mt-dev. The servers are killed with SIGKILL in the middle and started again.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ensemble import missing
from transcripts import said_over_a_kill

pytestmark = pytest.mark.live

SOURCE = Path(__file__).parent / "programs" / "native_session.c"
HEADER = "zookeeper/zookeeper.h"
COMPILER = os.environ.get("CC", "cc")
PROPERTIES = {"zookeeper.extendedTypesEnabled": "true"}


def compile_program(directory: Path) -> Path:
    """The program. Skips the test where compiler, header or library are missing."""
    if shutil.which(COMPILER) is None:
        pytest.skip(f"no C compiler {COMPILER}")
    probe = subprocess.run(
        [COMPILER, "-E", "-include", HEADER, "-x", "c", os.devnull], capture_output=True, text=True, check=False
    )
    if probe.returncode:
        pytest.skip(f"no {HEADER} (Debian's package libzookeeper-mt-dev)")
    program = directory / "native_session"
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-DTHREADED"]
    subprocess.run([COMPILER, *flags, "-o", program, SOURCE, "-lzookeeper_mt", "-lpthread"], check=True)
    return program


def transcript(program: Path, kind: str) -> list[str]:
    """What the program prints on a server of this kind."""
    return said_over_a_kill(kind, [str(program)], PROPERTIES, timeout_s=120)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return transcript(compile_program(tmp_path_factory.mktemp("native")), "zktw")


def test_a_killed_server_loses_neither_session_nor_data(ours: list[str]) -> None:
    after = ours[ours.index("RESTART") :]
    assert "the same session: 1" in after
    assert after[after.index("exists /c/eph: ok") + 1].endswith("ephemeral=1")
    assert after[after.index("exists /c/many: ok") + 1].split()[-2] == "children=1000"
    assert "set /c/hers version=-1: ok" in after
    assert "event over-the-restart type=3 path=/c/w" in after
    # The count of children ever made below /c goes on.
    assert "create /c/seq- mode=2: ok /c/seq-0000000013" in after
    assert "exists /c/eph: no node" in after


@pytest.mark.skipif(missing("apache38") is not None, reason=str(missing("apache38")))
def test_the_transcript_is_that_of_apaches_server(ours: list[str], tmp_path: Path) -> None:
    assert ours == transcript(compile_program(tmp_path), "apache38")
