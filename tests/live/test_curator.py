"""Curator's recipes on Apache's server and on ours: the same transcript, over a killed server.

The program is programs/CuratorSession.java. Curator's jars are looked for in $CURATOR_LIB (all jars there make
the class path, ZooKeeper's and a logger's among them), else where Debian's package libcurator-recipes-java has them.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ensemble import missing
from transcripts import said_over_a_kill

pytestmark = pytest.mark.live

SOURCE = Path(__file__).parent / "programs" / "CuratorSession.java"
DEBIAN = Path("/usr/share/java")
DEBIAN_JARS = ["curator-recipes", "curator-framework", "curator-client", "zookeeper", "guava", "slf4j-nop"]
JVM = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
PROPERTIES = {"zookeeper.extendedTypesEnabled": "true", "znode.container.checkIntervalMs": "200"}


def class_path() -> str:
    """Curator and what it needs. Skips the test where there is none."""
    library = os.environ.get("CURATOR_LIB")
    if library:
        return os.path.join(library, "*")
    jars = [DEBIAN / f"{name}.jar" for name in DEBIAN_JARS]
    gone = [str(jar) for jar in jars if not jar.exists()]
    if gone:
        pytest.skip(f"$CURATOR_LIB is not set, and no {gone[0]} (Debian's package libcurator-recipes-java)")
    return ":".join(map(str, jars))


def compile_program(directory: Path) -> list[str]:
    """The command that runs the program, an address to be added."""
    if shutil.which("javac") is None:
        pytest.skip("no javac")
    jars = class_path()
    subprocess.run(["javac", "-nowarn", "-proc:none", "-cp", jars, "-d", directory, SOURCE], check=True)
    return [os.environ.get("JAVA", "java"), *JVM, "-cp", f"{directory}:{jars}", SOURCE.stem]


def transcript(command: list[str], kind: str) -> list[str]:
    """What the program prints on a server of this kind."""
    return said_over_a_kill(kind, command, PROPERTIES, timeout_s=240, tick_ms=1000)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return transcript(compile_program(tmp_path_factory.mktemp("curator")), "zktw")


def test_recipes_come_to_their_ends(ours: list[str]) -> None:
    assert ours[-1] == "done"
    assert "counted under the mutex: 60" in ours
    assert "the same session: true" in ours
    assert "held still: true" in ours


@pytest.mark.skipif(missing("apache38") is not None, reason=str(missing("apache38")))
def test_the_transcript_is_that_of_apaches_server(ours: list[str], tmp_path: Path) -> None:
    assert ours == transcript(compile_program(tmp_path), "apache38")
