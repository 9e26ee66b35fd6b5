"""Facts about this machine from /proc: processors, memory, run queue, speed.

Owns the reading of those files; every read is small and does not wait. Numbers only: filtering the load and
telling others is done elsewhere.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from omdiscd.core.admin import MAX_SPEED, STANDARD_SPEED
from omdiscd.core.admin_load import NodeLoad

STANDARD_BOGOMIPS = 1992.0
"""BogoMIPS of the standard processor, a 1 GHz Pentium III (openmosix.md 13.2)."""
_BOGOMIPS = re.compile(r"^bogomips\s*:\s*([0-9.]+)", re.MULTILINE | re.IGNORECASE)
_X86 = ("x86_64", "i386", "i486", "i586", "i686")


def cpu_count() -> int:
    """Processors this node may use."""
    return len(os.sched_getaffinity(0))


def measured_speed(proc: Path = Path("/proc")) -> int:
    """Speed of one processor in openMosix units, 1-65535, from BogoMIPS where these mean something."""
    if os.uname().machine not in _X86:
        return STANDARD_SPEED
    try:
        found = _BOGOMIPS.search((proc / "cpuinfo").read_text())
    except OSError:
        found = None
    if found is None:
        return STANDARD_SPEED
    return max(1, min(MAX_SPEED, round(float(found.group(1)) / STANDARD_BOGOMIPS * STANDARD_SPEED)))


def memory_bytes(proc: Path = Path("/proc")) -> tuple[int, int, int]:
    """Logically free (with what can be freed), really free, and total memory."""
    values: dict[str, int] = {}
    for line in (proc / "meminfo").read_text().splitlines()[:5]:
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) * 1024
    free = values.get("MemFree", 0)
    return values.get("MemAvailable", free), free, values.get("MemTotal", 0)


class RunQueueLoad:
    """Load of the node from the kernel's run queue, through openMosix's filter."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._filter = NodeLoad()

    def sample(self, speed: int) -> None:
        """Take one sample; once a second."""
        try:
            running = int((self._proc / "loadavg").read_text().split()[3].split("/")[0])
        except (OSError, ValueError, IndexError):
            running = 1
        self._filter.sample(max(0, running - 1), self._paging_share(), cpu_count(), speed)

    @property
    def local(self) -> int:
        return self._filter.local

    @property
    def exported(self) -> int:
        return self._filter.exported

    @property
    def utilizability(self) -> int:
        return self._filter.utilizability

    def _paging_share(self) -> float:
        try:
            full = (self._proc / "pressure/memory").read_text().splitlines()[1]
            return float(full.split()[1].removeprefix("avg10=")) / 100.0
        except (OSError, ValueError, IndexError):
            return 0.0
