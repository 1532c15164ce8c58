"""Membership: who the members are, which of them we are, whether there is an ensemble (wire document, g.1)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from zktw.config.sources import MEMBER_KEYS, read_keys
from zktw.config.values import Values, cut
from zktw.quorum.ensemble import DIGITS_MAX, Ensemble, KeyedError, LearnerType, QuorumServer, parse_version
from zktw.terms.errors import ConfigError

SID_EXTENDED_MAX = 254


@dataclass(frozen=True, slots=True)
class Membership:
    """The members, as far as there are any. me is our own entry."""

    ensemble: Ensemble
    distributed: bool
    my_sid: int = 0
    me: QuorumServer | None = None
    warnings: tuple[str, ...] = ()

    @property
    def is_observer(self) -> bool:
        """Whether we do not vote."""
        return self.distributed and self.me is not None and self.me.role == LearnerType.OBSERVER


def read_membership(values: Values, static: Mapping[str, str], data_dir: str, read: Callable[[str], str]) -> Membership:
    """The members of the static file's keys, or of the dynamic file that it names."""
    file, keys, version = values.file, static, 0
    if "dynamicConfigFile" in values.settings:
        file = values.text("dynamicConfigFile")
        if static:
            key = next(iter(static))
            raise ConfigError(
                f"members belong into the dynamic file {file}, not here",
                file=values.file,
                key=key,
                value=cut(static[key]),
            )
        keys, version = _read_dynamic(file, read)
    peer_type = values.text("peerType", "participant").lower()
    if peer_type not in ("participant", "observer"):
        raise values.error("peerType", "unknown role; participant or observer")
    try:
        ensemble = Ensemble.from_keys(keys, version=version, multi_address=values.flag("multiAddress.enabled", False))
        ensemble.check_clashes(keys)
    except KeyedError as error:
        raise ConfigError(error.reason, file=file, key=error.key, value=cut(error.value)) from None
    if not _is_distributed(values, ensemble):
        only = next(iter(ensemble.members.values()), None)
        return Membership(ensemble, False, 0, only)
    my_sid = _read_my_sid(values, data_dir, read)
    me = ensemble.members.get(my_sid)
    if me is None:
        raise ConfigError(
            f"there is no server.{my_sid} in {file}", file=f"{data_dir}/myid", key="myid", value=str(my_sid)
        )
    return Membership(ensemble, True, my_sid, me, tuple(_warnings(values, ensemble, me, peer_type)))


def _is_distributed(values: Values, ensemble: Ensemble) -> bool:
    """Apache's table: one voter is a standalone server unless standaloneEnabled=false."""
    alone = values.flag("standaloneEnabled", True)
    voters, observers = len(ensemble.voters), len(ensemble.observers)
    if voters == 0:
        if not alone:
            raise values.error("standaloneEnabled", "without it there must be at least one server that votes")
        if observers:
            raise ConfigError("observers without any server that votes", file=values.file)
        return False
    if voters == 1 and alone:
        if observers:
            raise ConfigError(
                "observers beside a single server that votes need standaloneEnabled=false", file=values.file
            )
        return False
    return True


def _read_dynamic(file: str, read: Callable[[str], str]) -> tuple[dict[str, str], int]:
    keys = read_keys(file, read, named_by="dynamicConfigFile")
    for key, value in keys.items():
        if key == "version":
            raise ConfigError(
                "the version is in the file's name, not in the file", file=file, key=key, value=cut(value)
            )
        if not key.startswith(MEMBER_KEYS):
            raise ConfigError("Unrecognised parameter", file=file, key=key, value=cut(value))
    suffix = file.rpartition(".")[2]
    try:
        return keys, parse_version(suffix)
    except ValueError:  # a name without a version
        return keys, 0


def _read_my_sid(values: Values, data_dir: str, read: Callable[[str], str]) -> int:
    path = f"{data_dir}/myid"
    try:
        text = read(path).split("\n", 1)[0].strip()
    except FileNotFoundError:
        raise ConfigError("myid file is missing", file=path) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}", file=path) from None
    except ValueError as error:  # UnicodeError, or a path that no file can have
        raise ConfigError(f"cannot be read: {error}", file=path) from None
    highest = SID_EXTENDED_MAX if values.flag("extendedTypesEnabled", False) else 2**63 - 1
    if not text.isascii() or not text.isdigit():
        shown = text[:40] if text.isprintable() else ascii(text[:40])
        raise ConfigError("not a number", file=path, key="myid", value=shown)
    if len(text) > DIGITS_MAX or int(text) > highest:
        raise ConfigError(f"out of range (0 to {highest})", file=path, key="myid", value=text[:40])
    return int(text)


def _warnings(values: Values, ensemble: Ensemble, me: QuorumServer, peer_type: str) -> list[str]:
    warnings = []
    if "peerType" in values.settings and peer_type != me.role.value:
        warnings.append(f"peerType={peer_type}, but server.{me.sid} is a {me.role.value}: the list of servers holds")
    if len(ensemble.voters) <= 2:
        warnings.append(f"{len(ensemble.voters)} voting server(s): none may fail; three or more are better")
    elif len(ensemble.voters) % 2 == 0:
        warnings.append(f"{len(ensemble.voters)} voting servers: an odd number tolerates as many failures")
    return warnings
