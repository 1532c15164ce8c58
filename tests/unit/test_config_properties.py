"""The syntax of Java's properties files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zktw.config.properties import parse_properties

# Whatever Java can write: no lone surrogates, which no file holds.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_NAMED = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}


def written(text: str, *, key: bool) -> str:
    """As java.util.Properties stores it: separators of a key, leading blanks of a value and marks escaped."""
    out = []
    for position, char in enumerate(text):
        if char in _NAMED:
            out.append(_NAMED[char])
        elif char in "\\#!=:" or (char == " " and (key or position == 0)):
            out.append("\\" + char)
        elif char.isascii() and char.isprintable():
            out.append(char)
        else:
            units = char.encode("utf-16-be")
            out += [f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)]
    return "".join(out)


def joined(text: str) -> str:
    """Halves of a pair of surrogates made one character, as Java's strings have them."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")


@given(st.lists(st.tuples(TEXTS.filter(bool), TEXTS), max_size=8), st.sampled_from(["=", ":", " = ", "\t:\f", " "]))
def test_what_java_stores_is_read_back(pairs: list[tuple[str, str]], separator: str) -> None:
    text = "".join(f"{written(key, key=True)}{separator}{written(value, key=False)}\n" for key, value in pairs)
    read = parse_properties(text)
    assert [(joined(key), joined(value)) for key, value in read] == pairs


@given(st.text() | st.text("ab=: \\\n\r#!u0"))
def test_any_text_is_pairs_or_a_value_error(text: str) -> None:
    try:
        pairs = parse_properties(text)
    except ValueError as error:
        reason = str(error)
    else:
        assert all(key is not None and value is not None for key, value in pairs)
        return
    # Nothing else may be wrong with a text.
    assert reason.startswith("malformed \\u escape")


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("\n \t\n", []),
        ("# a=1\n  ! b=2\n", []),
        ("a=1", [("a", "1")]),
        ("a=1\r\nb=2\rc=3\n", [("a", "1"), ("b", "2"), ("c", "3")]),
        ("a", [("a", "")]),
        ("a=", [("a", "")]),
        ("a 1", [("a", "1")]),
        ("a : 1", [("a", "1")]),
        ("a == 1", [("a", "= 1")]),
        ("  a = 1  ", [("a", "1  ")]),
        ("a=1#2", [("a", "1#2")]),
        ("server.1=h:2888:3888", [("server.1", "h:2888:3888")]),
        ("a\\:b\\=c\\ d=1", [("a:b=c d", "1")]),
        ("a=1,\\\n   2,\\\r\n\t3", [("a", "1,2,3")]),
        ("a=1\\\\\nb=2", [("a", "1\\"), ("b", "2")]),
        ("a=1\\\n# no comment here", [("a", "1# no comment here")]),
        ("a=1\\", [("a", "1")]),
        ("# comment\\\na=1", [("a", "1")]),
        ("a=\\u0041\\t\\q", [("a", "A\tq")]),
        ("a=1\na=2", [("a", "1"), ("a", "2")]),
    ],
)
def test_each_rule_of_the_syntax(text: str, pairs: list[tuple[str, str]]) -> None:
    assert parse_properties(text) == pairs


@pytest.mark.parametrize("text", ["a=\\u", "a=\\u12", "a=\\u12g4", "a=\\u+123", "\\u 123=a"])
def test_a_malformed_escape_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="malformed"):
        parse_properties(text)
