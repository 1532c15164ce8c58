"""Systemd: one datagram a word, to the socket that the environment names."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock as TwistedClock

from zktw.node.clock import Clock
from zktw.node.systemd import Systemd

PID = 4711


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@zktw-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name[1:] if name.startswith("@") else name)
        listening.setblocking(False)
        yield listening, name


def words(listening: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(listening.recv(4096).decode())
        except BlockingIOError:
            return found


def test_the_words_of_a_life(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    reactor = TwistedClock()
    environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(PID)}
    systemd = Systemd(Clock(reactor), environ, PID)
    systemd.status("looking for a leader")
    systemd.ready()
    reactor.pump([0.5, 0.5, 0.5, 0.5])
    systemd.status("follower, leader 3, epoch 7")
    systemd.status("follower, leader 3, epoch 7")
    systemd.stopping()
    reactor.advance(10)
    assert words(listening) == [
        "STATUS=looking for a leader",
        "READY=1",
        "WATCHDOG=1",
        "WATCHDOG=1",
        "STATUS=follower, leader 3, epoch 7",
        "STOPPING=1",
    ]


@pytest.mark.parametrize("watchdog", [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}])
def test_nobody_watches(manager: tuple[socket.socket, str], watchdog: dict[str, str]) -> None:
    listening, name = manager
    reactor = TwistedClock()
    Systemd(Clock(reactor), {"NOTIFY_SOCKET": name, **watchdog}, PID).ready()
    reactor.advance(10)
    assert words(listening) == ["READY=1"]


def test_without_systemd_nothing_happens() -> None:
    reactor = TwistedClock()
    systemd = Systemd(Clock(reactor), {}, PID)
    systemd.ready()
    systemd.status("x")
    systemd.stopping()
    assert reactor.getDelayedCalls() == []


def test_a_manager_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    Systemd(Clock(TwistedClock()), {"NOTIFY_SOCKET": str(tmp_path / "nobody")}, PID).ready()
