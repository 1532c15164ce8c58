"""What the ephemeralOwner of a node means: a session, a container, a time to live (wire document, b.8)."""

from enum import Enum

CONTAINER_OWNER = -(2**63)
TTL_MAX_MS = 2**40 - 1
_TTL_MARK = 0xFF
_TTL_BITS = 0xFF00 << 48


class NodeKind(Enum):
    """How long a node lives by itself."""

    PERSISTENT = 0
    EPHEMERAL = 1
    CONTAINER = 2
    TTL = 3


class OwnerRules:
    """How this ensemble reads owners; all its servers must read them alike.

    Without extended types an owner that begins with 0xff is a session's; 3.5.3 marked times to live by the sign alone.
    """

    __slots__ = ("emulate_353", "extended")

    def __init__(self, *, extended: bool, emulate_353: bool = False) -> None:
        self.extended = extended
        self.emulate_353 = emulate_353 and extended

    def kind(self, owner: int) -> NodeKind:
        """What kind of node has this owner."""
        if owner == 0:
            return NodeKind.PERSISTENT
        if owner == CONTAINER_OWNER:
            return NodeKind.CONTAINER
        if self.emulate_353:
            return NodeKind.TTL if owner < 0 else NodeKind.EPHEMERAL
        if self.extended and (owner >> 56) & 0xFF == _TTL_MARK:
            return NodeKind.TTL
        return NodeKind.EPHEMERAL

    def ttl_of(self, owner: int) -> int:
        """The milliseconds that a TTL node lives without change."""
        return owner & TTL_MAX_MS

    def owner_of_ttl(self, ttl: int) -> int:
        """The owner that says so. Never that of 3.5.3: such owners are read where that is configured, not written."""
        return (_TTL_BITS | ttl) - (1 << 64)
