"""Job control of an interactive shell whose job runs elsewhere: keys, stops, continuing, window size, end of input."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import termios
import time
from collections.abc import Iterator

import pytest

from omlab.node import Node
from omlab.process import TERMINAL, NodeProcess

pytestmark = [pytest.mark.lab, pytest.mark.criu, pytest.mark.fuse]

_PROMPT = "PROMPT> "
_LIMIT_S = 60.0


class Screen:
    """An interactive bash on a terminal of the node; what it printed so far is `text`."""

    def __init__(self, node: Node, user: str) -> None:
        self.node = node
        self.process: NodeProcess = node.popen(
            ["bash", "--norc", "--noprofile", "-i"],
            user=user,
            environment={"PS1": _PROMPT, "TERM": "dumb", "HISTFILE": "/dev/null"},
            stdin=TERMINAL,
            stdout=TERMINAL,
            stderr=TERMINAL,
            directory="/tmp",
        )
        assert self.process.terminal is not None
        self.terminal = self.process.terminal
        self.text = ""
        self.expect(_PROMPT)

    def type(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def expect(self, pattern: str) -> str:
        """Read until `pattern` (a literal) has appeared after what was expected before; returns all up to it."""
        deadline = time.monotonic() + _LIMIT_S
        while (found := self.text.find(pattern)) < 0:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not select.select([self.terminal], [], [], remaining)[0]:
                pytest.fail(f"no {pattern!r} on the screen:\n{self.text}")
            self.text += os.read(self.terminal, 4096).decode(errors="replace")
        end = found + len(pattern)
        before, self.text = self.text[:end], self.text[end:]
        return before

    def job(self) -> int:
        """Start the answering program in the foreground and return its PID."""
        self.type("/usr/bin/python3 /tmp/answers.py\n")
        self.expect("ready")
        self.type("identity\n")
        return int(re.findall(r"\((\d+),", self.expect(")"))[-1])

    def close(self) -> None:
        self.process.kill()
        self.process.close()


@pytest.fixture
def screen(home: Node) -> Iterator[Screen]:
    made = Screen(home, "om")
    yield made
    made.close()


def state(node: Node, pid: int) -> str:
    return node.path_of(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


@pytest.mark.parametrize("back", [False, True])
def test_keys_and_job_control(home: Node, screen: Screen, back: bool) -> None:
    pid = screen.job()
    home.run(["migrate", str(pid), "2"])
    if back:
        home.run(["migrate", str(pid), "home"])
    screen.type("check\n")
    screen.expect("ok\r\n")
    screen.type("\x1a")
    screen.expect("Stopped")
    screen.expect(_PROMPT)
    screen.type("jobs -l\n")
    assert str(pid) in screen.expect("Stopped")
    screen.expect(_PROMPT)
    screen.type("fg\n")
    screen.expect("answers.py")
    screen.type("check\n")
    screen.expect("ok\r\n")
    screen.type("\x1a")
    screen.expect("Stopped")
    screen.expect(_PROMPT)
    screen.type("bg\n")
    screen.expect(_PROMPT)
    home.wait_for(lambda: state(home, pid) == "T", "the stop of a background reader")
    screen.type("echo to the shell\n")
    assert screen.expect("Stopped").count("to the shell") == 2
    screen.expect(_PROMPT)
    screen.type("fg\n")
    screen.expect("answers.py")
    screen.type("\x04")
    screen.expect(_PROMPT)
    screen.type("echo status $?\n")
    screen.expect("status 3")


def test_an_interrupt_ends_the_job(home: Node, screen: Screen) -> None:
    pid = screen.job()
    home.run(["migrate", str(pid), "2"])
    screen.type("\x03")
    screen.expect("KeyboardInterrupt")
    screen.expect(_PROMPT)
    screen.type("echo status $?\n")
    screen.expect("status 130")


def test_the_name_of_the_terminal_stays(home: Node, screen: Screen) -> None:
    pid = screen.job()
    screen.type("tty\n")
    name = re.findall(r"/dev/pts/\d+", screen.expect("/dev/pts/") + screen.expect("\n"))[0]
    home.run(["migrate", str(pid), "3"])
    for text in ("tty\n", "run tty\n"):
        screen.type(text)
        assert name in screen.expect("/dev/pts/") + screen.expect("\n")


def test_the_size_of_the_window_follows(home: Node, screen: Screen) -> None:
    pid = screen.job()
    home.run(["migrate", str(pid), "3"])
    fcntl.ioctl(screen.terminal, termios.TIOCSWINSZ, struct.pack("4H", 33, 111, 0, 0))
    deadline = time.monotonic() + _LIMIT_S
    while True:
        screen.type("size\n")
        if "(111, 33)" in screen.expect(")"):
            return
        assert time.monotonic() < deadline, "the size did not follow"
