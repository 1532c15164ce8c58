"""The syntax of Java properties files, which zoo.cfg follows: comments, escapes, continuation lines."""

from collections.abc import Iterator

_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_BLANK = " \t\f"


def parse_properties(text: str) -> list[tuple[str, str]]:
    """Keys and values in the order of the file, repeated keys included. Raises ValueError on a malformed \\u escape."""
    return [_split(line) for line in _logical_lines(text)]


def _logical_lines(text: str) -> Iterator[str]:
    """Lines without comments and blank ones, continuations joined."""
    joined = ""
    continues = False
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        stripped = line.lstrip(_BLANK)
        if not continues and (not stripped or stripped[0] in "#!"):
            continue
        joined += stripped
        backslashes = len(stripped) - len(stripped.rstrip("\\"))
        continues = backslashes % 2 == 1
        if continues:
            joined = joined[:-1]
        else:
            yield joined
            joined = ""
    if joined:
        yield joined


def _split(line: str) -> tuple[str, str]:
    """Part a line at its first unescaped '=', ':' or blank."""
    end = 0
    while end < len(line) and line[end] not in "=:" and line[end] not in _BLANK:
        end += 2 if line[end] == "\\" else 1
    key, rest = line[:end], line[end:].lstrip(_BLANK)
    if rest[:1] in ("=", ":"):
        rest = rest[1:].lstrip(_BLANK)
    return _unescape(key), _unescape(rest)


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    out = []
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char != "\\" or position == len(text):
            out.append(char if char != "\\" else "")
            continue
        escape = text[position]
        position += 1
        if escape == "u":
            digits = text[position : position + 4]
            if len(digits) < 4 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
                raise ValueError(f"malformed \\u escape in {text!r}")
            out.append(chr(int(digits, 16)))
            position += 4
        else:
            out.append(_ESCAPES.get(escape, escape))
    return "".join(out)
