"""Runs the zktw command in this process, for the tests of its tools; and data directories for it to look at."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from logs import create

from zktw.storage.logformat import HEADER, encode_entry
from zktw.storage.snapformat import SnapshotEncoder
from zktw.tools.main import main
from zktw.tree.database import Database

RECORDINGS = Path(__file__).parents[1] / "wire" / "recordings"
DATADIRS = [f"datadir-apache{release}-{end}" for release in ("38", "39") for end in ("kill", "stop", "snap")]


@dataclass
class Told:
    """What a call printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Facts, without the lines that say which file they are of."""
        return [line for line in self.out.splitlines() if not line.startswith("#")]

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The same of --json."""
        return [json.loads(line) for line in self.out.splitlines()]


class Zktw:
    """The command."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Told:
        self._capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as error:
            status = int(error.code or 0)
        printed = self._capsys.readouterr()
        return Told(status, printed.out, printed.err)


def log(*zxids: int) -> bytes:
    """A log of creates."""
    return HEADER + b"".join(encode_entry(create(zxid, b"some")) for zxid in zxids)


def database(*zxids: int) -> Database:
    """What that log leads to."""
    made = Database()
    for zxid in zxids:
        made.replay(create(zxid, b"some"))
    return made


def snapshot(made: Database, digest: int | None = None) -> bytes:
    """A snapshot of it."""
    image = made.image()
    encoder = SnapshotEncoder()
    content = encoder.begin() + b"".join(encoder.add(piece) for piece in image.pieces())
    return content + encoder.end(made.last_zxid, digest=digest, last_zxid=None)


def put(directory: Path, **contents: bytes) -> None:
    """Files of a data directory; an underscore in a name stands for the dot."""
    inner = directory / "version-2"
    inner.mkdir(exist_ok=True)
    for name, content in contents.items():
        (inner / name.replace("_", ".")).write_bytes(content)


def flipped(content: bytes, at: int) -> bytes:
    """The same with one bit changed."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def recorded(name: str, directory: Path) -> Path:
    """A copy of a data directory that an Apache server left."""
    shutil.copytree(RECORDINGS / name / "version-2", directory / "version-2")
    for path in (directory, directory / "version-2", *(directory / "version-2").iterdir()):
        path.chmod(0o755)
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    """All files below it."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
