"""A terminal of home: its modes, its size, its keys."""

import fcntl
import os
import select
import signal
import struct
import termios
import tty

from steps import equal, eventually, main, row, say, step, turns


def size() -> tuple[int, int]:
    rows, columns = struct.unpack("hhhh", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))[:2]
    return rows, columns


def visible_mode() -> list[object]:
    """The mode but for EXTPROC, by which home's line discipline is told not to edit what comes from the other node."""
    mode = termios.tcgetattr(0)
    return [*mode[:3], mode[3] & ~0x10000, *mode[4:]]


@row("canonical mode: lines are read, isatty and the name hold", "terminal shell")
def canonical() -> None:
    name = os.ttyname(0)
    for _ in turns():
        equal([os.isatty(fd) for fd in (0, 1)], [True, True])
        equal(os.ttyname(0), name)
        equal(os.path.exists(name), True)
        equal(bool(termios.tcgetattr(0)[3] & termios.ICANON), True)


@row("raw mode is kept", "terminal shell")
def raw() -> None:
    before = termios.tcgetattr(0)
    tty.setraw(0)
    mode = visible_mode()
    for _ in turns():
        equal(visible_mode(), mode)
    termios.tcsetattr(0, termios.TCSANOW, before)


@row("changes of the mode made while away are seen at home", "terminal shell")
def mode_changes() -> None:
    name = os.ttyname(0)
    for turn in turns():
        mode = termios.tcgetattr(0)
        mode[3] = mode[3] ^ termios.ECHO
        termios.tcsetattr(0, termios.TCSANOW, mode)
        wanted = "echo" if mode[3] & termios.ECHO else "-echo"
        eventually(lambda wanted=wanted, mode=mode: termios.tcgetattr(0)[3] == mode[3], "the mode")
        say(f"during stty -F {name} -a | grep -q -e '[ ]{wanted} ' && touch seen-{turn}")
        eventually(lambda turn=turn: os.path.exists(f"seen-{turn}"), "what stty says at home")


@row("the window size, its changes, and SIGWINCH", "terminal shell")
def window() -> None:
    got: list[int] = []
    signal.signal(signal.SIGWINCH, lambda number, frame: got.append(number))
    name = os.ttyname(0)
    for turn in turns():
        before = len(got)
        say(f"during stty -F {name} rows {30 + turn} cols {100 + turn}")
        eventually(lambda before=before: len(got) > before, "SIGWINCH")
        eventually(lambda turn=turn: size() == (30 + turn, 100 + turn), "the new size")


@row("the window size set by the program itself", "terminal shell")
def own_window() -> None:
    for turn in turns():
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("hhhh", 40 + turn, 90 + turn, 0, 0))
        eventually(lambda turn=turn: size() == (40 + turn, 90 + turn), "the new size")


@row("/dev/tty is the terminal", "terminal shell")
def dev_tty() -> None:
    for _turn in turns():
        fd = os.open("/dev/tty", os.O_RDWR)
        equal(os.write(fd, b"through /dev/tty\n"), 17)
        equal(os.isatty(fd), True)
        os.close(fd)


@row("foreground group and session of the terminal", "terminal shell")
def foreground() -> None:
    before = (os.tcgetpgrp(0), termios.tcgetsid(0) if hasattr(termios, "tcgetsid") else 0)
    for _ in turns():
        equal(os.tcgetpgrp(0), before[0])


@row("a program that leads the session of its terminal", "terminal")
def leader() -> None:
    before = (os.getsid(0), os.tcgetpgrp(0))
    for _ in turns():
        equal((os.getsid(0), os.tcgetpgrp(0)), before)


@row("a large output comes out whole", "terminal shell")
def output() -> None:
    for turn in turns():
        for line in range(500):
            say(f"line {turn} {line} " + "x" * 60)


@row("nothing to read: select and poll wait", "terminal shell")
def nothing() -> None:
    for _ in turns():
        equal(select.select([0], [], [], 0.05)[0], [])
        poll = select.poll()
        poll.register(0, select.POLLIN)
        equal(poll.poll(20), [])


@row("VMIN and VTIME", "terminal shell")
def timed_read() -> None:
    before = termios.tcgetattr(0)
    for _ in turns():
        mode = termios.tcgetattr(0)
        mode[3] &= ~termios.ICANON
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 0, 1
        termios.tcsetattr(0, termios.TCSANOW, mode)
        equal(os.read(0, 10), b"")
        termios.tcsetattr(0, termios.TCSANOW, before)


@row("a pseudo-terminal of its own, with both ends")
def own_pty() -> None:
    master, slave = os.openpty()
    while step():
        os.write(slave, b"out")
        equal(os.read(master, 10), b"out")
        os.write(master, b"in\n")
        equal(os.read(slave, 10), b"in\n")
        os.read(master, 10)


@row("a pseudo-terminal made at every place")
def pty_away() -> None:
    for _ in turns():
        master, slave = os.openpty()
        os.write(slave, b"out")
        equal(os.read(master, 10), b"out")
        os.close(master), os.close(slave)


if __name__ == "__main__":
    main()
