"""What came out of a run."""

from __future__ import annotations

import msgspec

from balancer.simulate.cluster import Simulation
from balancer.simulate.figures import jain, mean, percentile


class Outcome(msgspec.Struct, frozen=True):
    """Figures of one run; delay is time in the system less CPU time, in seconds."""

    policy: str
    seed: int
    jobs: int
    slowdown: float
    slowdown_p99: float
    delay_s: float
    makespan_s: float
    moves_per_job: float
    returns_per_move: float  # back within 30 s
    placed_per_job: float
    frozen_per_cpu_s: float
    refusals_per_ask: float
    messages: int
    holds: int
    lost: int
    work_jain: float  # over the work each node did, relative to its power


def outcome(simulation: Simulation, policy: str, seed: int, warm_s: float = 0.0) -> Outcome:
    """Sum up a finished run; jobs that came before `warm_s` and lost ones are left out of the slowdowns."""
    done = [job for job in simulation.jobs if job.node and job.arrived_s >= warm_s and job.done_s >= 0]
    slowdowns = [job.slowdown() for job in done]
    count = max(1, len(simulation.jobs))
    cpu_s = sum(job.size_s for job in simulation.jobs) or 1.0
    return Outcome(
        policy,
        seed,
        len(done),
        mean(slowdowns),
        percentile(slowdowns, 0.99),
        mean([job.done_s - job.arrived_s - job.size_s for job in done]),
        max((job.done_s for job in simulation.jobs), default=0.0),
        simulation.moves / count,
        sum(job.returns for job in simulation.jobs) / max(1, simulation.moves),
        sum(job.placed for job in simulation.jobs) / count,
        sum(job.frozen_s for job in simulation.jobs) / cpu_s,
        simulation.refusals / max(1, simulation.asks),
        simulation.messages,
        simulation.holds,
        simulation.lost,
        jain([m.share_sum / m.cpus for m in simulation.machines.values()]),
    )
