"""Paths: what a valid one is, its parent, and the suffix of sequential nodes (wire document, b.8)."""

import re

from zktw.wire.txn import UNDELETABLE

ROOT = "/"
SYSTEM = "/zookeeper"
QUOTA = "/zookeeper/quota"
CONFIG = "/zookeeper/config"
SYSTEM_PREFIX = "/zookeeper/"
# What no client may delete.
SPECIAL = UNDELETABLE

# Control characters, surrogates and the private area, the specials at the end; and what Java writes as surrogates.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\uffff\U00010000-\U0010ffff]")
_DOTS = re.compile(r"/\.\.?(?:/|$)")


def is_valid(path: str) -> bool:
    """Whether a node may have this path."""
    if path == ROOT:
        return True
    return (
        path.startswith(ROOT)
        and not path.endswith(ROOT)
        and "//" not in path
        and _FORBIDDEN.search(path) is None
        and ("/." not in path or _DOTS.search(path) is None)
    )


def parent_of(path: str) -> str:
    """The path of the parent; of a path with one slash that is the root."""
    return path[: path.rindex("/")] or ROOT


def name_of(path: str) -> str:
    """The last component."""
    return path[path.rindex("/") + 1 :]


def child_of(parent: str, name: str) -> str:
    """The path of a child."""
    return f"{parent}/{name}" if parent != ROOT else f"/{name}"


def sequence_suffix(cversion: int) -> str:
    """Ten digits, by the parent's stored cversion; after its overflow a sign and nine."""
    return f"{cversion:010d}"
