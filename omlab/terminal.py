"""A program in a node on the user's terminal (or pipes), as ssh or docker exec would run it.

Owns the raw mode of the user's terminal and always restores it. The program itself never holds a
descriptor from outside the node, so it can be migrated like any other.
"""

import fcntl
import os
import select
import signal
import struct
import sys
import termios
import tty
from pathlib import Path

from omlab.node import Node
from omlab.process import PIPE, TERMINAL, NodeProcess

_READ_BYTES = 1 << 16
_DRAIN_S = 1.0


def run_attached(node: Node, argv: list[str], user: str | None, environment: dict[str, str]) -> int:
    """Run a program with our standard input and outputs; returns its exit status as a shell counts it.

    Blocks until the program ends. With a terminal on our standard input and output the program gets a
    terminal of the node, else pipes.
    """
    if os.isatty(0) and os.isatty(1):
        process = node.popen(
            argv,
            user=user,
            environment=environment,
            stdin=TERMINAL,
            stdout=TERMINAL,
            stderr=TERMINAL,
            terminal_size=_size(),
            tied=True,
        )
        status = _with_terminal(process)
    else:
        process = node.popen(argv, user=user, environment=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE, tied=True)
        status = _with_pipes(process)
    process.close()
    return status if status >= 0 else 128 - status


def _size() -> tuple[int, int]:
    rows, columns = os.get_terminal_size(0).lines, os.get_terminal_size(0).columns
    return rows, columns


def _with_terminal(process: NodeProcess) -> int:
    master = process.terminal
    assert master is not None
    saved = termios.tcgetattr(0)

    def resized(*_: object) -> None:
        rows, columns = _size()
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    signal.signal(signal.SIGWINCH, resized)
    try:
        # Not flushing: what was typed ahead belongs to the program.
        tty.setraw(0, termios.TCSADRAIN)
        _pump(process, {0: master, master: 1})
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)
    return process.wait()


def _with_pipes(process: NodeProcess) -> int:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: process.send_signal(received))
    routes = {process.stdout.fileno(): 1, process.stderr.fileno(): 2}
    if _readable_input():
        routes[0] = process.stdin.fileno()
    else:
        process.stdin.close()
    _pump(process, routes)
    return process.wait()


def _readable_input() -> bool:
    try:
        return Path(f"/proc/self/fdinfo/{sys.__stdin__.fileno() if sys.__stdin__ else 0}").exists()
    except (OSError, ValueError):
        return False


def _pump(process: NodeProcess, routes: dict[int, int]) -> None:
    """Copy along `routes` (from descriptor to descriptor) until the program has ended and is read out."""
    status_seen = False
    while routes:
        watched = [*routes, *([] if status_seen else [process.fileno()])]
        # A program's background jobs may hold its pipes: after its end only what is there is copied.
        ready, _, _ = select.select(watched, [], [], 0 if status_seen else None)
        if not ready and status_seen:
            return
        if not status_seen and process.poll() is not None:
            status_seen = True
            routes.pop(0, None)
        for source in ready:
            if source in routes and not _copy(source, routes[source]):
                target = routes.pop(source)
                if source == 0 and process.stdin is not None:
                    process.stdin.close()
                elif target == 1 and process.terminal == source:
                    return


def _copy(source: int, target: int) -> bool:
    """Copy what is there; False at the end of either."""
    try:
        data = os.read(source, _READ_BYTES)
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
    except OSError:
        return False
    return bool(data)
