"""System V semaphores and message queues that a process seems to use.

They belong to the IPC namespace of home and are known to a process by number only, so that the kernel cannot say
who uses them.  What can be known: which user made them and when, and which process used them last.  Shared memory
is seen in the mappings.
Reads only.  Source of the columns: proc_sysvipc(5).
"""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from migrated.survey.facts import ProcessFacts

_GETPID = 11
_SEMAPHORES_MAX = 256
_libc = ctypes.CDLL(None, use_errno=True)


def system_v_reasons(facts: ProcessFacts) -> list[str]:
    """Why the process must stay; empty when nothing tells of System V objects of its own."""
    reasons = []
    born_s = _started_s(facts)
    for row in _table("sem"):
        if _is_ours(facts, born_s, row, _last_users(row["semid"], row["nsems"])):
            reasons.append("System V semaphores")
    for row in _table("msg"):
        if _is_ours(facts, born_s, row, {row["lspid"], row["lrpid"]}):
            reasons.append("System V message queue")
    return list(dict.fromkeys(reasons))


def _is_ours(facts: ProcessFacts, born_s: float, row: dict[str, int], last_users: set[int]) -> bool:
    """Whether the process used it last, or may: made by its user since it began (to the second, as the kernel notes
    it) and not last used by a living process of another session.
    """
    if facts.pid in last_users:
        return True
    if row["cuid"] not in facts.uids or row["ctime"] < int(born_s):
        return False
    sessions = {_session(pid) for pid in last_users} - {0}
    return not sessions or facts.sid in sessions


def _session(pid: int) -> int:
    try:
        return os.getsid(pid) if pid > 0 else 0
    except OSError:
        return 0


def _started_s(facts: ProcessFacts) -> float:
    boot_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return boot_s + facts.start_ticks / os.sysconf("SC_CLK_TCK")


def _table(name: str) -> list[dict[str, int]]:
    try:
        lines = Path(f"/proc/sysvipc/{name}").read_text().splitlines()
    except OSError:
        return []  # a kernel without System V objects
    columns = lines[0].split()
    return [dict(zip(columns, map(int, line.split()), strict=False)) for line in lines[1:]]


def _last_users(identifier: int, count: int) -> set[int]:
    return {_libc.semctl(identifier, number, _GETPID) for number in range(min(count, _SEMAPHORES_MAX))}
