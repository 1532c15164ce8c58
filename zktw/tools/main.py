"""The zktw command."""

import argparse
import sys
from collections.abc import Sequence

from zktw import __version__
from zktw.tools import sim


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; the exit status is 0 where all is well, 1 where something was found, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="zktw", description="Side tools of the zktw ZooKeeper server.")
    parser.add_argument("--version", action="version", version=f"zktw {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    sim.add_parser(commands)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
