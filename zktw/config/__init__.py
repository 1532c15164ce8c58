"""zoo.cfg and the dynamic file: text in, a frozen Config out, or one ConfigError."""

from zktw.config.describe import describe
from zktw.config.load import load_config
from zktw.config.model import Config

__all__ = ["Config", "describe", "load_config"]
