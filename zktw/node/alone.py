"""Alone: the way of a write on a server without an ensemble: what is on disk is agreed on."""

from zktw.config import Config
from zktw.node.datahost import DataHost
from zktw.pipeline.primary import Primary


class Alone:
    """See datahost.Way."""

    is_primary = True

    def __init__(self, config: Config, host: DataHost) -> None:
        self._primary = Primary(host.service, host.prep, host.keeper.append, digest_enabled=config.data.digest_enabled)

    def on_persisted(self, zxid: int) -> None:
        """See Way."""
        self._primary.on_committed(zxid)

    def flush(self) -> None:
        """See Way: there is nobody to be told."""
