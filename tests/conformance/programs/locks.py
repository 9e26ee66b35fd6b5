"""Locks on files, with processes at home as the other party."""
# ruff: noqa: SIM115  (files stay open over the moves)

import fcntl
import os
import struct

from steps import calm, equal, eventually, main, row, say, step, turns


def fresh(name: str, content: bytes = b"") -> str:
    with open(name, "wb") as file:
        file.write(content)
    return name


def at_home(name: str = "seen") -> str:
    with open(name) as file:
        return file.read().strip()


def from_home(command: str) -> str:
    """Have the runner execute a command without a move."""
    say(f"during {command}; touch done")
    eventually(lambda: os.path.exists("done"), "the runner's command")
    os.unlink("done")
    return at_home()


@row("flock held over moves; home cannot take it")
def flock() -> None:
    file = open("lock", "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    while step("flock -n lock true; echo $? > seen"):
        equal(at_home(), "1", "what flock says at home")
    fcntl.flock(file, fcntl.LOCK_UN)


@row("flock taken while away is seen at home, and given back")
def flock_away() -> None:
    file = open("lock", "w")
    for _ in turns():
        fcntl.flock(file, fcntl.LOCK_EX)
        equal(from_home("flock -n lock true; echo $? > seen"), "1", "what flock says at home")
        fcntl.flock(file, fcntl.LOCK_UN)
        equal(from_home("flock -n lock true; echo $? > seen"), "0", "what flock says at home")


TRY_LOCK = b"""
import fcntl
with open("lock", "r+") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        print(0)
    except OSError:
        print(1)
"""


@row("fcntl record lock held over moves; home cannot take it")
def record_lock() -> None:
    fresh("try.py", TRY_LOCK)
    file = open("lock", "w+")
    fcntl.lockf(file, fcntl.LOCK_EX)
    while step("python3 try.py > seen"):
        equal(at_home(), "1", "whether home is kept out")


@row("an open file description lock held over moves")
def description_lock() -> None:
    fresh("try.py", TRY_LOCK)
    file = open("lock", "w+")
    fcntl.fcntl(file, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
    while step("python3 try.py > seen"):
        equal(at_home(), "1", "whether home is kept out")


@row("waiting for a lock that home holds")
def waits_for_lock() -> None:
    while calm():
        waiting = "until test -e let-go; do sleep 0.02; done"
        holder = f"sh -c 'exec 9>lock; flock 9; touch held; {waiting}; rm let-go held' >/dev/null 2>&1 &"
        say(f"during {holder} until test -e held; do sleep 0.02; done")
        eventually(lambda: os.path.exists("held"), "the holder")
        file = open("lock", "w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            raise AssertionError("the lock was free")
        except BlockingIOError:
            pass
        say("during touch let-go")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.close()


if __name__ == "__main__":
    main()
