"""The figures the balancer has to reach, each by one function: value, 95 % interval, bound and verdict.

A check is passed when the whole interval lies within the bound, not only the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from balancer.gossip import GossipPlan
from balancer.simulate.ages import Ages, entry_ages
from balancer.simulate.figures import Interval, interval, mean, percentile, ratio_interval
from balancer.simulate.outcome import Outcome, outcome
from balancer.simulate.scenarios import Options, prepare, simulate

Progress = Callable[[str], None]


class Check(msgspec.Struct, frozen=True):
    """One figure against its bound: value <= bound, or value >= bound when `at_least`."""

    name: str
    value: Interval
    bound: float
    at_least: bool = False

    @property
    def passed(self) -> bool:
        """True when the interval as a whole keeps the bound."""
        return self.value.low >= self.bound if self.at_least else self.value.high <= self.bound


class Effort(msgspec.Struct, frozen=True):
    """How much to simulate: seeds for most targets, runs of the Amir stream, seconds of arrivals, first
    seed.
    """

    seeds: int = 5
    runs: int = 3000
    seconds: float = 1000.0
    first_seed: int = 1
    progress_every: int = 25


def _outcomes(name: str, options: Options, policies: tuple[str, ...], effort: Effort) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {policy: [] for policy in policies}
    for seed in range(effort.first_seed, effort.first_seed + effort.seeds):
        scenario = prepare(name, options, seed)
        for policy in policies:
            simulation = simulate(scenario, policy, seed, options.window)
            found[policy].append(outcome(simulation, policy, seed))
    return found


def amir(effort: Effort, progress: Progress) -> Iterator[Check]:
    """Mean slowdown on the stream of Amir et al. against round robin, the original's rule and n^u."""
    policies = ("none", "mosix", "opportunity", "ours")
    sums: dict[str, list[float]] = {policy: [] for policy in policies}
    plain: list[float] = []  # ours without suspending anybody
    counts: list[int] = []
    for seed in range(effort.first_seed, effort.first_seed + effort.runs):
        scenario = prepare("amir", Options(), seed)
        counts.append(len(scenario.stream))
        for policy in policies:
            jobs = simulate(scenario, policy, seed).jobs
            sums[policy].append(sum(job.slowdown() for job in jobs))
        jobs = simulate(scenario, "ours", seed, suspends=False).jobs
        plain.append(sum(job.slowdown() for job in jobs))
        done = len(counts)
        if done % effort.progress_every == 0:
            figures = ", ".join(f"{policy} {sum(sums[policy]) / sum(counts):.3f}" for policy in policies)
            ratios = (ratio_interval(sums["ours"], sums[policy]) for policy in policies[:3])
            bounds = ", ".join(f"{ratio.mean:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]" for ratio in ratios)
            progress(
                f"{done} runs, {sum(counts)} jobs: mean slowdown {figures}; ratios {bounds};"
                f" without suspending {sum(plain) / sum(counts):.3f}"
            )
    figures = ", ".join(f"{policy} {sum(sums[policy]) / sum(counts):.3f}" for policy in policies)
    progress(f"{len(counts)} runs, {sum(counts)} jobs: mean slowdown {figures}")
    yield Check("slowdown against round robin", ratio_interval(sums["ours"], sums["none"]), 0.15)
    yield Check("slowdown against the mosix policy", ratio_interval(sums["ours"], sums["mosix"]), 0.90)
    yield Check("slowdown against the n^u greedy", ratio_interval(sums["ours"], sums["opportunity"]), 0.90)
    for policy, bound in (("none", 0.15), ("mosix", 0.90), ("opportunity", 0.90)):
        yield Check(f"without suspending, against {policy}", ratio_interval(plain, sums[policy]), bound)


def herd(effort: Effort, progress: Progress) -> Iterator[Check]:
    """n = 100, rho 0.7: slowdown with stale news, for the newest-32 window, then for any window and loss."""
    options = Options(nodes=100, rho=0.7, seconds=effort.seconds, window=32)
    found = _outcomes("equal", options, ("none", "ours"), effort)
    yield Check("mean slowdown, window 32", interval([o.slowdown for o in found["ours"]]), 1.30)
    yield Check("p99 slowdown, window 32", interval([o.slowdown_p99 for o in found["ours"]]), 2.3)
    for window in (8, 16, 32, 64, 100):
        for loss in (0.0, 0.15, 0.3):
            harder = msgspec.structs.replace(options, window=window, loss=loss)
            part = msgspec.structs.replace(effort, seeds=min(effort.seeds, 2))
            ours = _outcomes("equal", harder, ("ours",), part)["ours"]
            none = found["none"][: part.seeds]
            value = ratio_interval([o.slowdown for o in ours], [o.slowdown for o in none])
            progress(f"window {window}, loss {loss:.0%}: {mean([o.slowdown for o in ours]):.3f}")
            yield Check(f"slowdown against no balancing, window {window}, loss {loss:.0%}", value, 1.0)


