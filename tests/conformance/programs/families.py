"""Parents, children, groups and sessions."""

import os
import signal
import subprocess
import sys
import time

from steps import calm, equal, eventually, main, row, say, step, turns, with_peer


def child_that(action: object) -> int:
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            status = int(action() or 0)  # type: ignore[operator]
        finally:
            os._exit(status)
    return pid


@row("a leaf of a family moves alone; its parent at home waits for it", "forks")
def leaf() -> None:
    with_peer(lambda: [None for _ in turns()] and None, lambda: None)


@row("a process with a child is moved as a whole, or refused")
def with_child() -> None:
    reader, writer = os.pipe()
    back, forth = os.pipe()

    def serve() -> int:
        os.close(writer), os.close(back)
        while data := os.read(reader, 1):
            os.write(forth, data)
        return 5

    child = child_that(serve)
    os.close(reader), os.close(forth)
    for _ in turns():
        os.write(writer, b"x")
        equal(os.read(back, 1), b"x")
    os.close(writer)
    equal(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 5)


@row("a parent with a zombie child not yet waited for")
def with_zombie() -> None:
    while calm():
        child = child_that(lambda: 7)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        step()
        equal(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 7)


@row("children forked while away, with their exit statuses and signals")
def forks_away() -> None:
    for turn in turns():
        child = child_that(lambda turn=turn: turn)
        equal(os.waitpid(child, 0), (child, turn << 8))
        child = child_that(lambda: time.sleep(1000))
        os.kill(child, signal.SIGTERM)
        equal(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), -signal.SIGTERM)


@row("SIGCHLD for a child forked while away")
def child_signal() -> None:
    got: list[int] = []
    signal.signal(signal.SIGCHLD, lambda number, frame: got.append(number))
    for _ in turns():
        got.clear()
        child = child_that(lambda: 0)
        eventually(lambda: got, "SIGCHLD")
        os.waitpid(child, 0)


@row("programs started while away: output, input, status")
def programs() -> None:
    for turn in turns():
        done = subprocess.run(["tr", "a-z", "A-Z"], input=b"turn %d" % turn, capture_output=True, check=False)
        equal(done.stdout, b"TURN %d" % turn)
        equal(subprocess.run(["sh", "-c", "exit 9"], check=False).returncode, 9)
        equal(subprocess.run("seq 1000 | sort -n | tail -1", shell=True, capture_output=True).stdout, b"1000\n")


@row("a child forked while away sees its parent, group and session")
def child_identity() -> None:
    me = (os.getpid(), os.getpgrp(), os.getsid(0))
    for _ in turns():
        equal(os.waitpid(child_that(lambda: (os.getppid(), os.getpgrp(), os.getsid(0)) != me), 0)[1], 0)


@row("exec: the program replaces itself and goes on as the same process")
def executes() -> None:
    if len(sys.argv) > 2:
        equal((os.getpid(), os.getppid()), (int(sys.argv[2]), int(sys.argv[3])))
    if step():
        os.execv("/usr/bin/python3", ["python3", sys.argv[0], "executes", str(os.getpid()), str(os.getppid())])


@row("setpgid and setsid of children forked while away")
def groups() -> None:
    for _ in turns():

        def act() -> int:
            os.setsid()
            return (os.getsid(0), os.getpgrp()) != (os.getpid(), os.getpid())

        equal(os.waitpid(child_that(act), 0)[1], 0)
        child = child_that(lambda: time.sleep(1000))
        os.setpgid(child, child)
        equal(os.getpgid(child), child)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)


@row("the process leads a group, or becomes a leader while away")
def own_group() -> None:
    equal(os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid())
    for _ in turns():
        if os.getpgrp() != os.getpid():
            os.setpgid(0, 0)
        equal(os.getpgrp(), os.getpid())


@row("orphans of a child forked while away end without harm")
def orphans() -> None:
    for turn in turns():

        def act(turn: int = turn) -> int:
            if os.fork() == 0:
                time.sleep(0.2)
                with open(f"orphan-{turn}", "w") as file:
                    file.write("x")
                os._exit(0)
            return 0

        equal(os.waitpid(child_that(act), 0)[1], 0)
        eventually(lambda turn=turn: os.path.exists(f"orphan-{turn}"), "the orphan's file")


@row("a child forked while away is still there when it goes on moving, or this is refused")
def keeps_child() -> None:
    child = 0
    for _turn in turns():
        if not child:
            child = child_that(lambda: time.sleep(1000))
        equal(os.waitpid(child, os.WNOHANG), (0, 0))
    if child:
        os.kill(child, signal.SIGKILL)
        equal(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), -signal.SIGKILL)


@row("a signal to another process at home, sent while away", "forks")
def kills_at_home() -> None:
    got: list[int] = []
    parent = os.getpid()

    def mover() -> None:
        for _ in turns():
            os.kill(parent, signal.SIGUSR1)

    def peer() -> None:
        return

    signal.signal(signal.SIGUSR1, lambda number, frame: got.append(number))
    with_peer(mover, peer)
    if not got:
        say("fail the signal did not arrive")


@row("a child in vfork waits for its program")
def vfork() -> None:
    for turn in turns():
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", f"exit {turn}"], os.environ)
        equal(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), turn)


@row("make -j with a compiler")
def makes() -> None:
    with open("Makefile", "w") as file:
        file.write("all: a.o b.o\n%.o: %.c\n\tgcc -c $<\n")
    for name in "ab":
        with open(f"{name}.c", "w") as file:
            file.write(f"int {name};\n")
    for _ in turns():
        done = subprocess.run(["make", "-B", "-j2"], capture_output=True, text=True, check=False)
        equal((done.returncode, done.stderr), (0, ""))
        equal(sorted(name for name in os.listdir(".") if name.endswith(".o")), ["a.o", "b.o"])


if __name__ == "__main__":
    main()
