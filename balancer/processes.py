"""The processes that run on this node: what each wants, has used, and where it came from, kept from sample
to sample.
"""

from __future__ import annotations

from collections.abc import Iterable

from balancer.decay import DecayRates, Statistics, rate_of
from balancer.events import GuestArrived, ProcessSample
from balancer.facts import ProcessFacts

DEMAND_KEEP = 5 / 8  # openMosix's filter of a process's load, once a second
ARRIVAL_GRACE_S = 3.0  # an arrival may be missing from samples that were read before it came
YOUNG_S = 0.2  # younger than this, a process is taken to want a whole CPU
MAX_TRACKED = 65536
LEFT_KEPT = 7
LEFT_KEPT_S = 60.0


class Tracked:
    """One process; mutable, owned by the table."""

    __slots__ = (
        "arrived_at",
        "base_age_s",
        "base_cpu_s",
        "came_from",
        "considered_cpu_s",
        "cpu_s",
        "demand",
        "held_until",
        "home",
        "io_bytes",
        "io_calls",
        "left",
        "local_cpu_s",
        "may_hold_at",
        "pid",
        "run_delay_s",
        "sample",
        "sampled_at",
        "statistics",
    )

    def __init__(self, pid: int, home: int, now: float) -> None:
        self.pid = pid
        self.home = home
        self.arrived_at = now
        self.came_from = 0
        self.left: tuple[tuple[int, float], ...] = ()  # nodes it left, and when
        self.base_cpu_s = 0.0
        self.base_age_s = 0.0
        self.cpu_s = 0.0
        self.considered_cpu_s = 0.0
        self.demand = 1.0
        self.held_until = 0.0
        self.may_hold_at = 0.0
        self.local_cpu_s = 0.0
        self.run_delay_s = 0.0
        self.io_calls = 0.0
        self.io_bytes = 0.0
        self.sample: ProcessSample | None = None
        self.sampled_at = now
        self.statistics = Statistics()

    def update(self, sample: ProcessSample, now: float, speed: float, rates: DecayRates) -> None:
        """Take one sample; counters that fell back count as no growth."""
        first = self.sample is None
        elapsed = now - self.sampled_at
        if first:
            elapsed = sample.age_s
            if not self.came_from:
                self.arrived_at = now - sample.age_s
        wanted = max(0.0, sample.cpu_s - self.local_cpu_s) + max(0.0, sample.run_delay_s - self.run_delay_s)
        if elapsed > 0 and (not first or elapsed >= YOUNG_S) and not self.held_until:
            now_wants = wanted / elapsed
            if first:
                self.demand = now_wants
            else:
                keep = DEMAND_KEEP if 0.9 < elapsed < 1.1 else DEMAND_KEEP ** min(elapsed, 60.0)
                self.demand = self.demand * keep + now_wants * (1 - keep)
        self.cpu_s = self.base_cpu_s + sample.cpu_s * speed
        statistics = self.statistics
        statistics.add(max(0.0, elapsed), sample.io_calls - self.io_calls, sample.io_bytes - self.io_bytes)
        kept, interval_s = rate_of(sample.decay, rates)
        statistics.decay(self.cpu_s, kept, interval_s)
        self.local_cpu_s = sample.cpu_s
        self.run_delay_s = sample.run_delay_s
        self.io_calls = sample.io_calls
        self.io_bytes = sample.io_bytes
        self.sample = sample
        self.sampled_at = now

    def facts(self, now: float) -> ProcessFacts | None:
        """The process as a decision sees it; None before its first sample."""
        sample = self.sample
        if sample is None:
            return None
        statistics = self.statistics
        wall_s = statistics.wall_s or 1.0
        here_s = max(0.0, now - self.arrived_at)
        return ProcessFacts(
            self.pid,
            self.home,
            self.cpu_s,
            statistics.cpu_s(self.cpu_s),
            self.demand,
            sample.rss_bytes,
            here_s,
            self.base_age_s + here_s,
            sample.decay.name,
            statistics.undecayed_share(self.cpu_s),
            self.cpu_s - self.considered_cpu_s,
            statistics.io_calls / wall_s,
            statistics.io_bytes / wall_s,
            self.came_from,
            tuple([(node, now - at) for node, at in self.left]) if self.left else (),
            sample.locked,
            sample.exempt,
            sample.vetoes,
            sample.allowed,
            bool(self.held_until),
            now >= self.may_hold_at,
        )


class ProcessTable:
    """All processes that run here, by PID."""

    def __init__(self) -> None:
        self.tracked: dict[int, Tracked] = {}

    def load(self) -> float:
        """Processes that want to run, suspended ones left out."""
        return sum([t.demand for t in self.tracked.values() if not t.held_until])

    def held_bytes(self) -> float:
        """Memory of the suspended ones."""
        return sum(t.sample.rss_bytes for t in self.tracked.values() if t.held_until and t.sample is not None)

    def arrive(self, guest: GuestArrived, demand: float, now: float) -> None:
        """A process came here; it counts as load at once."""
        pid, cpu_s = guest.pid, guest.cpu_s
        tracked = Tracked(pid, guest.home, now)
        tracked.came_from = guest.came_from
        before = [(node, now - ago_s) for node, ago_s in guest.left if ago_s < LEFT_KEPT_S and node != guest.came_from]
        tracked.left = (*before[-LEFT_KEPT:], (guest.came_from, now))
        tracked.base_cpu_s = tracked.cpu_s = tracked.considered_cpu_s = cpu_s
        tracked.base_age_s = guest.age_s
        tracked.demand = demand
        self.tracked[pid] = tracked

    def leave(self, pid: int) -> Tracked | None:
        """A process went away or ended."""
        return self.tracked.pop(pid, None)

    def update(self, samples: Iterable[ProcessSample], now: float, speed: float, rates: DecayRates) -> None:
        """Take one round of samples; who is missing has ended."""
        before = self.tracked
        after: dict[int, Tracked] = {}
        for sample in samples:
            tracked = before.get(sample.pid)
            if tracked is None:
                if len(after) >= MAX_TRACKED:
                    continue
                tracked = Tracked(sample.pid, sample.home, now)
            tracked.update(sample, now, speed, rates)
            after[sample.pid] = tracked
        if len(after) < len(before):
            for pid, tracked in before.items():
                if tracked.sample is None and pid not in after and now - tracked.arrived_at < ARRIVAL_GRACE_S:
                    after[pid] = tracked
        self.tracked = after

    def facts(self, now: float) -> tuple[ProcessFacts, ...]:
        """Every process that has been sampled, as a decision sees it."""
        return tuple([f for t in self.tracked.values() if (f := t.facts(now)) is not None])
