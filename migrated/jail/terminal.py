"""The relay terminal a guest gets inside its jail.

Made in the jail's own devpts with the number that the terminal has at home, so that its name (`tty`,
ttyname, opening /dev/pts/N) is home's as well. The master side goes to the supervisor, which relays it.
"""

from __future__ import annotations

import fcntl
import os
import struct

INDEX_LIMIT = 512  # each lower number costs an open descriptor while it is being reached
_TIOCGPTN, _TIOCSPTLCK = 0x80045430, 0x40045431
_TTY_GROUP = 5


def make_terminal(index: int, uid: int) -> tuple[int, int]:
    """(master, slave) of /dev/pts/<index>, or of the lowest free number above INDEX_LIMIT. OSError without
    devpts.
    """
    opened: list[int] = []
    try:
        while True:
            master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            (number,) = struct.unpack("=i", fcntl.ioctl(master, _TIOCGPTN, bytes(4)))
            if number >= index or index > INDEX_LIMIT:
                break
            opened.append(master)
    finally:
        for fd in opened:
            os.close(fd)
    fcntl.ioctl(master, _TIOCSPTLCK, bytes(4))
    path = f"/dev/pts/{number}"
    os.chown(path, uid, _TTY_GROUP)
    return master, os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def external_key(slave: int) -> str:
    """CRIU's name for this terminal as an external one."""
    status = os.fstat(slave)
    return f"tty[{status.st_rdev:x}:{status.st_dev:x}]"
