"""What a body uses on its host, for `mps` and the balancer at home."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from migrated.shim.messages import Usage

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def usage_of(pid: int) -> Usage:
    """Processor time and resident memory of the process `pid` of this machine; zero when it is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return Usage(
            cpu_s=(int(fields[11]) + int(fields[12])) / _CLOCK_TICKS,
            rss_bytes=int(fields[21]) * _PAGE_BYTES,
            run_delay_s=_run_delay_s(pid),
        )
    return Usage(cpu_s=0.0, rss_bytes=0)


def _run_delay_s(pid: int) -> float:
    """Time its main thread stood in a run queue (Documentation/scheduler/sched-stats.rst); 0 where that is not told."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) * 1e-9
    return 0.0
