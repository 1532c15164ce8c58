"""The zktw command."""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from zktw import __version__
from zktw.terms.errors import StorageError
from zktw.tools import check, ensemble, log, purge, sim, snapshot
from zktw.tools.common import ToolError, warn

# As a shell tells of a command that SIGINT or SIGPIPE has ended.
_INTERRUPTED, _NOBODY_READS = 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; the exit status is 0 where all is well, 1 where something was found, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="zktw", description="Side tools of the zktw ZooKeeper server.")
    parser.add_argument("--version", action="version", version=f"zktw {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for tool in (check, log, snapshot, purge, sim, ensemble):
        tool.add_parser(commands)
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Paths may hold what the terminal's encoding has not.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The end of a pipe is gone, as with "| head"; what is left in the buffer must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOBODY_READS
    except KeyboardInterrupt:
        return _INTERRUPTED
    except ToolError as error:
        warn(str(error))
        return 2
    except StorageError as error:
        warn(str(error))
        return 1
    except OSError as error:
        # A file that was there a moment ago, or a disk that fails.
        warn(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
