"""The processes of this node with CPU use between two looks, for `mtop`.

Owns reading /proc and the arithmetic. A process that is away is counted with what its body uses, where the
daemon knows it: what stayed at home uses nothing.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from moscmd.process_places import Places

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Process:
    """One row. CPU in per cent of one processor since the last look; times in s; sizes in bytes."""

    pid: int
    user: str
    node: int
    nmigs: int
    lock: bool
    state: str
    priority: int
    nice: int
    vsize_bytes: int
    rss_bytes: int
    cpu_percent: float
    mem_percent: float
    time_s: float
    command: str


SORTS: dict[str, Callable[[Process], object]] = {
    "cpu": lambda p: (-p.cpu_percent, -p.time_s, p.pid),
    "mem": lambda p: (-p.rss_bytes, p.pid),
    "time": lambda p: (-p.time_s, p.pid),
    "pid": lambda p: p.pid,
    "node": lambda p: (-p.node, p.pid),
    "nmigs": lambda p: (-p.nmigs, p.pid),
    "user": lambda p: (p.user, p.pid),
}


class ProcessTable:
    """Remembers CPU times from one look to the next."""

    def __init__(self) -> None:
        self._before: dict[tuple[int, int], float] = {}
        self._looked_at = 0.0
        self._memory_bytes = _total_memory()

    def look(self, places: Places, with_arguments: bool = False) -> list[Process]:
        """All processes now. The first look has CPU use since each process began."""
        now = time.monotonic()
        uptime_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        elapsed_s = now - self._looked_at
        after: dict[tuple[int, int], float] = {}
        rows: list[Process] = []
        for name in os.listdir("/proc"):
            if not name.isdecimal():
                continue
            try:
                row = self._row(int(name), places, uptime_s, elapsed_s, after, with_arguments)
            except (OSError, ValueError, IndexError):
                continue  # it ended while it was looked at
            rows.append(row)
        self._before, self._looked_at = after, now
        return rows

    def _row(
        self,
        pid: int,
        places: Places,
        uptime_s: float,
        elapsed_s: float,
        after: dict[tuple[int, int], float],
        with_arguments: bool,
    ) -> Process:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            line = stat.read()
        closing = line.rindex(")")
        fields = line[closing + 2 :].split()
        place = places.of(pid)
        time_s = (int(fields[11]) + int(fields[12])) / TICKS_PER_S if place.cpu_s is None else place.cpu_s
        start_ticks = int(fields[19])
        key = (pid, start_ticks)
        after[key] = time_s
        if key in self._before and elapsed_s > 0:
            used = (time_s - self._before[key]) / elapsed_s
        elif self._looked_at:
            used = time_s / elapsed_s if elapsed_s > 0 else 0.0
        else:
            used = time_s / max(uptime_s - start_ticks / TICKS_PER_S, 1.0)
        rss_bytes = int(fields[21]) * PAGE_BYTES if place.rss_bytes is None else place.rss_bytes
        command = line[line.index("(") + 1 : closing]
        return Process(
            pid=pid,
            user=user_name(os.stat(f"/proc/{pid}").st_uid),
            node=places.node(pid),
            nmigs=place.nmigs,
            lock=place.lock,
            state=fields[0],
            priority=int(fields[15]),
            nice=int(fields[16]),
            vsize_bytes=int(fields[20]),
            rss_bytes=rss_bytes,
            cpu_percent=max(0.0, 100.0 * used),
            mem_percent=100.0 * rss_bytes / self._memory_bytes,
            time_s=time_s,
            command=(_arguments(pid) or command) if with_arguments else command,
        )


@lru_cache(maxsize=1024)
def user_name(uid: int) -> str:
    """Name of a user, its number where there is no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _arguments(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline", "rb") as line:
        return line.read(4096).rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")


def _total_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES
