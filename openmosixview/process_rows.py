"""The processes of this node as the pages list them: /proc joined with the daemon's places.

Owns reading /proc for many processes in one go (in a thread) and checking that a PID is still the same process.
Commands are other people's text: they leave here cut and are shown as text only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from omprotocol.errors import EXIT_NOT_FOUND, MosixError
from openmosixview.user import user_name

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
COMMAND_CHARACTERS = 300
KERNEL_THREAD = 0x00200000


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process. `node` 0 is here; CPU in per cent of one processor; times in s, sizes in bytes."""

    pid: int
    start: int
    uid: int
    user: str
    node: int
    nmigs: int
    lock: bool
    cantmove: str
    state: str
    nice: int
    cpu_percent: float
    rss_bytes: int
    time_s: float
    name: str
    command: str


class ProcessLook:
    """Looks at /proc; remembers CPU times from one look to the next."""

    def __init__(self) -> None:
        self._before: dict[tuple[int, int], float] = {}
        self._looked_at = 0.0

    def rows(self, places: Mapping[int, Mapping[str, Any]]) -> list[ProcessRow]:
        """All processes but kernel threads, by PID. Blocks for as long as /proc takes."""
        now, uptime_s = time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
        after: dict[tuple[int, int], float] = {}
        found = []
        for name in os.listdir("/proc"):
            if name.isdecimal():
                try:
                    row = self._row(int(name), places.get(int(name), {}), now, uptime_s, after)
                except (OSError, ValueError, IndexError):
                    continue  # it ended while it was looked at
                if row is not None:
                    found.append(row)
        self._before, self._looked_at = after, now
        return sorted(found, key=lambda row: row.pid)

    def _row(
        self, pid: int, place: Mapping[str, Any], now: float, uptime_s: float, after: dict[tuple[int, int], float]
    ) -> ProcessRow | None:
        name, fields = _stat(pid)
        if int(fields[6]) & KERNEL_THREAD:
            return None
        start, cpu_s, rss = int(fields[19]), place.get("cpu_s"), place.get("rss_bytes")
        time_s = (int(fields[11]) + int(fields[12])) / TICKS_PER_S if cpu_s is None else float(cpu_s)
        after[pid, start] = time_s
        before = self._before.get((pid, start))
        if before is not None and now > self._looked_at:
            used = (time_s - before) / (now - self._looked_at)
        else:
            used = time_s / max(uptime_s - start / TICKS_PER_S, 1.0)
        uid = os.stat(f"/proc/{pid}").st_uid
        reasons = place.get("cantmove")
        return ProcessRow(
            pid=pid,
            start=start,
            uid=uid,
            user=user_name(uid),
            node=int(place.get("where", 0)),
            nmigs=int(place.get("nmigs", 0)),
            lock=place.get("lock") is True,
            cantmove=", ".join(map(str, reasons))[:COMMAND_CHARACTERS] if isinstance(reasons, list) else "",
            state=fields[0],
            nice=int(fields[16]),
            cpu_percent=round(max(0.0, 100.0 * used), 1),
            rss_bytes=int(fields[21]) * PAGE_BYTES if rss is None else int(rss),
            time_s=round(time_s, 2),
            name=name,
            command=command_line(pid) or name,
        )


def as_plain(row: ProcessRow) -> dict[str, Any]:
    """The row for JSON."""
    return asdict(row)


def command_line(pid: int) -> str:
    """Arguments of a process joined by blanks, cut; empty when it has none. Raises OSError."""
    with open(f"/proc/{pid}/cmdline", "rb") as line:
        raw = line.read(4 * COMMAND_CHARACTERS)
    return raw.rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")[:COMMAND_CHARACTERS]


def same_process(pid: int, start: int) -> None:
    """Raise MosixError `no-such-process` unless this PID is still the process the user looked at."""
    try:
        _, fields = _stat(pid)
        if int(fields[19]) == start:
            return
    except (OSError, ValueError, IndexError):
        pass
    raise MosixError("no-such-process", f"Process {pid} has ended.", EXIT_NOT_FOUND)


def _stat(pid: int) -> tuple[str, list[str]]:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        line = stat.read()
    closing = line.rindex(")")
    return line[line.index("(") + 1 : closing], line[closing + 2 :].split()
