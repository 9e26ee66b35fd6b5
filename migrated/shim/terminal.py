"""Terminal modes and sizes as values, and the relay terminal at the guest.

The relay terminal runs with EXTPROC and without output processing: echo, line editing, signals from keys and
newline translation happen at the home terminal, once.  A lone end-of-file character still reads as the end
(n_tty under EXTPROC).  The body may change the modes; what it means for the home terminal is `home_state`.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from typing import Any

from migrated.shim.messages import TerminalState
from omprotocol.errors import MosixError

EXTPROC = 0o200000
_TIOCPKT, _TIOCGPTPEER = 0x5420, 0x5441
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _ISPEED, _OSPEED, _CC = range(7)
_CHARACTERS = 32


def read_state(fd: int) -> TerminalState:
    """Modes and size of the terminal behind `fd`."""
    attributes = termios.tcgetattr(fd)
    characters = [c if isinstance(c, bytes) else bytes([c]) for c in attributes[_CC]]
    return TerminalState(
        modes=list(attributes[:4]), speeds=list(attributes[4:6]), characters=characters, size=read_size(fd)
    )


def write_modes(fd: int, state: TerminalState) -> None:
    """Set the modes of the terminal behind `fd`.  Raises MosixError when `state` is not one of a terminal."""
    if len(state.modes) != 4 or len(state.speeds) != 2 or len(state.characters) != _CHARACTERS:
        raise MosixError("bad-message", "The other shim sent terminal modes of an unknown shape.")
    characters: list[bytes | int] = list(state.characters)
    if not state.modes[_LFLAG] & termios.ICANON:
        for index in (termios.VMIN, termios.VTIME):
            characters[index] = state.characters[index][0]
    attributes: list[Any] = [*state.modes, *state.speeds, characters]
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


def read_size(fd: int) -> list[int]:
    """Rows, columns, width and height in pixels."""
    return list(struct.unpack("4H", fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8)))


def write_size(fd: int, size: list[int]) -> None:
    """Set the size; the kernel tells the foreground group when it changed."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", *(value & 0xFFFF for value in size[:4])))


def open_relay() -> tuple[int, int]:
    """A new pseudo terminal for a guest: (master, non-blocking, in packet mode; slave)."""
    master, slave = os.openpty()
    packet_mode(master)
    return master, slave


def peer_of(master: int) -> int:
    """The slave of a pseudo terminal that was made in another mount namespace."""
    return fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def packet_mode(master: int) -> None:
    """Make a master report changes of the modes, without blocking."""
    os.set_blocking(master, False)
    fcntl.ioctl(master, _TIOCPKT, struct.pack("i", 1))


def pseudo_terminal_index(path: str) -> int | None:
    """The number of /dev/pts/<number>; None for another terminal."""
    number = path.removeprefix("/dev/pts/")
    return int(number) if path != number and number.isdigit() else None


def as_relay(state: TerminalState) -> TerminalState:
    """The modes the relay terminal gets when the home terminal (or the body) has `state`."""
    modes = list(state.modes)
    modes[_OFLAG] &= ~termios.OPOST
    modes[_LFLAG] |= EXTPROC
    return TerminalState(modes=modes, speeds=state.speeds, characters=state.characters, size=state.size)


def home_state(state: TerminalState) -> TerminalState:
    """The modes the home terminal gets when the relay terminal has `state`.

    Output processing is off at the relay whatever the body wants; line mode without it is unheard of, so
    line mode means it is on.
    """
    modes = list(state.modes)
    if modes[_LFLAG] & termios.ICANON:
        modes[_OFLAG] |= termios.OPOST
    modes[_LFLAG] &= ~EXTPROC
    return TerminalState(modes=modes, speeds=state.speeds, characters=state.characters, size=state.size)


def take_input(slave: int) -> bytes:
    """Everything typed and not yet read; the terminal is left in raw mode (the body is frozen or gone)."""
    attributes = termios.tcgetattr(slave)
    attributes[_LFLAG] &= ~(termios.ICANON | EXTPROC)
    attributes[_CC][termios.VMIN] = 0
    attributes[_CC][termios.VTIME] = 0
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    parts = []
    while part := os.read(slave, 4096):
        parts.append(part)
    return b"".join(parts)


def push_input(fd: int, data: bytes) -> None:
    """Put `data` back in front of the terminal's readers, without echo (TIOCSTI; needs CAP_SYS_ADMIN)."""
    if not data:
        return
    before = termios.tcgetattr(fd)
    quiet = [*before[:_LFLAG], before[_LFLAG] & ~(termios.ECHO | termios.ISIG), *before[_ISPEED:]]
    termios.tcsetattr(fd, termios.TCSANOW, quiet)
    try:
        for byte in data:
            fcntl.ioctl(fd, termios.TIOCSTI, bytes([byte]))
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)
