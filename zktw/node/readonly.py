"""ReadOnly: the way of a write on a server that looks for a leader: there is none."""

from zktw.node.datahost import DataHost
from zktw.pipeline.request import Request
from zktw.terms.codes import ErrorCode


class ReadOnly:
    """See datahost.Way. Nothing is logged, and what is read is what was last known here."""

    is_primary = False

    def __init__(self, host: DataHost) -> None:
        self._service = host.service
        self._service.submit = self._submit
        # A sync has nobody to be in step with.
        self._service.forward_sync()

    def _submit(self, request: Request) -> None:
        """Refused, in its turn."""
        self._service.not_readable(request, ErrorCode.NOT_READ_ONLY)

    def on_persisted(self, zxid: int) -> None:
        """See Way."""

    def flush(self) -> None:
        """See Way: there is nobody to be told."""
