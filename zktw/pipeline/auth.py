"""Authentication schemes: what a connection is taken for, and which ids an access control list may name (b.9)."""

import base64
import hashlib
from collections.abc import Callable

from zktw.terms.codes import Perm
from zktw.tree.acl import fix_acls, ip_network, is_allowed
from zktw.wire.jute import decode_text, encode_text
from zktw.wire.records import Acls, Identity

SUPER = Identity("super", "")


class Authentication:
    """The schemes that are in use: ip always, digest unless it is switched off; super by its digest."""

    def __init__(
        self, *, digest: bool = True, digest_alg: str = "sha1", super_digest: str = "", skip_acl: bool = False
    ) -> None:
        self._digest_alg = digest_alg
        self._super_digest = super_digest
        self.skip_acl = skip_acl
        self._valid: dict[str, Callable[[str], bool]] = {"ip": is_valid_ip}
        if digest:
            self._valid["digest"] = is_valid_digest

    def authenticate(self, scheme: str, auth: bytes, identities: tuple[Identity, ...]) -> tuple[Identity, ...] | None:
        """The identities of a connection after it has shown this; None: it has failed."""
        if scheme not in self._valid:
            return None
        if scheme == "ip":
            # The address is known already.
            return identities
        digest = self.digest_of(auth)
        more = [Identity("digest", digest)]
        if self._super_digest and digest == self._super_digest:
            more.append(SUPER)
        return identities + tuple([identity for identity in more if identity not in identities])

    def digest_of(self, auth: bytes) -> str:
        """user:hash of user:password; without a colon all of it is both."""
        text = decode_text(auth)
        digest = hashlib.new(self._digest_alg, encode_text(text)).digest()
        return f"{text.partition(':')[0]}:{base64.b64encode(digest).decode('ascii')}"

    def fix(self, acls: Acls | None, identities: tuple[Identity, ...]) -> Acls | None:
        """The list as it is stored; None: it is not valid."""
        return fix_acls(acls, identities, self._valid)

    def allows(self, acls: Acls, perm: Perm | int, identities: tuple[Identity, ...]) -> bool:
        """Whether these identities hold one of the permissions."""
        return self.skip_acl or is_allowed(acls, perm, identities)


def is_valid_ip(id_: str) -> bool:
    """An address, with or without a number of bits."""
    return ip_network(id_) is not None


def is_valid_digest(id_: str) -> bool:
    """Two parts with a colon between; colons at the end count for nothing."""
    parts = id_.rstrip(":").split(":")
    return len(parts) == 2


def user_of(identity: Identity) -> str:
    """Who that is, for whoAmI."""
    if identity.scheme == "digest":
        return identity.id.partition(":")[0]
    return "" if identity.scheme == "super" else identity.id
