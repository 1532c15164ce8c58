"""Where settings come from: properties files, and the -D words of the environment."""

import shlex
from collections.abc import Callable, Mapping

from zktw.config.keys import EITHER_NAME, FILE_KEYS, UNPREFIXED, effect_of
from zktw.config.properties import parse_properties
from zktw.config.values import cut
from zktw.terms.errors import ConfigError

PREFIX = "zookeeper."
# zkServer.sh puts them on its command line in this order, and of two -D of one name a JVM takes the later.
FLAG_VARIABLES = ("SERVER_JVMFLAGS", "JVMFLAGS")
# Keys that describe members; of a family without its dot none can be meant for anything else.
MEMBER_KEYS = ("server.", "group", "weight")

Read = Callable[[str], str]


def read_keys(path: str, read: Read, *, named_by: str = "") -> dict[str, str]:
    """Keys and values of one file; of a repeated key the last holds, but a member can be meant only once.

    named_by is the key that names the file, if one does. Raises ConfigError.
    """
    try:
        pairs = parse_properties(read(path))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}", file=path, key=named_by) from None
    except ValueError as error:  # UnicodeError too
        raise ConfigError(f"is no properties file: {error}", file=path) from None
    keys: dict[str, str] = {}
    for key, text in pairs:
        value = text.strip()
        if not (key + value).isprintable():
            # Such a value could be meant for nothing, and would break the one line of a message.
            raise ConfigError(f"has a control character: {cut(value)!r}", file=path, key=cut(ascii(key)[1:-1]) or "")
        if key in keys and key.startswith(MEMBER_KEYS):
            raise ConfigError("configured twice", file=path, key=key, value=cut(value))
        keys[key] = value
    return keys


def plain_name(key: str) -> str:
    """A property without its prefix, where it is known so. A key of the file proper never has one."""
    bare = key.removeprefix(PREFIX)
    return key if bare in UNPREFIXED or (bare in FILE_KEYS and not _is_also_property(bare)) else bare


def flag_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """-Dname=value of the environment, which is where operators of Apache's server have them.

    Names that are none of ZooKeeper's are left to the JVM. Raises ConfigError where quotes do not match.
    """
    settings: dict[str, str] = {}
    for variable in FLAG_VARIABLES:
        try:
            words = shlex.split(environ.get(variable, ""))
        except ValueError as error:
            reason = f"cannot be parted into words: {error}"
            raise ConfigError(reason, file="environment", key=variable) from None
        for word in words:
            if not word.startswith("-D"):
                continue
            name, _, value = word[2:].partition("=")
            if not word.isprintable():
                raise ConfigError(f"has a control character: {cut(word)!r}", file="environment", key=variable)
            if name in UNPREFIXED or name in EITHER_NAME:
                settings[name] = value
            elif name.startswith(PREFIX):
                settings[plain_name(name)] = value
    return settings


def _is_also_property(key: str) -> bool:
    """Keys that Apache reads from its command line too."""
    return key.startswith("multiAddress.") and effect_of(key) is not None
