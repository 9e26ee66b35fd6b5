"""Devices and /proc."""
# ruff: noqa: SIM115  (files stay open over the moves)

import errno
import os
import re

from steps import equal, main, row, turns, with_peer


@row("/dev/null, zero, full, random and urandom, open and opened anew")
def simple() -> None:
    kept = {name: os.open(f"/dev/{name}", os.O_RDWR) for name in ("null", "zero", "full", "urandom")}
    for _ in turns():
        fresh = {name: os.open(f"/dev/{name}", os.O_RDWR) for name in kept}
        for fds in (kept, fresh):
            equal(os.read(fds["null"], 10), b"")
            equal(os.write(fds["null"], b"xyz"), 3)
            equal(os.read(fds["zero"], 10), bytes(10))
            equal(len(os.read(fds["urandom"], 100)), 100)
            try:
                os.write(fds["full"], b"x")
                raise AssertionError("/dev/full took data")
            except OSError as error:
                equal(error.errno, errno.ENOSPC)
        for fd in fresh.values():
            os.close(fd)
        equal(os.stat("/dev/null").st_rdev, os.makedev(1, 3))


@row("/dev/fd, /dev/stdin and /dev/stdout")
def own_names() -> None:
    for turn in turns():
        with open("file", "w") as file:
            file.write(f"{turn}")
        fd = os.open("file", os.O_RDONLY)
        with open(f"/dev/fd/{fd}") as again:
            equal(again.read(), str(turn))
        os.close(fd)
        equal(os.path.exists("/dev/stdin"), True)


@row("/proc/self: exe, cwd, fd, cmdline, comm, environ, maps")
def proc_self() -> None:
    before = {name: os.readlink(f"/proc/self/{name}") for name in ("exe", "cwd", "root")}
    texts = {name: open(f"/proc/self/{name}", "rb").read() for name in ("cmdline", "comm", "environ")}
    fd = os.open("file", os.O_RDWR | os.O_CREAT, 0o600)
    for _ in turns():
        for name, value in before.items():
            equal(os.readlink(f"/proc/self/{name}"), value, name)
        for name, content in texts.items():
            with open(f"/proc/self/{name}", "rb") as file:
                equal(file.read(), content, name)
        equal(os.readlink(f"/proc/self/fd/{fd}"), os.getcwd() + "/file")
        with open("/proc/self/maps") as file:
            equal("[stack]" in (text := file.read()), True, "a stack in maps")
        equal(before["exe"] in text, True, "the program in maps")


@row("/proc/self/stat and status: ids and name")
def proc_status() -> None:
    for _ in turns():
        with open(f"/proc/{os.getpid()}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        equal(int(fields[1]), os.getppid(), "the parent")
        equal(int(fields[2]), os.getpgrp(), "the group")
        equal(int(fields[3]), os.getsid(0), "the session")
        with open("/proc/self/status") as file:
            status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
        equal(status["Pid"], str(os.getpid()))
        equal(status["Uid"].split(), [str(os.getuid())] * 4)


@row("/proc of another process at home: its parent", "forks")
def proc_others() -> None:
    with open(f"/proc/{os.getpid()}/cmdline") as file:
        parents = file.read()

    def mover() -> None:
        for _ in turns():
            with open(f"/proc/{os.getppid()}/cmdline") as file:
                equal(file.read(), parents)

    with_peer(mover, lambda: None)


@row("/proc/PID is open over a move")
def proc_open() -> None:
    file = open("/proc/self/status")
    for _ in turns():
        file.seek(0)
        equal(re.search(r"Pid:\t(\d+)", file.read()).group(1), str(os.getpid()))  # type: ignore[union-attr]


@row("/proc/uptime, loadavg, meminfo, cpuinfo, version can be read")
def proc_machine() -> None:
    for _ in turns():
        for name in ("uptime", "loadavg", "meminfo", "cpuinfo", "version", "filesystems", "sys/kernel/hostname"):
            with open(f"/proc/{name}") as file:
                equal(len(file.read()) > 0, True, name)


@row("a file of /sys")
def sysfs() -> None:
    with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
        text = file.read()
    for _ in turns():
        with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
            equal(file.read(), text)


if __name__ == "__main__":
    main()
