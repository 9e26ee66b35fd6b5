"""Which processes of this machine want the CPU, and how much they got: a cheap sweep over /proc, once a second.

Processes that have been idle are looked at every fourth time only, kernel threads never; a new process is looked at
at once.  CPU time is that of all threads; run delay comes from schedstat.  Never waits; reads only.
Source of the fields: proc_pid_stat(5), Documentation/scheduler/sched-stats.rst.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

_IDLE_EVERY = 4
_KERNEL_PARENT = 2
_MAX_THREADS_READ = 64
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_BUSY_SHARE = 0.01
_NANOSECOND = 1e-9


@dataclass(slots=True)
class Seen:
    """A process as of its last look.  Times in seconds; `cpu_s`, `run_delay_s` are totals of its life."""

    pid: int
    start_ticks: int
    parent: int
    group: int
    session: int
    terminal: int
    uid: int
    command: str
    threads: int
    cpu_s: float
    run_delay_s: float
    rss_bytes: int
    busy: bool
    looked_at: float


class Sampler:
    """Remembers what it saw, so that idle processes cost nearly nothing."""

    def __init__(self) -> None:
        self._seen: dict[int, Seen] = {}
        self._kernel: set[int] = set()
        self._turn = 0

    def sweep(self, now: float) -> list[Seen]:
        """The processes that used the CPU or waited for it since they were last looked at, by PID."""
        self._turn += 1
        pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        self._kernel &= pids
        for pid in self._seen.keys() - pids:
            del self._seen[pid]
        for pid in pids - self._kernel:
            before = self._seen.get(pid)
            if before is not None and not before.busy and (pid + self._turn) % _IDLE_EVERY:
                continue
            self._look(pid, before, now)
        return [self._seen[pid] for pid in sorted(self._seen) if self._seen[pid].busy]

    def _look(self, pid: int, before: Seen | None, now: float) -> None:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                line = file.read(2048)
            opening, closing = line.index(b"("), line.rindex(b")")
            fields = line[closing + 2 :].split()
            if pid == _KERNEL_PARENT or int(fields[1]) == _KERNEL_PARENT:
                self._kernel.add(pid)
                self._seen.pop(pid, None)
                return
            start_ticks = int(fields[19])
            if before is not None and before.start_ticks != start_ticks:
                before = None
            threads = int(fields[17])
            cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS
            known = before.cpu_s if before is not None else 0.0
            changed = before is None or cpu_s > known or fields[0] == b"R"
            delay_s = _run_delay_s(pid, threads) if changed else (before.run_delay_s if before else 0.0)
            uid = before.uid if before is not None else os.stat(f"/proc/{pid}").st_uid
        except (OSError, ValueError, IndexError):
            self._seen.pop(pid, None)
            return
        elapsed_s = now - before.looked_at if before is not None else 1.0
        used_s = cpu_s - known + (delay_s - before.run_delay_s if before is not None else 0.0)
        busy = fields[0] == b"R" or (before is not None and used_s > _BUSY_SHARE * max(elapsed_s, 0.01))
        self._seen[pid] = Seen(
            pid=pid,
            start_ticks=start_ticks,
            parent=int(fields[1]),
            group=int(fields[2]),
            session=int(fields[3]),
            terminal=int(fields[4]),
            uid=uid,
            command=line[opening + 1 : closing].decode(errors="replace"),
            threads=threads,
            cpu_s=cpu_s,
            run_delay_s=delay_s,
            rss_bytes=int(fields[21]) * _PAGE_BYTES,
            busy=busy,
            looked_at=now,
        )


def cpu_used_s(pid: int) -> float:
    """CPU time of all threads of a process in its life here; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read(2048)
        fields = line[line.rindex(b")") + 2 :].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    except (OSError, ValueError, IndexError):
        return 0.0


def uptime_s() -> float:
    """Seconds since the machine started, the clock of `start_ticks`."""
    with open("/proc/uptime", encoding="ascii") as file:
        return float(file.read().split()[0])


def age_s(seen: Seen, uptime: float) -> float:
    """Seconds since the process started."""
    return max(0.0, uptime - seen.start_ticks / _TICKS)


def _run_delay_s(pid: int, threads: int) -> float:
    if threads <= 1:
        return _delay_in(f"/proc/{pid}/schedstat")
    names = os.listdir(f"/proc/{pid}/task")[:_MAX_THREADS_READ]
    return sum(_delay_in(f"/proc/{pid}/task/{name}/schedstat") for name in names)


def _delay_in(path: str) -> float:
    try:
        with open(path, "rb") as file:
            return int(file.read(64).split()[1]) * _NANOSECOND
    except (OSError, ValueError, IndexError):
        return 0.0
