"""Paths: what a valid one is, against the rules one by one; parents, names and suffixes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zktw.tree.paths import ROOT, child_of, is_valid, name_of, parent_of, sequence_suffix

FORBIDDEN = ["\0", "\x01", "\x1f", "\x7f", "\x9f", "\ue000", "\uf8ff", "\ufff0", "\ufffd", "\uffff", "\U0001f600"]


@pytest.mark.parametrize(
    "path", ["/", "/a", "/a/b", "/.a", "/a.", "/a..b", "/...", "/a b", "/\u00e9", "/\ud7ff", "/\uf900"]
)
def test_valid(path: str) -> None:
    assert is_valid(path)


@pytest.mark.parametrize("path", ["", "a", "a/b", "/a/", "//", "//a", "/a//b", "/.", "/..", "/./a", "/a/.", "/a/../b"])
def test_invalid(path: str) -> None:
    assert not is_valid(path)


@pytest.mark.parametrize("char", FORBIDDEN)
def test_characters_that_no_path_has(char: str) -> None:
    assert not is_valid(f"/a{char}")
    assert not is_valid(f"/{char}/a")


def _by_rules(path: str) -> bool:
    if path == "/":
        return True
    parts = path.split("/")
    if parts[0] != "" or len(parts) < 2 or any(part in ("", ".", "..") for part in parts[1:]):
        return False

    def allowed(char: str) -> bool:
        code = ord(char)
        return not (code < 0x20 or 0x7F <= code <= 0x9F or 0xD800 <= code <= 0xF8FF or code >= 0xFFF0)

    return all(map(allowed, path))


@given(
    st.text(st.sampled_from("/.ab") | st.characters(), max_size=8).map(lambda text: "/" + text) | st.text(max_size=4)
)
def test_as_the_rules_say(path: str) -> None:
    assert is_valid(path) == _by_rules(path)


@given(st.lists(st.text("ab.", min_size=1, max_size=3), min_size=1, max_size=4))
def test_a_path_is_its_parent_and_its_name(names: list[str]) -> None:
    path = "/" + "/".join(names)
    assert child_of(parent_of(path), name_of(path)) == path
    assert parent_of(path) == ("/" + "/".join(names[:-1]) if len(names) > 1 else ROOT)


@pytest.mark.parametrize(
    ("cversion", "suffix"),
    [(0, "0000000000"), (7, "0000000007"), (2**31 - 1, "2147483647"), (-5, "-000000005"), (-(2**31), "-2147483648")],
)
def test_suffixes(cversion: int, suffix: str) -> None:
    assert sequence_suffix(cversion) == suffix
