"""WatchManager: who wants to hear of what (wire document, b.7; modes are independent, as since 3.9).

A watcher is a number, its connection's. Where a path has one watcher the table holds that number itself: a million
watches are two dict entries each, and nothing for the garbage collector to walk.
"""

from collections.abc import Iterator

from zktw.terms.codes import EventType, WatcherType
from zktw.tree.paths import ROOT

# Modes, as bits: one watcher may have several on one path.
DATA, CHILD, PERSISTENT, RECURSIVE = 1, 2, 4, 8
_DATA_TABLE = DATA | PERSISTENT | RECURSIVE
_MODES_OF = {
    WatcherType.CHILDREN: CHILD,
    WatcherType.DATA: DATA,
    WatcherType.ANY: DATA | CHILD | PERSISTENT | RECURSIVE,
    WatcherType.PERSISTENT: PERSISTENT,
    WatcherType.PERSISTENT_RECURSIVE: RECURSIVE,
}

_Table = dict[str, "int | dict[int, None]"]


class WatchManager:
    """Four tables from path to watchers, one a mode, and one from watcher to its paths with their modes."""

    def __init__(self) -> None:
        self._tables: dict[int, _Table] = {DATA: {}, CHILD: {}, PERSISTENT: {}, RECURSIVE: {}}
        self._by_watcher: dict[int, dict[str, int]] = {}

    def add(self, watcher: int, path: str, mode: int) -> None:
        """Let watcher hear of path; once more is no more."""
        paths = self._by_watcher.get(watcher)
        if paths is None:
            paths = self._by_watcher[watcher] = {}
        modes = paths.get(path, 0)
        if modes & mode:
            return
        paths[path] = modes | mode
        table = self._tables[mode]
        watchers = table.get(path)
        if watchers is None:
            table[path] = watcher
        elif isinstance(watchers, int):
            table[path] = {watchers: None, watcher: None}
        else:
            watchers[watcher] = None

    def trigger(self, event: EventType, path: str) -> list[int]:
        """Who hears of this event, each once; standard watches are used up by it."""
        told: dict[int, None] = {}
        if event == EventType.NODE_CHILDREN_CHANGED:
            self._fire(CHILD, path, told)
            self._look(PERSISTENT, path, told)
            return list(told)
        self._fire(DATA, path, told)
        self._look(PERSISTENT, path, told)
        if self._tables[RECURSIVE]:
            for above in _upwards(path):
                self._look(RECURSIVE, above, told)
        if event == EventType.NODE_DELETED:
            self._fire(CHILD, path, told)
        return list(told)

    def _look(self, mode: int, path: str, told: dict[int, None]) -> None:
        watchers = self._tables[mode].get(path)
        if watchers is None:
            return
        if isinstance(watchers, int):
            told[watchers] = None
        else:
            told.update(watchers)

    def _fire(self, mode: int, path: str, told: dict[int, None]) -> None:
        watchers = self._tables[mode].pop(path, None)
        if watchers is None:
            return
        for watcher in (watchers,) if isinstance(watchers, int) else watchers:
            told[watcher] = None
            self._drop_mode(watcher, path, mode)

    def _drop_mode(self, watcher: int, path: str, mode: int) -> None:
        paths = self._by_watcher[watcher]
        left = paths[path] & ~mode
        if left:
            paths[path] = left
            return
        del paths[path]
        if not paths:
            del self._by_watcher[watcher]

    def has(self, watcher: int, path: str, type_: WatcherType) -> bool:
        """Whether watcher has a watch of this type on path."""
        return bool(self._by_watcher.get(watcher, {}).get(path, 0) & _MODES_OF[type_])

    def remove(self, watcher: int, path: str, type_: WatcherType) -> bool:
        """Take such watches back; whether there were any."""
        modes = self._by_watcher.get(watcher, {}).get(path, 0) & _MODES_OF[type_]
        for mode in (DATA, CHILD, PERSISTENT, RECURSIVE):
            if modes & mode:
                self._take(mode, path, watcher)
                self._drop_mode(watcher, path, mode)
        return bool(modes)

    def _take(self, mode: int, path: str, watcher: int) -> None:
        table = self._tables[mode]
        watchers = table[path]
        if isinstance(watchers, int):
            del table[path]
            return
        del watchers[watcher]
        if not watchers:
            del table[path]

    def forget(self, watcher: int) -> None:
        """The watcher's connection has ended."""
        for path, modes in self._by_watcher.pop(watcher, {}).items():
            for mode in (DATA, CHILD, PERSISTENT, RECURSIVE):
                if modes & mode:
                    self._take(mode, path, watcher)

    @property
    def is_empty(self) -> bool:
        """Whether nobody wants to hear of anything."""
        return not self._by_watcher

    # -- figures -----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Watches as Apache counts them: a persistent one stands in both its tables."""
        return sum(
            (modes & DATA > 0) + (modes & CHILD > 0) + 2 * (modes & PERSISTENT > 0) + (modes & RECURSIVE > 0)
            for paths in self._by_watcher.values()
            for modes in paths.values()
        )

    def data_watches(self) -> Iterator[tuple[int, str]]:
        """Watcher and path of all but children watches: what wchs, wchc and wchp show."""
        for watcher, paths in self._by_watcher.items():
            for path, modes in paths.items():
                if modes & _DATA_TABLE:
                    yield watcher, path


def _upwards(path: str) -> Iterator[str]:
    """The path, its parent and so on up to the root."""
    while len(path) > 1:
        yield path
        path = path[: path.rindex("/")]
    yield ROOT
