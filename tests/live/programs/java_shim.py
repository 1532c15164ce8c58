"""Stands in for `java` where kazoo's test harness starts a server: starts ours with what was meant for Java's.

Arguments: those of Java; -Dzookeeper.name=value becomes a line of the configuration, whose path comes last.
TLS and SASL are left out of it, for they would be refused in this release; so is the choice of a transport.
"""

import os
import sys
from pathlib import Path

LEFT_OUT = ("secureClientPort", "ssl.", "authProvider.", "serverCnxnFactory", "admin.serverPort")
PREFIX = "-Dzookeeper."
# These two are Java's own business.
LOGGING = ("log.dir", "root.logger")


def translated(text: str, arguments: list[str]) -> str:
    """The configuration for ours, made of the one for Java's and Java's arguments."""
    lines = [line for line in text.splitlines() if line and not line.startswith(LEFT_OUT)]
    lines += [
        argument.removeprefix("-D")
        for argument in arguments
        if argument.startswith(PREFIX) and not argument.removeprefix(PREFIX).startswith(LOGGING)
    ]
    if "-Dreadonlymode.enabled=true" in arguments:
        lines.append("readonlymode.enabled=true")
    return "\n".join([*lines, "admin.enableServer=false"]) + "\n"


def main(arguments: list[str]) -> None:
    """Become the server; its output goes where the harness looks for a log."""
    given = Path(arguments[-1])
    ours = given.with_name("zktw.cfg")
    ours.write_text(translated(given.read_text("utf-8"), arguments), "utf-8")
    log = os.open(given.with_name("zookeeper.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(os.environ["ZKTW_ROOT"])
    os.environ["PYTHONPATH"] = os.environ["ZKTW_ROOT"]
    twistd = os.environ["ZKTW_TWISTD"]
    os.execv(twistd, [twistd, "-n", "--pidfile=", "zkq", "-c", str(ours)])


if __name__ == "__main__":
    main(sys.argv[1:])
