"""Recordings of Apache servers: data directories, and what went over a connection in each direction."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parent / "recordings"
DATADIRS = [f"datadir-apache{release}-{end}" for release in ("38", "39") for end in ("kill", "stop", "snap")]
_EVENTS = ("open", "close", "close>", "close<")


def snapshots() -> list[Path]:
    """Every recorded snapshot file."""
    return [path for name in DATADIRS for path in sorted((RECORDINGS / name / "version-2").glob("snapshot.*"))]


def expected(datadir: Path) -> dict[str, Any]:
    """What a recorded data directory holds, as a client saw it."""
    found: dict[str, Any] = json.loads((datadir / "expected.json").read_text())
    return found


def streams(name: str) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Each direction of each connection: its first chunk's description, and all its bytes joined."""
    chunks: dict[tuple[int, str], tuple[dict[str, Any], bytearray]] = {}
    with (RECORDINGS / f"{name}.jsonl").open() as file:
        next(file)
        for line in file:
            chunk = json.loads(line)
            if chunk["from"] not in _EVENTS:
                key = (chunk["conn"], chunk["from"])
                chunks.setdefault(key, (chunk, bytearray()))[1].extend(bytes.fromhex(chunk["hex"]))
    for chunk, data in chunks.values():
        yield chunk, bytes(data)
