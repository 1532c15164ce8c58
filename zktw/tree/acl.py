"""Access control lists, each kept once under a number; and whether an identity holds a permission."""

import re
from collections.abc import Callable, Container, Iterable, Mapping
from ipaddress import AddressValueError, IPv6Address

from zktw.tree.node import OPEN_ACL_ID
from zktw.wire.records import OPEN_ACL, Acl, Acls, Identity

_WORLD = "world"
_SUPER = "super"
_IP = "ip"
# Of an entry of a list on the wire, its texts not counted.
_ENTRY_BYTES = 12
_IPV4 = re.compile(r"\.".join([r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"] * 4), re.ASCII)
_BITS = re.compile("[0-9]{1,9}", re.ASCII)
# Above this a set is sooner made than a tuple searched for each entry.
_FEW = 4
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
    """Whether one of these identities holds one of the permissions. An empty list lets everybody do everything.

    Clients may write lists of tens of thousands, and have many identities: the work is the sum of both, no product.
    """
    if not acls:
        return True
    identities = tuple(identities)
    mine: Container[tuple[str, str]] = frozenset(identities) if len(identities) > _FEW else identities
    addresses = []
    for identity in identities:
        if identity.scheme == _SUPER:
            return True
        if identity.scheme == _IP:
            addresses.append(_parsed(identity.id.partition("%")[0]))
    for perms, scheme, id_ in acls:
        if not perms & perm:
            continue
        if scheme == _IP:
            network = ip_network(id_)
            if network is not None and any(_lies_in(address, network) for address in addresses):
                return True
        elif (scheme == _WORLD and id_ == "anyone") or (scheme, id_) in mine:
            return True
    return False


def ip_network(text: str) -> tuple[int, int, int] | None:
    """(address, bits of such an address, how many of them count: all if none are named); None if it is none."""
    text, slash, number = text.partition("/")
    address = _parsed(text)
    if address is None:
        return None
    value, width = address
    bits = width
    if slash:
        if not _BITS.fullmatch(number):
            return None
        bits = int(number)
    return (value, width, bits) if bits <= width else None


def _parsed(address: str) -> tuple[int, int] | None:
    # Not by the library: that takes ten times as long, and lists of tens of thousands come.
    if match := _IPV4.fullmatch(address):
        first, second, third, fourth = match.groups()
        return int(first) << 24 | int(second) << 16 | int(third) << 8 | int(fourth), 32
    if ":" not in address or "%" in address:
        return None
    try:
        return int(IPv6Address(address)), 128
    except AddressValueError:
        return None


def _lies_in(address: tuple[int, int] | None, network: tuple[int, int, int]) -> bool:
    base, width, bits = network
    return address is not None and address[1] == width and (address[0] ^ base) >> (width - bits) == 0


def masked(acls: Acls) -> Acls:
    """The list as one sees it who may not administer it: without the hashes of passwords."""
    return tuple(
        [Acl(acl.perms, acl.scheme, f"{acl.id.partition(':')[0]}:x") if acl.scheme == "digest" else acl for acl in acls]
    )


def expansion(acls: Acls, identities: Iterable[Identity]) -> tuple[int, int]:
    """What the entries of scheme auth become: (how many entries, how many bytes) at most, on the wire."""
    perms = {acl.perms for acl in acls if acl.scheme == "auth"}
    if not perms:
        return 0, 0
    mine = [one for one in identities if one.scheme in AUTHENTICATING]
    size = sum(_ENTRY_BYTES + len(one.scheme) + len(one.id.encode("utf-8")) for one in mine)
    return len(perms) * len(mine), len(perms) * size


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
