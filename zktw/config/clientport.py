"""The client port: from clientPort, clientPortAddress and our own line in the list of servers."""

import re

from zktw.config.members import Membership
from zktw.config.values import Values

ANY_ADDRESS = ("0.0.0.0", "::", "")
SYSTEMD = "systemd:"
# Of a socket of another family nobody could be counted by his address.
_HANDED_OVER = re.compile(r"systemd:(domain=)?INET6?:((index=)?[0-9]{1,4}|name=[^:]+)")


def read_client_port(values: Values, membership: Membership) -> tuple[int | None, str]:
    """Port (None: none is opened) and address ("": every one; "systemd:…": a socket that systemd has opened)."""
    port = values.port("clientPort")
    address = _read_address(values)
    if port is None and address:
        raise values.error("clientPortAddress", "clientPortAddress is set but clientPort is not")
    own = membership.me.client_address if membership.me is not None else None
    if own is not None:
        elsewhere = address not in (*ANY_ADDRESS, own.host) and not address.startswith(SYSTEMD)
        if port is not None and (port != own.port or elsewhere):
            raise values.error("clientPort", f"server.{membership.my_sid} says that the client port is {own}")
        port, address = own.port, address if address.startswith(SYSTEMD) else own.host
    _check_clash(values, membership, port, address)
    return port, "" if address == "0.0.0.0" else address


def _read_address(values: Values) -> str:
    address = values.text("clientPortAddress")
    if address.startswith(SYSTEMD) and not _HANDED_OVER.fullmatch(address):
        raise values.error(
            "clientPortAddress",
            "neither systemd:domain=INET6:name=NAME nor systemd:domain=INET6:index=N (INET where the socket is IPv4)",
        )
    # Java takes an IPv6 address with brackets and without.
    return address[1:-1] if address[:1] == "[" and address[-1:] == "]" else address


def _check_clash(values: Values, membership: Membership, port: int | None, address: str) -> None:
    """Neither our quorum nor our election port can be a client port as well."""
    if not port or not membership.distributed or membership.me is None:
        return
    on_all = values.flag("quorumListenOnAllIPs", False) or address in ANY_ADDRESS
    for what, addresses in (
        ("quorum", membership.me.quorum_addresses),
        ("election", membership.me.election_addresses),
    ):
        if any(other.port == port and (on_all or other.host in (address, *ANY_ADDRESS)) for other in addresses):
            raise values.error("clientPort", f"port clash: it is the {what} port of server.{membership.my_sid} too")
