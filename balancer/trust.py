"""Whom not to believe, for how long, and why.

A node is distrusted when its entry cannot be true, when it comes and goes all the time, and when processes
sent there get far less CPU than its entry promised (a node that always says it is idle). Distrust lapses;
with each repetition it lasts longer. The table is capped.
"""

from __future__ import annotations

import msgspec

BASE_S = 30.0
LONGEST_S = 600.0
FLAP_WINDOW_S = 60.0
FLAPS = 3  # returns within the window that make a node flapping
SAME_RETURN_S = 0.9  # two signs of a return this close are about the same one
PROGRESS_SHARE = 0.4  # of the promised CPU that a process must get
PROGRESS_S = 3.0  # over at least this long
MAX_NODES = 4096


class _Record(msgspec.Struct, gc=False):
    reason: str = ""
    until: float = 0.0
    strikes: int = 0
    struck_at: float = 0.0
    returns: list[float] = []


class TrustBook:
    """Distrust per node; times are monotonic seconds."""

    def __init__(self) -> None:
        self._records: dict[int, _Record] = {}

    def _record(self, node: int) -> _Record | None:
        record = self._records.get(node)
        if record is None and len(self._records) < MAX_NODES:
            record = self._records[node] = _Record()
        return record

    def strike(self, node: int, reason: str, now: float) -> None:
        """Distrust a node from now on: 30 s, and twice as long each time until 10 min."""
        record = self._record(node)
        if record is None:
            return
        if now - record.struck_at > LONGEST_S:
            record.strikes = 0
        if record.until <= now:
            record.strikes += 1
        record.struck_at = now
        record.reason = reason
        record.until = now + min(LONGEST_S, BASE_S * 2 ** (record.strikes - 1))

    def came_back(self, node: int, now: float) -> None:
        """The node restarted or was seen again after it had been lost."""
        record = self._record(node)
        if record is None or (record.returns and now - record.returns[-1] < SAME_RETURN_S):
            return
        record.returns = [at for at in record.returns[-FLAPS:] if now - at < FLAP_WINDOW_S] + [now]
        if len(record.returns) >= FLAPS:
            self.strike(node, f"came and went {len(record.returns)} times within a minute", now)

    def reason(self, node: int, now: float) -> str:
        """Why the node is not believed now; empty when it is."""
        if not self._records:
            return ""
        record = self._records.get(node)
        return record.reason if record is not None and record.until > now else ""


def broken_promise(cpu_gained_s: float, wanted_s: float, promised_share: float) -> str:
    """Why a process's progress on a node contradicts the node's entry; empty when it does not.

    It gained `cpu_gained_s` while it wanted to run for `wanted_s`; the entry led us to expect a share of
    `promised_share` (0..1).
    """
    if wanted_s <= 0 or cpu_gained_s >= PROGRESS_SHARE * promised_share * wanted_s:
        return ""
    return f"promised {100 * promised_share:.0f} % of a CPU and gave {100 * cpu_gained_s / wanted_s:.0f} %"
