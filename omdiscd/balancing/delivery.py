"""Whether the machine under this node gives it the CPU it is supposed to have.

A node in a virtual machine or a busy test machine gets less than its processors or its quota say, and so do its
neighbours: then nobody's promise of CPU can be judged by what a process gets there.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from balancer.events import ProcessSample

KEPT = 0.7
"""Of the old average, at each tick."""
ENOUGH = 0.75


class Delivery:
    """An average over the last ticks; one per daemon."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[float, float]] = {}
        self._at: float | None = None
        self._got = self._due = 0.0

    def observe(self, samples: Iterable[ProcessSample], cpus: float, now: float) -> None:
        """Take a tick's samples: what they got, and what they should have got of `cpus`."""
        current = {sample.pid: (sample.cpu_s, sample.run_delay_s) for sample in samples}
        both = [(self._before[pid], current[pid]) for pid in current.keys() & self._before.keys()]
        elapsed = now - self._at if self._at is not None else 0.0
        got = sum(max(0.0, after[0] - before[0]) for before, after in both)
        wanted = got + sum(max(0.0, after[1] - before[1]) for before, after in both)
        self._got = KEPT * self._got + got
        self._due = KEPT * self._due + min(wanted, cpus * max(0.0, elapsed))
        self._before, self._at = current, now

    @property
    def is_short(self) -> bool:
        """True when this node gets clearly less than it should."""
        return self._got < ENOUGH * self._due
