"""What this process can say of itself and its host, by the names that Apache's envi and mntr use."""

import os
import platform
import pwd
import resource
import socket
import sys
import tempfile

MEGABYTE = 1024 * 1024


def environment(version: str) -> list[tuple[str, str]]:
    """The lines of envi; where Apache speaks of its Java, this speaks of its Python."""
    page = os.sysconf("SC_PAGE_SIZE")
    free = page * os.sysconf("SC_AVPHYS_PAGES") // MEGABYTE
    total = page * os.sysconf("SC_PHYS_PAGES") // MEGABYTE
    return [
        ("zookeeper.version", version),
        ("host.name", socket.gethostname()),
        ("java.version", platform.python_version()),
        ("java.vendor", platform.python_implementation()),
        ("java.home", sys.prefix),
        ("java.class.path", os.pathsep.join(sys.path)),
        ("java.library.path", ""),
        ("java.io.tmpdir", tempfile.gettempdir()),
        ("java.compiler", platform.python_compiler()),
        ("os.name", platform.system()),
        ("os.arch", platform.machine()),
        ("os.version", platform.release()),
        ("user.name", _user_name()),
        ("user.home", os.path.expanduser("~")),
        ("user.dir", os.getcwd()),
        ("os.memory.free", f"{free}MB"),
        ("os.memory.max", f"{total}MB"),
        ("os.memory.total", f"{total}MB"),
    ]


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def descriptors() -> tuple[int, int]:
    """Open files, and how many may be."""
    try:
        count = len(os.listdir("/proc/self/fd"))
    except OSError:
        count = 0
    return count, resource.getrlimit(resource.RLIMIT_NOFILE)[0]
