"""Values: the settings of one file, read key by key with their rules. A wrong one is a ConfigError that names it."""

import re
from collections.abc import Mapping

from zktw.terms.errors import ConfigError

INT_MAX = 2**31 - 1
DIGITS_MAX = 40
SHOWN_MAX = 200
_SHARE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")


def cut(value: str | None) -> str | None:
    """A value as a message shows it: a line that fits a log."""
    return value if value is None or len(value) <= SHOWN_MAX else f"{value[:SHOWN_MAX]}..."


class Values:
    """Keys and values of one file, and the settings of the environment that it leaves standing."""

    def __init__(self, file: str, keys: Mapping[str, str], inherited: Mapping[str, str]) -> None:
        self.file = file
        self.settings = {**inherited, **keys}
        self._keys = keys

    def error(self, key: str, reason: str) -> ConfigError:
        """What is wrong with a key."""
        file = self.file if key in self._keys or key not in self.settings else "environment"
        return ConfigError(reason, file=file, key=key, value=cut(self.settings.get(key)))

    def text(self, key: str, default: str = "") -> str:
        """A text, without the blanks around it."""
        return self.settings.get(key, default).strip()

    def flag(self, key: str, default: bool) -> bool:
        """true or false, in any case."""
        value = self.text(key).lower()
        if key not in self.settings:
            return default
        if value not in ("true", "false"):
            raise self.error(key, "neither true nor false")
        return value == "true"

    def word(self, key: str, default: bool, *, truth: str) -> bool:
        """A setting that is on for one exact word; Apache takes all others for off."""
        return self.text(key) == truth if key in self.settings else default

    def number(self, key: str, default: int, *, lowest: int = -(2**31), highest: int = INT_MAX) -> int:
        """A decimal number within bounds."""
        if key not in self.settings:
            return default
        text = self.text(key)
        digits = text[1:] if text[:1] in ("-", "+") else text
        if not digits.isascii() or not digits.isdigit():
            raise self.error(key, "not a number")
        # Python refuses to convert some thousands of digits.
        value = int(text) if len(text) <= DIGITS_MAX else highest + 1
        if not lowest <= value <= highest:
            raise self.error(key, f"out of range ({lowest} to {highest})")
        return value

    def share(self, key: str, default: float) -> float:
        """A decimal fraction from 0 to 1."""
        if key not in self.settings:
            return default
        text = self.text(key)
        if not _SHARE.fullmatch(text):
            raise self.error(key, "not a number")
        value = float(text)
        if not 0 <= value <= 1:
            raise self.error(key, "out of range (0 to 1)")
        return value

    def java_number(self, key: str, default: int, *, lowest: int) -> int:
        """A number that may also be written in hex or octal, as Java's properties may."""
        if key not in self.settings:
            return default
        text = self.text(key)
        sign, digits = ("-", text[1:]) if text[:1] == "-" else ("", text.removeprefix("+"))
        if digits[:2].lower() == "0x" or digits[:1] == "#":
            base, digits = 16, digits[1:] if digits[0] == "#" else digits[2:]
        else:
            base = 8 if digits[:1] == "0" and digits != "0" else 10
        # int() would also take blanks and underscores.
        if not digits.isascii() or not digits.isalnum() or len(digits) > DIGITS_MAX:
            raise self.error(key, "not a number")
        try:
            value = int(sign + digits, base)
        except ValueError:
            raise self.error(key, "not a number") from None
        if not lowest <= value <= INT_MAX:
            raise self.error(key, f"out of range ({lowest} to {INT_MAX})")
        return value

    def port(self, key: str) -> int | None:
        """A port, or None where the key is absent; 0 lets the system choose one."""
        return self.number(key, 0, lowest=0, highest=65535) if key in self.settings else None
