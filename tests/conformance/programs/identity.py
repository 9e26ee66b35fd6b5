"""What a process is: its numbers, names, limits and settings, as itself and others see them."""

import ctypes
import os
import resource
import socket
import time

from steps import equal, eventually, main, row, say, turns, with_peer

libc = ctypes.CDLL(None, use_errno=True)


@row("process, parent, group and session ids")
def ids() -> None:
    before = (os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0), os.getpgid(os.getppid()))
    for _ in turns():
        equal((os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0), os.getpgid(os.getppid())), before)


@row("user and group ids")
def users() -> None:
    before = (os.getresuid(), os.getresgid(), os.getgroups())
    for _ in turns():
        equal((os.getresuid(), os.getresgid(), os.getgroups()), before)


@row("supplementary groups of root", "root")
def groups() -> None:
    os.setgroups([5, 77, 1000])
    for _ in turns():
        equal(sorted(os.getgroups()), [5, 77, 1000])


@row("umask")
def umask() -> None:
    os.umask(0o027)
    for _ in turns():
        equal(os.umask(0o027), 0o027)


@row("umask changed at every place")
def umask_changes() -> None:
    masks = [0o077, 0o027, 0o002]
    os.umask(0o111)
    last = 0o111
    for turn in turns():
        equal(os.umask(masks[turn % 3]), last)
        last = masks[turn % 3]


@row("nice value, kept and raised")
def nice() -> None:
    os.nice(3)
    for turn in turns():
        equal(os.nice(1), 3 + turn)
        equal(os.getpriority(os.PRIO_PROCESS, 0), 3 + turn)


@row("resource limits, kept and changed")
def limits() -> None:
    names = [name for name in dir(resource) if name.startswith("RLIMIT_") and name != "RLIMIT_CORE"]
    resource.setrlimit(resource.RLIMIT_CPU, (5000, 6000))
    before = {name: resource.getrlimit(getattr(resource, name)) for name in names}
    for turn in turns():
        for name, limit in before.items():
            equal(resource.getrlimit(getattr(resource, name)), limit, name)
        resource.setrlimit(resource.RLIMIT_STACK, ((8 << 20) + 4096 * turn, before["RLIMIT_STACK"][1]))
        before["RLIMIT_STACK"] = resource.getrlimit(resource.RLIMIT_STACK)


@row("the limit of core dumps")
def core_limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (1000, 2000))
    for _ in turns():
        equal(resource.getrlimit(resource.RLIMIT_CORE), (1000, 2000))


@row("name of the process, as it and as ps at home see it")
def comm() -> None:
    name = b"renamed-1"
    libc.prctl(15, name, 0, 0, 0)
    for _turn in turns():
        with open("/proc/self/comm", "rb") as file:
            equal(file.read().strip(), name)
        say(f"during ps -o comm= -p {os.getpid()} > name; touch done")
        eventually(lambda: os.path.exists("done"), "the runner's command")
        os.unlink("done")
        with open("name", "rb") as file:
            equal(file.read().strip(), b"renamed-1", "the name ps shows")


@row("command line and environment, as ps at home sees them")
def cmdline() -> None:
    for _ in turns():
        with open("/proc/self/cmdline", "rb") as file:
            own = file.read()
        say(f"during cat /proc/{os.getpid()}/cmdline > cmdline; touch done")
        eventually(lambda: os.path.exists("done"), "the runner's command")
        os.unlink("done")
        with open("cmdline", "rb") as file:
            equal(file.read(), own, "the command line at home")
        equal(os.environ["CONFORMANCE"], "kept")


@row("personality")
def personality() -> None:
    libc.personality(0x0040000)  # ADDR_NO_RANDOMIZE
    for _ in turns():
        equal(libc.personality(0xFFFFFFFF), 0x0040000)


@row("hostname and domain name")
def hostname() -> None:
    before = os.uname()
    for _ in turns():
        equal(os.uname().nodename, before.nodename)
        equal(socket.gethostname(), before.nodename)
        equal((os.uname().sysname, os.uname().machine), (before.sysname, before.machine))


