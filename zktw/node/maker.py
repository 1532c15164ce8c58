"""What twistd loads: Options and makeService. Only here is the reactor imported, inside the function."""

import atexit
import os
import sys
from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python import usage

from zktw import __version__
from zktw.config import Config, describe, load_config
from zktw.node.clock import Clock, new_random, use_monotonic_time
from zktw.node.collector import Collector
from zktw.node.leanpoll import lean
from zktw.node.systemd import Systemd
from zktw.storage.files import IWorker, RealFiles
from zktw.storage.worker import ThreadWorker
from zktw.terms.errors import ConfigError

log = Logger()

EXIT_INVALID_CONFIG = 2
SWITCH_INTERVAL_S = 0.0002


class Options(usage.Options):
    """The command line of `twistd zkq`."""

    synopsis = "[-c FILE] [--check]"
    longdesc = "A ZooKeeper server. Its configuration is Apache ZooKeeper's zoo.cfg."
    optParameters: ClassVar = [["config", "c", "zoo.cfg", "The configuration file."]]
    optFlags: ClassVar = [["check", None, "Read the configuration, say what it means, and exit."]]

    def opt_version(self) -> None:
        """Show the version and exit."""
        sys.stdout.write(f"zktw {__version__}\n")
        sys.exit(0)

    def postOptions(self) -> None:
        """Read the configuration; what is wrong with it is one line and a non-zero exit."""
        if not __debug__:
            _exit(EXIT_INVALID_CONFIG, "zktw checks its invariants by assertions and does not run without them (-O)")
        path = os.path.abspath(self["config"])
        try:
            self["parsed"] = load_config(path, _read, os.environ)
        except ConfigError as error:
            _exit(EXIT_INVALID_CONFIG, str(error))
        if self["check"]:
            sys.stdout.write(describe(self["parsed"]) + "\n")
            sys.exit(0)
        _leave_out_tls()


def _leave_out_tls() -> None:
    """Keep the reactor from loading a TLS stack that no configuration of this release can ask for.

    Twisted's reactors import pyOpenSSL if they can and do without if they can't: 10 MB of memory and 60 ms of a start.
    twistd reads these options before it makes its reactor; where pyOpenSSL is loaded already, it stays.
    """
    # None is how Python is told that an import fails.
    modules: dict[str, Any] = sys.modules
    modules.setdefault("OpenSSL", None)


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _exit(code: int, reason: str) -> None:
    sys.stderr.write(f"zkq: {reason}\n")
    sys.exit(code)


def makeService(options: Options) -> IService:
    """The service tree of one server."""
    # After the options, which keep TLS out of what this loads.
    from twisted.internet import reactor

    from zktw.node.build import build

    use_monotonic_time(reactor)
    lean(reactor)
    config: Config = options["parsed"]
    for warning in config.warnings:
        log.warn("{warning}", warning=warning)

    def fail(code: int, reason: str) -> None:
        log.critical("this server ends: {reason}", reason=reason)
        sys.stderr.write(f"zkq: {reason}\n")
        # twistd has no way to be given an exit status, and still has its pid file to remove.
        atexit.register(_leave, code)
        if reactor.running:
            reactor.stop()
        else:
            reactor.callWhenRunning(reactor.stop)

    def workers(name: str) -> IWorker:
        return ThreadWorker(reactor, name)

    # With Python's own interval a busy reactor keeps the thread of the journal waiting: 4 ms a sync at the median.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    clock = Clock(reactor)
    systemd = Systemd(clock, os.environ, os.getpid())
    node = build(config, reactor, RealFiles(), workers, new_random(), fail=fail, systemd=systemd, quick_writes=True)
    node.collector = Collector(clock, lambda: node.is_quiet)
    return node


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


__all__: list[Any] = ["Options", "makeService"]