def preemption(effort: Effort, progress: Progress) -> Iterator[Check]:
    """Delay saved against placement only."""
    for nodes, rho, fixed_s, bound in ((16, 0.8, 0.3, 0.35), (100, 0.7, 0.1, 0.80)):
        options = Options(nodes=nodes, rho=rho, seconds=effort.seconds, fixed_cost_s=fixed_s)
        found = _outcomes("equal", options, ("placement", "ours"), effort)
        delays = {policy: [o.delay_s for o in found[policy]] for policy in found}
        progress(f"n={nodes}: delay " + ", ".join(f"{policy} {mean(delays[policy]):.3f} s" for policy in delays))
        ratio = ratio_interval(delays["ours"], delays["placement"])
        saved = Interval(1 - ratio.mean, 1 - ratio.high, 1 - ratio.low, ratio.count)
        yield Check(f"share of the delay saved, n={nodes}, rho {rho}", saved, bound, at_least=True)


def pingpong(effort: Effort, progress: Progress) -> Iterator[Check]:
    """How often processes come back within 30 s, and how often they move at all."""
    for nodes, rho, fixed_s in ((16, 0.8, 0.3), (100, 0.7, 0.1)):
        options = Options(nodes=nodes, rho=rho, seconds=effort.seconds, fixed_cost_s=fixed_s)
        ours = _outcomes("equal", options, ("ours",), effort)["ours"]
        yield Check(f"returns within 30 s per move, n={nodes}", interval([o.returns_per_move for o in ours]), 0.02)
        yield Check(f"moves per job, n={nodes}", interval([o.moves_per_job for o in ours]), 0.1)
        yield Check(f"frozen per CPU second, n={nodes}", interval([o.frozen_per_cpu_s for o in ours]), 0.05)


def _ages(nodes: int, plan: GossipPlan, periods: int, effort: Effort) -> list[Ages]:
    seeds = range(effort.first_seed, effort.first_seed + effort.seeds)
    return [entry_ages(nodes, plan, seed, periods=periods, snapshots=8) for seed in seeds]


def ages(effort: Effort, progress: Progress) -> Iterator[Check]:
    """Age of entries at n = 2048, whole vectors."""
    for push_pull, bound in ((False, 8.2), (True, 4.6)):
        plan = GossipPlan(window=4096, oldest=0, push_pull=push_pull)
        part = msgspec.structs.replace(effort, seeds=min(effort.seeds, 3))
        found = _ages(2048, plan, 30 if not push_pull else 22, part)
        kind = "push-pull" if push_pull else "push"
        progress(f"{kind}: mean oldest {mean([a.mean_oldest for a in found]):.2f} periods")
        yield Check(f"mean age in periods, n=2048, {kind}", interval([a.mean for a in found]), bound)


def windows(effort: Effort, progress: Progress) -> Iterator[Check]:
    """Age of entries at n = 100 with the newest W in a message, within 15 % of algorithms.md 3.2."""
    for window, table, table_oldest in ((8, 13.9, 51.0), (16, 8.5, 33.0), (32, 5.9, 17.0), (64, 4.9, 9.9)):
        plan = GossipPlan(window=window, oldest=0, push_pull=False)
        found = _ages(100, plan, 120, effort)
        yield Check(f"mean age, W={window}, against {table}", interval([a.mean for a in found]), 1.15 * table)
        oldest = interval([a.mean_oldest for a in found])
        progress(f"W={window}: mean oldest {oldest.mean:.1f} periods, {table_oldest:g} in the table")


def liar(effort: Effort, progress: Progress) -> Iterator[Check]:
    """n = 16, rho 0.6, one node that always says it is idle and takes everything: no herd."""
    options = Options(nodes=16, rho=0.6, seconds=effort.seconds / 2)
    found = _outcomes("liar", options, ("none", "ours"), effort)
    value = ratio_interval([o.slowdown for o in found["ours"]], [o.slowdown for o in found["none"]])
    worst = percentile([o.slowdown_p99 for o in found["ours"]], 1.0)
    progress(f"ours {mean([o.slowdown for o in found['ours']]):.3f}, worst p99 {worst:.1f}")
    yield Check("slowdown against no balancing with a liar", value, 1.0)


TARGETS: dict[str, Callable[[Effort, Progress], Iterator[Check]]] = {
    "amir": amir,
    "herd": herd,
    "preemption": preemption,
    "pingpong": pingpong,
    "ages": ages,
    "windows": windows,
    "liar": liar,
}
