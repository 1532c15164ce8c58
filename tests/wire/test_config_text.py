"""The configuration's text as Apache's servers sent it: in votes of elections, and in NEWLEADER."""

import json
import re
from pathlib import Path

import pytest

from zktw.config import load_config
from zktw.quorum.ensemble import Ensemble

RECORDINGS = Path(__file__).parent / "recordings"
NAMES = ("election-apache38", "election-apache39")
CONFIG_TEXT = re.compile(rb"server\.\d+=.*?\nversion=[0-9a-f]+", re.DOTALL)


def config_texts(name: str) -> list[str]:
    """Every configuration that a recording holds, in the order of connections."""
    sent: dict[tuple[int, str], bytearray] = {}
    for line in (RECORDINGS / f"{name}.jsonl").read_text().splitlines()[1:]:
        chunk = json.loads(line)
        sent.setdefault((chunk["conn"], chunk["from"]), bytearray()).extend(bytes.fromhex(chunk["hex"]))
    return [found.decode() for stream in sent.values() for found in CONFIG_TEXT.findall(bytes(stream))]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_is_written_alike(name: str) -> None:
    texts = config_texts(name)
    assert len(texts) > 10
    assert [Ensemble.from_text(text).text() for text in texts] == texts


@pytest.mark.parametrize("name", NAMES)
def test_a_file_with_these_members_has_the_text_that_apache_sends(name: str) -> None:
    text = config_texts(name)[0]
    # As an operator writes it: the role left out, the servers in any order.
    lines = [line.removesuffix(":participant") for line in reversed(text.splitlines()[:-1])]
    files = {
        "zoo.cfg": "\n".join(["dataDir=/d", "clientPort=2181", "initLimit=10", "syncLimit=5", *lines]),
        "/d/myid": "1\n",
    }
    config = load_config("zoo.cfg", files.__getitem__, {})
    assert config.ensemble is not None
    assert config.ensemble.text() == text
