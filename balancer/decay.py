"""Decay of a process's statistics, as openMosix does it.

Once every interval only a part of what has been accumulated is kept: 975 thousandths (slow, the default),
926 (fast), an own rate, or all of it (none, cpujob, iojob). The CPU time is the kernel's counter, so it
decays by growing the part that is discounted.
"""

from __future__ import annotations

import msgspec

SLOW_PER_MILLE = 975
FAST_PER_MILLE = 926
INTERVAL_S = 2  # openMosix 2.4.26; half-lives of 55 s and 18 s
MAX_INTERVAL_S = 65535

CPUJOB = "cpujob"
IOJOB = "iojob"
SLOW = "slow"
FAST = "fast"
OWN = "own"
NONE = "none"
CLASSES = (CPUJOB, IOJOB, SLOW, FAST, OWN, NONE)


class DecayRates(msgspec.Struct, frozen=True, gc=False):
    """A node's `decayinterval` (1..65535 s), `slowdecay` and `fastdecay` (per mille; 0 <= fast <= slow <=
    1000).
    """

    interval_s: int = INTERVAL_S
    slow: int = SLOW_PER_MILLE
    fast: int = FAST_PER_MILLE

    def __post_init__(self) -> None:
        if not 1 <= self.interval_s <= MAX_INTERVAL_S:
            raise ValueError(f"decay interval {self.interval_s} is not within 1..{MAX_INTERVAL_S}")
        if not 0 <= self.fast <= self.slow <= 1000:
            raise ValueError("decay needs 0 <= fast <= slow <= 1000")


class DecayChoice(msgspec.Struct, frozen=True, gc=False):
    """What one process asked for: a class, and for `own` its rate (0..1000) and interval (1..65535 s)."""

    name: str = SLOW
    own_rate: int = 1000
    own_interval_s: int = 1

    def __post_init__(self) -> None:
        if self.name not in CLASSES:
            raise ValueError(f"unknown decay class {self.name!r}")
        if not 0 <= self.own_rate <= 1000 or not 1 <= self.own_interval_s <= MAX_INTERVAL_S:
            raise ValueError("own decay needs a rate of 0..1000 and an interval of 1..65535 s")


def rate_of(choice: DecayChoice, rates: DecayRates) -> tuple[float, float]:
    """(share kept, every how many seconds)."""
    if choice.name == SLOW:
        return rates.slow / 1000, float(rates.interval_s)
    if choice.name == FAST:
        return rates.fast / 1000, float(rates.interval_s)
    if choice.name == OWN:
        return choice.own_rate / 1000, float(choice.own_interval_s)
    return 1.0, float(rates.interval_s)


class Statistics(msgspec.Struct, gc=False):
    """What has been accumulated for one process since the last clear, with decay."""

    discounted_s: float = 0.0  # part of the CPU time that no longer counts
    wall_s: float = 0.0
    io_calls: float = 0.0
    io_bytes: float = 0.0
    since_decay_s: float = 0.0

    def cpu_s(self, total_cpu_s: float) -> float:
        """CPU seconds that still count."""
        return max(0.0, total_cpu_s - self.discounted_s)

    def undecayed_share(self, total_cpu_s: float) -> float:
        """Share of the CPU time that decay has left; 1 when nothing was discounted."""
        return self.cpu_s(total_cpu_s) / total_cpu_s if total_cpu_s > 0 else 1.0

    def add(self, elapsed_s: float, io_calls: float, io_bytes: float) -> None:
        """Count one interval's growth; negative growth (a counter reset) counts as nothing."""
        self.wall_s += max(0.0, elapsed_s)
        self.io_calls += max(0.0, io_calls)
        self.io_bytes += max(0.0, io_bytes)
        self.since_decay_s += max(0.0, elapsed_s)

    def decay(self, total_cpu_s: float, kept: float, interval_s: float) -> None:
        """Apply the decays that have become due."""
        if kept >= 1.0 or self.since_decay_s < interval_s:
            return
        times = int(self.since_decay_s // interval_s)
        factor = kept**times
        self.since_decay_s -= times * interval_s
        self.discounted_s = total_cpu_s - self.cpu_s(total_cpu_s) * factor
        self.wall_s *= factor
        self.io_calls *= factor
        self.io_bytes *= factor

    def clear(self, total_cpu_s: float) -> None:
        """openMosix's `/proc/PID/clear`: forget everything so far."""
        self.discounted_s = total_cpu_s
        self.wall_s = self.io_calls = self.io_bytes = self.since_decay_s = 0.0
