"""What the pipeline counts of its work, by the names of mntr."""

from typing import Protocol

from zktw.terms.codes import EventType

# What stands before each frame.
LENGTH_BYTES = 4
# How many watchers heard of an event, by its type.
WATCH_FIGURES = {
    EventType.NODE_CREATED: "node_created_watch_count",
    EventType.NODE_DELETED: "node_deleted_watch_count",
    EventType.NODE_DATA_CHANGED: "node_changed_watch_count",
    EventType.NODE_CHILDREN_CHANGED: "node_children_watch_count",
}


class Figures(Protocol):
    """What is counted along the way."""

    def count(self, name: str, by: int = 1) -> None:
        """Something happened that mntr counts."""

    def add(self, name: str, value: int) -> None:
        """Something was so large."""
