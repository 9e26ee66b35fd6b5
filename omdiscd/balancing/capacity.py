"""What this node has to offer: processors (or the quota of them) and memory (or the limit of it), as the daemon may
use them.  A node in a container or a virtual cluster is as large as its control group lets it be.
"""

from __future__ import annotations

import os
from pathlib import Path

from omdiscd.admin.machine import memory_bytes

_UNLIMITED_BYTES = 1 << 60


def processors() -> float:
    """CPUs this process may use: its affinity, or a smaller quota of its control groups."""
    allowed = float(len(os.sched_getaffinity(0)))
    return min([allowed, *_quotas()])


def memory() -> tuple[float, float]:
    """(total, used) bytes; used is what cannot be had by dropping caches."""
    available, _free, total = memory_bytes()
    used = float(total - available)
    limits = [(limit, usage) for limit, usage in _memory_limits() if limit < total]
    if limits:
        limit, usage = min(limits)
        return limit, min(usage, limit)
    return float(total), used


def _quotas() -> list[float]:
    found = []
    for directory in _groups("cpu"):
        quota, period = _read(directory / "cpu.cfs_quota_us"), _read(directory / "cpu.cfs_period_us")
        if quota and period and int(quota) > 0:
            found.append(int(quota) / int(period))
    for directory in _groups(""):
        words = _read(directory / "cpu.max").split()
        if len(words) == 2 and words[0] != "max":
            found.append(int(words[0]) / int(words[1]))
    return found


def _memory_limits() -> list[tuple[float, float]]:
    found = []
    for directory in _groups("memory"):
        limit, usage = _read(directory / "memory.limit_in_bytes"), _read(directory / "memory.usage_in_bytes")
        if limit and usage and int(limit) < _UNLIMITED_BYTES:
            found.append((float(limit), float(usage)))
    for directory in _groups(""):
        limit, usage = _read(directory / "memory.max"), _read(directory / "memory.current")
        if limit and usage and limit != "max":
            found.append((float(limit), float(usage)))
    return found


def _groups(controller: str) -> list[Path]:
    """Our control group in the hierarchy of `controller` ("" is version 2) and its parents, as far as visible."""
    mount = _mount_of(controller)
    if mount is None:
        return []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == controller or (controller and controller in controllers.split(",")):
            below = Path(path.lstrip("/"))
            return [mount / below, *(mount / parent for parent in below.parents)]
    return []


def _mount_of(controller: str) -> Path | None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if (kind == "cgroup2" and not controller) or (kind == "cgroup" and controller in options.split(",")):
            return Path(left.split()[4])
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
