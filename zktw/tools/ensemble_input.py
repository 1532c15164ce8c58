"""Where the commands of zktw ensemble come from: single keys of a terminal, or lines of a pipe or file; and signals."""

import os
import select
import signal
import socket
import sys
import termios
import tty
from collections import deque
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

KEYS_HELP = """\
s status   k N kill   t N stop (SIGTERM)   p N pause   c N resume   r N revive   o N log   w wait   h help   q quit
N: one digit, l the leader, a all.   : begins a whole command (wait 5, log 2 50, kill 12)\
"""

_PLAIN_KEYS = {"s": "status", "w": "wait", "h": "help", "?": "help", "q": "quit"}
_WHICH_KEYS = {"k": "kill", "t": "stop", "p": "pause", "c": "resume", "r": "revive", "o": "log"}
_WHO = {"l": "leader", "a": "all"}
_READ_BYTES = 65_536
_LINE_MAX = 1000
_END, _ESCAPE, _RUBOUT = "\x04", "\x1b", "\x7f\b"


class Lines:
    """Whole lines, one command each."""

    # A script's next command is for when the one before is through.
    in_turn = True
    over = False

    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> list[str]:
        """The commands that data completes; b"" is the end of input, which completes the last."""
        *lines, self._left = (self._left + data).split(b"\n") if data else [self._left, b""]
        return [line.decode("utf-8", "replace").strip() for line in lines]


class Keys:
    """Single keys: some are commands, some wait for a second one, a colon begins a line. echo: shows what is typed."""

    in_turn = False

    def __init__(self, echo: Callable[[str], None]) -> None:
        self.over = False
        self._echo = echo
        self._command = ""
        self._line: str | None = None

    def feed(self, data: bytes) -> list[str]:
        """The commands that these keys complete; over is set by Ctrl-D and by the terminal's end."""
        if not data:
            self.over = True
        text = data.decode("utf-8", "replace")
        if text.startswith(_ESCAPE) and len(text) > 1:
            # An arrow or function key: a bundle of characters that mean nothing one by one.
            return []
        return [line for key in text if (line := self._key(key)) is not None]

    def _key(self, key: str) -> str | None:
        if key == _END:
            self.over = True
            return None
        if self._line is not None:
            return self._typed(self._line, key)
        if self._command:
            command, self._command = self._command, ""
            who = key if key.isdecimal() else _WHO.get(key)
            self._echo(f"{who or 'nothing done'}\n")
            return f"{command} {who}" if who else None
        if key == ":":
            self._line = ""
            self._echo(":")
        elif key in _WHICH_KEYS:
            self._command = _WHICH_KEYS[key]
            self._echo(f"{self._command} which? ")
        elif key not in _PLAIN_KEYS and not key.isspace():
            self._echo(f"{KEYS_HELP}\n")
        return _PLAIN_KEYS.get(key)

    def _typed(self, line: str, key: str) -> str | None:
        if key in "\r\n" or key == _ESCAPE:
            self._line = None
            self._echo("\n")
            return line if key != _ESCAPE else None
        if key in _RUBOUT:
            self._line = line[:-1]
            self._echo("\b \b" if line else "")
        elif key.isprintable() and len(line) < _LINE_MAX:
            self._line = line + key
            self._echo(key)
        return None


def _in_front(fd: int) -> bool:
    """Whether this terminal is there and ours: who sets or reads it from the background is stopped."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False


class Source:
    """Standard input as commands. A context: a terminal gives its keys one by one within, and is as before after.

    commands: those that have come and wait. over: none will come. listens: whether reading makes sense now.
    """

    def __init__(self, echo: Callable[[str], None]) -> None:
        self.commands: deque[str] = deque()
        self.over = False
        self.terminal = False
        self._reader: Lines | Keys = Lines()
        self._modes: list[Any] | None = None
        self._background = False
        try:
            self.fd = sys.stdin.fileno() if sys.stdin is not None else -1
        except (OSError, ValueError):
            self.fd = -1
        if self.fd < 0:
            self.over = True
        elif os.isatty(self.fd):
            # In the background it goes on until it is signalled.
            self._background = not _in_front(self.fd)
            self.terminal = not self._background
            self._reader = Keys(echo)

    @property
    def listens(self) -> bool:
        """Whether there is room for more."""
        return not self.over and not self.commands and not self._background

    @property
    def in_turn(self) -> bool:
        """Whether a command waits for the one before."""
        return self._reader.in_turn

    def read(self) -> None:
        """Take what is there. For when the descriptor is readable."""
        try:
            data = os.read(self.fd, _READ_BYTES)
        except OSError:
            data = b""
        self.commands.extend(self._reader.feed(data))
        self.over = not data or self._reader.over

    def by_key(self) -> None:
        """Let the terminal give single keys; again after the shell has had it."""
        if self.terminal and _in_front(self.fd):
            tty.setcbreak(self.fd, termios.TCSANOW)

    def __enter__(self) -> "Source":
        if self.terminal:
            self._modes = termios.tcgetattr(self.fd)
            self.by_key()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._modes is not None and _in_front(self.fd):
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._modes)


class Signals:
    """A context within which SIGINT, SIGTERM and SIGHUP are counted, and every signal of interest wakes a selector.

    count: how often it was asked to end. continued: a shell has let it go on. fd: readable after a signal.
    """

    _ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.count = 0
        self.continued = False
        self._ears, self._mouth = socket.socketpair()
        self._ears.setblocking(False)
        self._mouth.setblocking(False)
        self.fd = self._ears.fileno()
        self._before: dict[signal.Signals, Any] = {}
        self._wakeup = -1

    def _came(self, number: int, _: FrameType | None) -> None:
        self.count += number in self._ASKED
        self.continued = self.continued or number == signal.SIGCONT

    def drain(self) -> None:
        """Forget what was said of past signals."""
        while select.select([self._ears], [], [], 0)[0] and self._ears.recv(_READ_BYTES):
            pass

    def __enter__(self) -> "Signals":
        self._wakeup = signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        for number in (*self._ASKED, signal.SIGCHLD, signal.SIGCONT):
            self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(self._wakeup)
        self._ears.close()
        self._mouth.close()
