"""Access control lists, each kept once under a number; and whether an identity holds a permission."""

import ipaddress
from collections.abc import Callable, Iterable, Mapping

from zktw.tree.node import OPEN_ACL_ID
from zktw.wire.records import OPEN_ACL, Acl, Acls, Identity

_WORLD = "world"
_SUPER = "super"
# Schemes that tell who somebody is; an address does not.
AUTHENTICATING = frozenset({"digest", "sasl", "x509"})
# Stands for a list that a fuzzy snapshot lacks: nobody may do anything until replay has brought it.
_MISSING: Acls = (Acl(0, _WORLD, "anyone"),)


class AclTable:
    """Lists by number. A number is never given twice, so that a snapshot under way can not be confused."""

    def __init__(self) -> None:
        self._lists: dict[int, Acls] = {}
        self._numbers: dict[Acls, int] = {}
        self._uses: dict[int, int] = {}
        self._last = 0

    def intern(self, acls: Acls) -> int:
        """The number of this list, which may be new."""
        if acls == OPEN_ACL:
            return OPEN_ACL_ID
        number = self._numbers.get(acls)
        if number is None:
            self._last += 1
            number = self._last
            self._set(number, acls)
        return number

    def load(self, number: int, acls: Acls) -> None:
        """A list of a snapshot, under the snapshot's number."""
        self._set(number, acls)
        self._last = max(self._last, number)

    def _set(self, number: int, acls: Acls) -> None:
        self._lists[number] = acls
        self._numbers[acls] = number

    def get(self, number: int) -> Acls:
        """The list of this number."""
        if number == OPEN_ACL_ID:
            return OPEN_ACL
        return self._lists.get(number, _MISSING)

    def use(self, number: int) -> None:
        """One more node has it."""
        if number != OPEN_ACL_ID:
            self._uses[number] = self._uses.get(number, 0) + 1

    def leave(self, number: int) -> None:
        """One node less has it; a list that none has is forgotten."""
        if number == OPEN_ACL_ID:
            return
        left = self._uses.get(number, 0) - 1
        if left > 0:
            self._uses[number] = left
            return
        self._uses.pop(number, None)
        acls = self._lists.pop(number, None)
        if acls is not None and self._numbers.get(acls) == number:
            del self._numbers[acls]

    def drop_unused(self) -> None:
        """Forget what a snapshot carried and no node has."""
        for number in [number for number in self._lists if number not in self._uses]:
            acls = self._lists.pop(number)
            if self._numbers.get(acls) == number:
                del self._numbers[acls]

    def copy(self) -> dict[int, Acls]:
        """All lists by number, as they are now."""
        return dict(self._lists)

    def __len__(self) -> int:
        return len(self._lists)


def is_allowed(acls: Acls, perm: int, identities: Iterable[Identity]) -> bool:
    """Whether one of these identities holds one of the permissions. An empty list lets everybody do everything."""
    if not acls:
        return True
    for identity in identities:
        if identity.scheme == _SUPER:
            return True
    for perms, scheme, id_ in acls:
        if not perms & perm:
            continue
        if scheme == _WORLD and id_ == "anyone":
            return True
        for mine in identities:
            if mine.scheme == scheme and _matches(scheme, mine.id, id_):
                return True
    return False


def _matches(scheme: str, mine: str, wanted: str) -> bool:
    if scheme == "ip":
        return ip_matches(mine, wanted)
    return mine == wanted


def ip_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """An address with or without a number of bits; None if it is none."""
    address, slash, bits = text.partition("/")
    # Python would take masks and other spellings as well.
    if slash and not (bits.isascii() and bits.isdigit()):
        return None
    try:
        return ipaddress.ip_network(f"{address}/{bits}" if slash else address, strict=False)
    except ValueError:
        return None


def ip_matches(address: str, wanted: str) -> bool:
    """Whether an address lies within a network, of its own family only."""
    network = ip_network(wanted)
    if network is None:
        return False
    try:
        return ipaddress.ip_address(address.partition("%")[0]) in network
    except ValueError:
        return False


def masked(acls: Acls) -> Acls:
    """The list as one sees it who may not administer it: without the hashes of passwords."""
    return tuple(
        [Acl(acl.perms, acl.scheme, f"{acl.id.partition(':')[0]}:x") if acl.scheme == "digest" else acl for acl in acls]
    )


def fix_acls(
    acls: Acls | None, identities: Iterable[Identity], valid: Mapping[str, Callable[[str], bool]]
) -> Acls | None:
    """What a create or setACL stores (wire document, b.9): duplicates dropped, auth expanded; None: INVALIDACL.

    valid maps each known scheme to a function that tells whether an id of it is valid.
    """
    if not acls:
        return None
    fixed: dict[Acl, None] = {}
    for acl in acls:
        if acl.scheme == _WORLD:
            if acl.id != "anyone":
                return None
            fixed[acl] = None
        elif acl.scheme == "auth":
            mine = [Acl(acl.perms, one.scheme, one.id) for one in identities if one.scheme in AUTHENTICATING]
            if not mine:
                return None
            fixed.update(dict.fromkeys(mine))
        else:
            check = valid.get(acl.scheme)
            if check is None or not check(acl.id):
                return None
            fixed[acl] = None
    return tuple(fixed)
