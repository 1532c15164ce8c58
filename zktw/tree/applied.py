"""Applied: what became of a transaction, and what watchers must hear of it."""

from dataclasses import dataclass, field

from zktw.terms.codes import EventType
from zktw.wire.records import Acls

# Type, path, and the list that says who may read of it.
Event = tuple[EventType, str, Acls]


@dataclass(slots=True)
class Applied:
    """What became of a transaction: error, the node's path and its record afterwards, and the parts of a multi."""

    type: int
    err: int = 0
    path: str = ""
    record: bytes | None = None
    parts: "list[Applied]" = field(default_factory=list)
