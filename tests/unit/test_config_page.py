"""docs/configuration.md names every key, with its default and whether it works, and no other."""

import re
from collections import Counter
from pathlib import Path

from zktw.config.keys import EITHER_NAME, FILE_KEYS, OPEN_FAMILIES, PROPERTIES, REFUSED, UNPREFIXED, Effect

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([^`]+)` \| (?:`([^`]*)` )?\| (yes|later|JVM) \| (?:(.*) )?\|$", re.MULTILINE)
WORDS = {Effect.WORKS: "yes", Effect.LATER: "later", Effect.JVM: "JVM"}


def test_each_key_has_one_row_with_its_default_and_effect() -> None:
    rows = ROW.findall(PAGE)
    assert max(Counter(key for key, *_ in rows).values()) == 1
    shown = {key: (default, works) for key, default, works, _ in rows}
    known = {key: (default, WORDS[effect]) for key, (default, effect) in (FILE_KEYS | PROPERTIES).items()}
    assert shown == known


def test_a_key_that_works_is_described() -> None:
    assert [key for key, _, works, text in ROW.findall(PAGE) if works == "yes" and not text] == []


def test_what_is_refused_is_said_to_be() -> None:
    texts = {key: text for key, _, _, text in ROW.findall(PAGE)}
    assert [key for key in REFUSED if "efused." not in texts[key]] == []


def test_families_are_named() -> None:
    assert [prefix for prefix in OPEN_FAMILIES if f"`{prefix}*`" not in PAGE] == []


def test_no_name_is_both_a_key_of_the_file_and_a_property() -> None:
    assert [key for key in FILE_KEYS if key in PROPERTIES] == []
    assert [key for key in sorted(UNPREFIXED | EITHER_NAME) if key not in PROPERTIES] == []
