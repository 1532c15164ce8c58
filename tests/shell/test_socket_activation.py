"""A socket that systemd has opened: clientPortAddress=systemd:… takes it over."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]

# What systemd does: the socket as descriptor 3, and a word in the environment for this very process.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3, inheritable=True)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="zkq", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], *sys.argv[3:]])
"""
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"


def test_a_socket_of_systemd_is_taken_over(tmp_path: Path) -> None:
    config = tmp_path / "zoo.cfg"
    config.write_text(f"dataDir={tmp_path}/data\nclientPort=2181\nclientPortAddress=systemd:domain=INET:index=0\n")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = listening.getsockname()
        arguments = [str(listening.fileno()), TWISTD, "-n", "--pidfile=", "zkq", "-c", str(config)]
        server = subprocess.Popen(
            [sys.executable, "-c", ACTIVATE, *arguments],
            pass_fds=[listening.fileno()],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    try:
        # The kernel takes the connection before the server is there: that is the point of it.
        with socket.create_connection(address, 10) as cnxn:
            cnxn.settimeout(10)
            cnxn.sendall(b"ruok")
            assert cnxn.recv(16) in (b"imok", b"ruok is not executed because it is not in the whitelist.\n"[:16])
    finally:
        server.terminate()
        began = time.monotonic()
        output, _ = server.communicate(timeout=10)
        print(output.decode())
    assert b"Traceback" not in output, output.decode()
    assert time.monotonic() - began < 5
