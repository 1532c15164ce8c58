"""The files of a configuration that changes: their names, and their texts (wire document, g.3).

`<cfg>.dynamic.<version>` holds the members and is named by the static file; `<cfg>.dynamic.next` holds what has been
proposed last; `<cfg>.bak` is the static file as it was while it held the members itself.
"""

from zktw.config.properties import parse_properties
from zktw.config.sources import MEMBER_KEYS
from zktw.quorum.ensemble import Ensemble

_CLIENT_KEYS = ("clientPort", "clientPortAddress")
_DYNAMIC_KEY = "dynamicConfigFile"
_GONE = ("peerType", _DYNAMIC_KEY)


def dynamic_path(path: str, version: int) -> str:
    """The dynamic file of this version beside the static file of this path."""
    return f"{path}.dynamic.{version:x}"


def next_path(path: str) -> str:
    """The file of what has been proposed last."""
    return f"{path}.dynamic.next"


def backup_path(path: str) -> str:
    """The copy of a static file that held the members."""
    return f"{path}.bak"


def dynamic_text(ensemble: Ensemble) -> str:
    """The members, sorted as text, without their version, which the file's name tells; no final newline."""
    return "\n".join(sorted(line for line in ensemble.text().split("\n") if not line.startswith("version=")))


def rewrite_static(text: str, dynamic: str, *, without_client_port: bool) -> str:
    """A static file's text that names the dynamic file instead of what stands there now.

    without_client_port: the list of servers says it. Comments and order stay, which Apache's servers do not keep.
    """
    gone = (*_GONE, *_CLIENT_KEYS) if without_client_port else _GONE
    kept = [lines for lines in _entries(text) if not _is_about(lines, gone)]
    body = "".join(f"{line}\n" for lines in kept for line in lines)
    return f"{body}{_DYNAMIC_KEY}={_escaped(dynamic)}\n"


def _is_about(lines: list[str], keys: tuple[str, ...]) -> bool:
    return any(key in keys or key.startswith(MEMBER_KEYS) for key, _ in parse_properties("\n".join(lines)))


def _entries(text: str) -> list[list[str]]:
    """Lines, those that a backslash continues together with what follows."""
    entries: list[list[str]] = []
    continues = False
    for line in text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n"):
        if continues:
            entries[-1].append(line)
        elif line or entries:
            entries.append([line])
        stripped = line.lstrip(" \t\f")
        comment = not continues and stripped[:1] in ("#", "!", "")
        continues = not comment and (len(line) - len(line.rstrip("\\"))) % 2 == 1
    if continues:
        # What comes behind is not its continuation.
        entries[-1].append("")
    return entries


def _escaped(value: str) -> str:
    """As a value of a properties file."""
    return value.replace("\\", "\\\\")
