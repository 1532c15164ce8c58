"""What a server finds of a reconfiguration that had been proposed when it stopped: `<cfg>.dynamic.next`."""

from zktw.config.rewrite import next_path
from zktw.config.sources import Read
from zktw.quorum.ensemble import Ensemble


def read_next(path: str, read: Read) -> tuple[Ensemble | None, str]:
    """The configuration proposed last, beside the static file of this path, if there is one; and a warning or "".

    Nothing hangs on it: the proposal itself is in the log.
    """
    file = next_path(path)
    try:
        return Ensemble.from_text(read(file)), ""
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"{file} cannot be read: {error.strerror or error}"
    except ValueError as error:  # UnicodeError too
        return None, f"{file} is passed over: {error}"
