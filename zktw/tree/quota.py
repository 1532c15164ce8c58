"""Quotas: limits of a subtree, and the count of what it holds (wire document, b.10)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from zktw.tree.paths import QUOTA, ROOT

LIMITS = "zookeeper_limits"
STATS = "zookeeper_stats"
NO_LIMIT = -1
_SEPARATORS = re.compile("[,;]+")
_NUMBER = re.compile("-?[0-9]{1,19}", re.ASCII)
_PAIR = re.compile("[A-Za-z]+=-?[0-9]{1,18}=?", re.ASCII)
_NUMBER_MAX = 2**63 - 1
_PREFIX = QUOTA + "/"


@dataclass(frozen=True, slots=True)
class StatsTrack:
    """Count and bytes of a subtree, or the limits of them. Hard limits refuse, the others only warn."""

    count: int = NO_LIMIT
    size: int = NO_LIMIT
    count_hard: int = NO_LIMIT
    size_hard: int = NO_LIMIT

    @classmethod
    def parse(cls, data: bytes | None) -> "StatsTrack":
        """Read one. Whatever clients wrote there can be read: what is no number of 64 bits counts as no limit.

        Apache's own text has a stray "=" before the first ";".
        """
        values: dict[str, int] = {}
        for pair in _SEPARATORS.split((data or b"").decode("utf-8", "replace")):
            name, _, value = pair.partition("=")
            value = value.rstrip("=")
            if _NUMBER.fullmatch(value) and -_NUMBER_MAX <= int(value) <= _NUMBER_MAX:
                values[name] = int(value)
        return cls(
            values.get("count", NO_LIMIT),
            values.get("bytes", NO_LIMIT),
            values.get("countHardLimit", NO_LIMIT),
            values.get("byteHardLimit", NO_LIMIT),
        )

    def text(self) -> bytes:
        """As nodes hold it."""
        text = f"count={self.count},bytes={self.size}"
        if self.count_hard > NO_LIMIT or self.size_hard > NO_LIMIT:
            text += f"=;byteHardLimit={self.size_hard};countHardLimit={self.count_hard}"
        return text.encode("ascii")


class QuotaIndex:
    """The paths that have a limits node. Most trees have none: then nothing is asked of it."""

    def __init__(self) -> None:
        self.paths: dict[str, None] = {}

    def deepest(self, path: str) -> str | None:
        """The path nearest above or at this one that has limits; the root has none."""
        if not self.paths:
            return None
        while path != ROOT and path:
            if path in self.paths:
                return path
            path = path[: path.rindex("/")]
        return None


def quota_node(path: str) -> tuple[str, str] | None:
    """(the path it speaks of, "zookeeper_limits" or "zookeeper_stats") of a node of the quota tree; else None."""
    if not path.startswith(_PREFIX):
        return None
    parent, _, name = path.rpartition("/")
    if name not in (LIMITS, STATS):
        return None
    return parent[len(QUOTA) :] or ROOT, name


def may_stand(path: str, data: bytes | None) -> bool:
    """Whether this is no quota, or one that every server can read: an Apache server ends at another."""
    if not path.startswith(_PREFIX) or quota_node(path) is None or not data:
        return True
    return all(_PAIR.fullmatch(pair) for pair in _SEPARATORS.split(data.decode("utf-8", "replace")))


def limits_path(path: str) -> str:
    """Where the limits of a path stand."""
    return f"{QUOTA}{path}/{LIMITS}"


def stats_path(path: str) -> str:
    """Where its figures stand."""
    return f"{QUOTA}{path}/{STATS}"


def exceeded(limits: StatsTrack, stats: StatsTrack, more_count: int, more_bytes: int) -> Iterable[tuple[bool, str]]:
    """(whether it is a hard limit, what would be exceeded) for each limit that this addition would pass."""
    if more_count > 0:
        hard = limits.count_hard > NO_LIMIT
        limit = limits.count_hard if hard else limits.count
        if NO_LIMIT < limit < stats.count + more_count:
            yield hard, f"count {stats.count + more_count} (limit {limit})"
    if more_bytes != 0:
        hard = limits.size_hard > NO_LIMIT
        limit = limits.size_hard if hard else limits.size
        if NO_LIMIT < limit < stats.size + more_bytes:
            yield hard, f"bytes {stats.size + more_bytes} (limit {limit})"
