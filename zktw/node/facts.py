"""The sessions and the tree of a server as the four-letter words ask for them."""

from collections.abc import Iterator

from zktw.admin.facts import Served
from zktw.node.clock import Clock, format_date, wall_ms
from zktw.node.datahost import DataHost
from zktw.tree.node import data_of
from zktw.tree.quota import NO_LIMIT, StatsTrack, limits_path, stats_path

_QUOTA_FIGURES = ("bytes_limit", "count_usage", "count_limit", "bytes_usage")


class NothingServed(Served):
    """Of a server that serves no sessions."""

    outstanding = session_count = local_session_count = ephemeral_count = watch_count = auth_failures = 0

    def sessions(self) -> list[tuple[int, int]]:
        """See Served."""
        return []

    def local_buckets(self) -> list[tuple[str, list[int]]] | None:
        """See Served."""
        return None

    def session_buckets(self) -> list[tuple[str, list[int]]]:
        """See Served."""
        return []

    def ephemerals(self) -> list[tuple[int, list[str]]]:
        """See Served."""
        return []

    def watches(self) -> Iterator[tuple[int, str]]:
        """See Served."""
        return iter(())

    def digests(self) -> Iterator[tuple[int, int]]:
        """See Served."""
        return iter(())

    def quotas(self) -> list[tuple[str, int]]:
        """See Served."""
        return []


class ServedByHost(Served):
    """Of a data service."""

    def __init__(self, host: DataHost, clock: Clock) -> None:
        self._service = host.service
        self._database = host.database
        self._clock = clock

    @property
    def outstanding(self) -> int:
        """See Served."""
        return self._service.outstanding

    @property
    def session_count(self) -> int:
        """See Served."""
        return len(self._service.tracker.sessions)

    @property
    def local_session_count(self) -> int:
        """See Served."""
        local = self._service.local
        return 0 if local is None else len(local.tracker.sessions)

    def local_buckets(self) -> list[tuple[str, list[int]]] | None:
        """See Served."""
        local = self._service.local
        return None if local is None else self._dated(local.tracker.buckets())

    @property
    def ephemeral_count(self) -> int:
        """See Served."""
        return self._database.tree.ephemeral_count

    @property
    def watch_count(self) -> int:
        """See Served."""
        return len(self._service.watches)

    @property
    def auth_failures(self) -> int:
        """See Served."""
        return self._service.auth_failures

    def sessions(self) -> list[tuple[int, int]]:
        """See Served."""
        return [(session.id, session.timeout_ms) for session in self._service.tracker.sessions.values()]

    def session_buckets(self) -> list[tuple[str, list[int]]]:
        """See Served."""
        return self._dated(self._service.tracker.buckets())

    def _dated(self, buckets: list[tuple[int, list[int]]]) -> list[tuple[str, list[int]]]:
        offset_ms = wall_ms() - self._clock.now_ms()
        return [(format_date(int(at_ms + offset_ms)), ids) for at_ms, ids in buckets]

    def ephemerals(self) -> list[tuple[int, list[str]]]:
        """See Served."""
        return [(session_id, list(paths)) for session_id, paths in self._database.tree.ephemerals.items()]

    def watches(self) -> Iterator[tuple[int, str]]:
        """See Served. Those of a connection that is about to end, whose session it is no more, are left out."""
        clients = self._service.clients
        for number, path in self._service.watches.data_watches():
            session = clients[number].session
            if session is not None:
                yield session.id, path

    def digests(self) -> Iterator[tuple[int, int]]:
        """See Served."""
        return iter(self._database.digests)

    def quotas(self) -> list[tuple[str, int]]:
        """See Served. All quotas below one child of the root are added up, as Apache does, a missing one as -1."""
        sums: dict[str, dict[str, int]] = {}
        for path in self._database.tree.quotas.paths:
            limits, use = self._track(limits_path(path)), self._track(stats_path(path))
            figures = sums.setdefault(path.split("/", 2)[1], dict.fromkeys(_QUOTA_FIGURES, 0))
            figures["bytes_limit"] += limits.size_hard if limits.size_hard > NO_LIMIT else limits.size
            figures["count_limit"] += limits.count_hard if limits.count_hard > NO_LIMIT else limits.count
            figures["bytes_usage"] += use.size
            figures["count_usage"] += use.count
        return [
            (f"{name}_quota_{figure}_per_namespace", sums[name][figure])
            for figure in _QUOTA_FIGURES
            for name in sums
            if sums[name][figure] > NO_LIMIT
        ]

    def _track(self, path: str) -> StatsTrack:
        record = self._database.tree.nodes.get(path)
        return StatsTrack.parse(data_of(record) if record is not None else None)
