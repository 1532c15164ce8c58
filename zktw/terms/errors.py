"""The exceptions that cross layers. Each names what was wrong in one line fit for a log."""

from zktw.terms.codes import ErrorCode


class ZktwError(Exception):
    """Base of all errors raised on purpose."""


class WireError(ZktwError):
    """Bytes from a peer or client do not follow their format; past it the stream has no meaning."""


class ProtocolError(ZktwError):
    """A well-formed message that the conversation does not allow at this point."""


class StorageError(ZktwError):
    """A file is damaged, missing or cannot be written. The text names the file, the reason and what to do."""


class NotHeldError(StorageError):
    """The history on disk has no such place. Nothing was changed, and what is there is good."""


class ZkError(ZktwError):
    """A request that is answered by an error code."""

    def __init__(self, code: ErrorCode) -> None:
        self.code = code
        super().__init__(code.name)


class ConfigError(ZktwError):
    """A configuration that cannot be used. Reads as one line: file, key, value, reason."""

    def __init__(self, reason: str, *, file: str = "", key: str = "", value: str | None = None) -> None:
        self.file = file
        self.key = key
        self.value = value
        self.reason = reason
        where = f"{file}: " if file else ""
        what = f"{key}={value}: " if key and value is not None else f"{key}: " if key else ""
        super().__init__(where + what + reason)
