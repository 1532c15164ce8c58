"""Addresses of clients as rights, limits and words have them."""

from ipaddress import AddressValueError, IPv6Address

# An address of IPv4 as a socket of IPv6 has it.
_MAPPED = "::ffff:"


def plain_host(host: str) -> str:
    """An address of IPv4 that has come to a socket of IPv6 as what it is: rights and limits are told by it."""
    return host[len(_MAPPED) :] if host.startswith(_MAPPED) and "." in host else host


def java_host(host: str) -> str:
    """An address as the words show it: IPv6 in brackets and without abbreviation."""
    if ":" not in host:
        return host
    try:
        groups = IPv6Address(host.partition("%")[0]).exploded.split(":")
    except AddressValueError:
        return f"[{host}]"
    return f"[{':'.join(f'{int(group, 16):x}' for group in groups)}]"
