"""Ensemble: the members, their roles and addresses; the text in which they are written (wire document, g.2, g.4)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv6Address

from zktw.quorum.verifier import QuorumHierarchical, QuorumMaj, QuorumVerifier

SID_MAX = 2**63 - 1
VERSION_MAX = 2**63 - 1
# Leading zeros are allowed, nonsense is not.
DIGITS_MAX = 40
SHOWN_MAX = 60
_HEX = frozenset("0123456789abcdefABCDEF")
WILDCARDS = ("0.0.0.0", "::")


class LearnerType(Enum):
    """Whether a member votes."""

    PARTICIPANT = "participant"
    OBSERVER = "observer"


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Host (name, IPv4, or IPv6 without brackets) and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def text(self) -> str:
        """As in the text of a configuration: of an IPv6 address every group is written, as Java does."""
        if ":" not in self.host:
            return str(self)
        try:
            groups = IPv6Address(self.host).exploded.split(":")
        except ValueError:
            return str(self)
        return f"[{':'.join(f'{int(group, 16):x}' for group in groups)}]:{self.port}"


@dataclass(frozen=True, slots=True)
class QuorumServer:
    """One member. client_address is set only where its server line says it."""

    sid: int
    quorum_addresses: tuple[Address, ...]
    election_addresses: tuple[Address, ...]
    role: LearnerType = LearnerType.PARTICIPANT
    client_address: Address | None = None

    @classmethod
    def parse(cls, sid: int, text: str, *, multi_address: bool = True) -> "QuorumServer":
        """The right-hand side of server.N. Raises ValueError with the reason."""
        servers, semicolon, client = text.strip().partition(";")
        if ";" in client:
            raise ValueError("more than one ';': host:quorumPort:electionPort[:role][|...][;[host:]clientPort]")
        quorum, election, roles = [], [], []
        for part in servers.split("|"):
            host, ports, role = _split_server(part)
            quorum.append(Address(host, ports[0]))
            election.append(Address(host, ports[1]))
            roles.append(role)
        if len(quorum) > 1 and not multi_address:
            raise ValueError("several addresses need multiAddress.enabled=true")
        named = list(dict.fromkeys(role for role in roles if role is not None))
        if len(named) > 1:
            raise ValueError("its addresses have different roles")
        role = named[0] if named else LearnerType.PARTICIPANT
        return cls(sid, tuple(quorum), tuple(election), role, _parse_client(client) if semicolon else None)

    def text(self) -> str:
        """As in the text of a configuration: addresses by host, the role once, the client part if there is one."""
        pairs = sorted(zip(self.quorum_addresses, self.election_addresses, strict=True))
        addresses = "|".join(f"{quorum.text()}:{election.port}" for quorum, election in pairs)
        client = f";{self.client_address.text()}" if self.client_address is not None else ""
        return f"{addresses}:{self.role.value}{client}"


@dataclass(frozen=True, slots=True)
class Ensemble:
    """All members in the order of their sids. Without groups every voter weighs the same."""

    members: dict[int, QuorumServer]
    version: int = 0
    groups: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    weights: Mapping[int, int] = field(default_factory=dict)

    @property
    def voters(self) -> tuple[int, ...]:
        """The sids that vote, ascending."""
        return tuple(sid for sid, member in self.members.items() if member.role == LearnerType.PARTICIPANT)

    @property
    def observers(self) -> tuple[int, ...]:
        """The sids that do not, ascending."""
        return tuple(sid for sid, member in self.members.items() if member.role == LearnerType.OBSERVER)

    def verifier(self) -> QuorumVerifier:
        """The rule of quorums that the configuration asks for."""
        if self.groups or self.weights:
            return QuorumHierarchical(self.voters, self.groups, self.weights)
        return QuorumMaj(self.voters)

    def text(self) -> str:
        """As it travels in votes and NEWLEADER; no final newline."""
        lines = [f"server.{sid}={member.text()}" for sid, member in self.members.items()]
        lines += [f"group.{group}={':'.join(map(str, sorted(sids)))}" for group, sids in self.groups.items()]
        lines += [f"weight.{sid}={weight}" for sid, weight in self.weights.items()]
        return "\n".join([*lines, f"version={self.version:x}"])

    def same_members(self, other: "Ensemble") -> bool:
        """Equality that leaves the version aside, and the order of addresses and within groups (wire document, g.4)."""
        return self._normal_form() == other._normal_form()

    def _normal_form(self) -> tuple[dict[int, str], dict[int, tuple[int, ...]], dict[int, int]]:
        texts = {sid: member.text() for sid, member in self.members.items()}
        groups = {group: tuple(sorted(sids)) for group, sids in self.groups.items()}
        return texts, groups, dict(self.weights)

    @classmethod
    def from_text(cls, text: str) -> "Ensemble":
        """Read what text() writes. Raises ValueError with the reason."""
        lines = dict(_split_line(line) for line in text.splitlines() if line.strip())
        version = lines.pop("version", "0")
        return cls.from_keys(lines, version=parse_version(version))

    @classmethod
    def from_keys(cls, keys: Mapping[str, str], *, version: int = 0, multi_address: bool = True) -> "Ensemble":
        """The members that keys server.N, group.N and weight.N describe. Raises KeyedError for the first wrong key."""
        members: dict[int, QuorumServer] = {}
        groups: dict[int, tuple[int, ...]] = {}
        weights: dict[int, int] = {}
        for key, value in keys.items():
            try:
                kind, _, number = key.partition(".")
                if kind == "server":
                    sid = parse_sid(number)
                    if sid in members:
                        raise ValueError(f"server {sid} is configured twice")
                    members[sid] = QuorumServer.parse(sid, value, multi_address=multi_address)
                elif kind == "group":
                    groups[parse_sid(number)] = tuple(parse_sid(sid) for sid in value.strip().split(":"))
                elif kind == "weight":
                    weights[parse_sid(number)] = _parse_decimal(value, "weight", 0, SID_MAX)
                else:
                    raise ValueError("unrecognised parameter; only server., group. and weight. keys belong here")
            except ValueError as error:
                raise KeyedError(key, value, str(error)) from None
        ensemble = cls(
            dict(sorted(members.items())), version, dict(sorted(groups.items())), dict(sorted(weights.items()))
        )
        ensemble._check_groups(keys)
        return ensemble

    def check_clashes(self, keys: Mapping[str, str] | None = None) -> None:
        """Two ports cannot listen on one address. keys: what the members were read from. Raises KeyedError."""
        taken: dict[Address, str] = {}
        for sid, member in self.members.items():
            client = () if member.client_address is None else (member.client_address,)
            for kind, addresses in (
                ("quorum", member.quorum_addresses),
                ("election", member.election_addresses),
                ("client", client),
            ):
                for address in addresses:
                    if address.host in WILDCARDS:
                        continue
                    if address in taken:
                        key = f"server.{sid}"
                        value = (keys or {}).get(key)
                        raise KeyedError(key, value, f"port clash: {address} is {taken[address]} already")
                    taken[address] = f"the {kind} address of server.{sid}"

    def _check_groups(self, keys: Mapping[str, str]) -> None:
        if not self.groups and not self.weights:
            return
        home: dict[int, int] = {}
        for group, sids in self.groups.items():
            for sid in sids:
                key = f"group.{group}"
                if sid in home:
                    raise KeyedError(key, keys.get(key, ""), f"server {sid} is in group {home[sid]} already")
                if sid not in self.members:
                    raise KeyedError(key, keys.get(key, ""), f"there is no server.{sid}")
                home[sid] = group
        for sid in self.weights:
            if sid not in self.members:
                raise KeyedError(f"weight.{sid}", keys.get(f"weight.{sid}", ""), f"there is no server.{sid}")
        for sid in self.voters:
            if sid not in home:
                raise KeyedError(f"server.{sid}", keys.get(f"server.{sid}", ""), f"server {sid} is in no group")
        if self.groups and not any(self.weights.get(sid, 1) for sid in self.voters):
            raise KeyedError("group", None, "no voter has any weight")


class KeyedError(ValueError):
    """A ValueError that knows which key it is about."""

    def __init__(self, key: str, value: str | None, reason: str) -> None:
        self.key = key
        self.value = value
        self.reason = reason
        super().__init__(f"{key}={value}: {reason}")


def parse_sid(text: str) -> int:
    """A server id: decimal, not negative."""
    return _parse_decimal(text, "server id", 0, SID_MAX)


def parse_version(text: str) -> int:
    """The version of a configuration: the zxid that brought it, in hex; it travels as a signed 64-bit number."""
    short = 0 < len(text) <= DIGITS_MAX and all(digit in _HEX for digit in text)
    if not short or int(text, 16) > VERSION_MAX:
        raise ValueError(f"{_shown(text)} is no version (0 to {VERSION_MAX:x})")
    return int(text, 16)


def parse_port(text: str, *, lowest: int = 1) -> int:
    """A port number."""
    return _parse_decimal(text, "port", lowest, 65535)


def _parse_decimal(text: str, what: str, lowest: int, highest: int) -> int:
    digits = text.strip()
    # Python refuses to convert some thousands of digits, with words of its own.
    short = len(digits) <= DIGITS_MAX and digits.isascii() and digits.isdigit()
    if not short or not lowest <= int(digits) <= highest:
        raise ValueError(f"{_shown(digits)} is no {what} ({lowest} to {highest})")
    return int(digits)


def _shown(text: str) -> str:
    """Quoted, and cut where it is long."""
    return repr(text) if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]!r}..."


def _split_line(line: str) -> tuple[str, str]:
    key, equals, value = line.partition("=")
    if not equals:
        raise ValueError(f"no '=' in {_shown(line)}")
    return key.strip(), value.strip()


def split_host(text: str) -> tuple[str, list[str]]:
    """Host and what follows it, parted at colons; an IPv6 host stands in brackets."""
    text = text.strip()
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host:
            raise ValueError(f"{_shown(text)} has no IPv6 address between brackets")
        if rest and not rest.startswith(":"):
            raise ValueError(f"{_shown(text)} has no ':' behind its bracket")
        return host, rest[1:].split(":") if rest else []
    host, *rest_parts = text.split(":")
    if any(char.isspace() for char in host.strip()):
        raise ValueError(f"{_shown(host)} is no host")
    return host.strip(), rest_parts


def _split_server(text: str) -> tuple[str, tuple[int, int], LearnerType | None]:
    host, rest = split_host(text)
    if not host:
        raise ValueError("the host is missing: host:quorumPort:electionPort[:role]")
    if len(rest) < 2:
        raise ValueError("the quorum or the election port is missing: host:quorumPort:electionPort[:role]")
    if len(rest) > 3:
        raise ValueError("too many fields: host:quorumPort:electionPort[:role] (an IPv6 host stands in brackets)")
    ports = parse_port(rest[0]), parse_port(rest[1])
    if ports[0] == ports[1]:
        raise ValueError(f"quorum and election port are both {ports[0]}")
    if len(rest) == 2:
        return host, ports, None
    try:
        return host, ports, LearnerType(rest[2].strip().lower())
    except ValueError:
        raise ValueError(f"unknown role {_shown(rest[2].strip())}; participant or observer") from None


def _parse_client(text: str) -> Address:
    host, rest = split_host(text)
    if not rest:
        return Address("0.0.0.0", parse_port(host))
    if len(rest) > 1 or not host:
        raise ValueError(f"{_shown(text.strip())} is no client address: [host:]port")
    return Address(host, parse_port(rest[0]))