@row("time zone")
def zone() -> None:
    for _ in turns():
        equal(time.strftime("%z", time.localtime()), "+0545")


@row("CPU affinity and number of CPUs seen")
def affinity() -> None:
    os.sched_setaffinity(0, {0})
    for _ in turns():
        equal(os.sched_getaffinity(0), {0})


@row("scheduling policy batch and idle")
def policy() -> None:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    for _ in turns():
        equal(os.sched_getscheduler(0), os.SCHED_BATCH)


@row("I/O priority")
def io_priority() -> None:
    value = (2 << 13) | 6
    equal(libc.syscall(251, 1, 0, value), 0)
    for _ in turns():
        equal(libc.syscall(252, 1, 0), value)


@row("dumpable, keep-caps, child subreaper and death signal")
def process_flags() -> None:
    libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
    libc.prctl(4, 1, 0, 0, 0)
    libc.prctl(1, 10, 0, 0, 0)  # PR_SET_PDEATHSIG
    libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    for _ in turns():
        equal(libc.prctl(3, 0, 0, 0, 0), 1, "dumpable")
        value = ctypes.c_int(-1)
        libc.prctl(2, ctypes.byref(value), 0, 0, 0)
        equal(value.value, 10, "the signal at its parent's death")
        libc.prctl(37, ctypes.byref(value), 0, 0, 0)
        equal(value.value, 1, "child subreaper")


@row("timer slack")
def timer_slack() -> None:
    libc.prctl(29, 40000, 0, 0, 0)
    for _ in turns():
        equal(libc.prctl(30, 0, 0, 0, 0), 40000)


@row("not dumpable (as after a change of user)")
def not_dumpable() -> None:
    libc.prctl(4, 0, 0, 0, 0)
    for _ in turns():
        equal(libc.prctl(3, 0, 0, 0, 0), 0)


@row("no_new_privs stays as it was: set-user-ID programs work")
def new_privileges() -> None:
    for _ in turns():
        equal(libc.prctl(39, 0, 0, 0, 0), 0, "no_new_privs")


@row("capabilities of root", "root")
def capabilities() -> None:
    def read() -> list[str]:
        with open("/proc/self/status") as file:
            return [line.strip() for line in file if line.startswith("Cap")]

    before = read()
    for _ in turns():
        equal(read(), before)


@row("a process that has given up root", "root")
def dropped() -> None:
    os.setgroups([])
    os.setresgid(1000, 1000, 1000)
    os.setresuid(1000, 1000, 1000)
    os.chdir("/tmp")
    for _ in turns():
        equal((os.getresuid(), os.getresgid(), os.getgroups()), ((1000,) * 3, (1000,) * 3, []))


@row("a set-user-ID process in between (real and effective user differ)", "root")
def effective() -> None:
    os.setresuid(1000, 0, 0)
    for _ in turns():
        equal(os.getresuid(), (1000, 0, 0))


@row("out-of-memory score")
def oom_score() -> None:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("300")
    for _ in turns():
        with open("/proc/self/oom_score_adj") as file:
            equal(file.read().strip(), "300")


@row("getrusage of the process and of its children counts what was used away")
def usage() -> None:
    last = 0.0
    for _ in turns():
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass
        now = resource.getrusage(resource.RUSAGE_SELF).ru_utime + resource.getrusage(resource.RUSAGE_SELF).ru_stime
        if now < last + 0.05:
            raise AssertionError(f"{now:.2f} s of CPU time after {last:.2f} s")
        last = now


@row("time at home includes what was used away", "forks")
def parents_time() -> None:
    def mover() -> None:
        for _ in turns():
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                pass

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with_peer(mover, lambda: None)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if after.ru_utime - before.ru_utime < 0.25:
        say(f"fail its parent sees only {after.ru_utime - before.ru_utime:.2f} s of CPU time")


if __name__ == "__main__":
    main()
