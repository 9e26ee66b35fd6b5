"""The load of a node: how many processes want to run, and openMosix's filters over it.

A load here is a number of processes: 2.0 means two processes want the CPU all the time. It comes from run
time plus run delay of the processes the node can see, so that it is right inside containers and under CPU
quotas. `mean` rises slowly and falls at once: a node judges itself by it under the original's rule. `upper`
rises at once and falls slowly: the original tells others that one.
"""

from __future__ import annotations

import msgspec

from balancer.speed import STANDARD_SPEED

# openMosix 2.4.26 and Kerrighed's mosix_probe.c: 5/3 and 7/1 eighths once a second.
MEAN_KEEP = 5 / 8
UPPER_KEEP = 7 / 8
ARRIVING_KEEP = 5 / 8
EXPORT_MARGIN = 1.02  # one more process, and 2 % against ping-pong at a difference of one
MAX_STEP_S = 60.0  # a longer silence (suspend, a clock that jumps) counts as this much


def runnable(run_s: float, delay_s: float, elapsed_s: float) -> float:
    """Average number of processes that wanted to run while run time grew by `run_s` and run delay by
    `delay_s`.

    Negative growth (a process ended, a counter was reset) and an elapsed time that is not positive count as
    nothing.
    """
    if elapsed_s <= 0:
        return 0.0
    return max(0.0, run_s + delay_s) / elapsed_s


class LoadFilters(msgspec.Struct, frozen=True, gc=False):
    """openMosix's averages; loads in processes, `arriving` = guests that came lately."""

    mean: float = 0.0
    upper: float = 0.0
    arriving: float = 0.0


def step(filters: LoadFilters, load: float, arrivals: int, elapsed_s: float = 1.0) -> LoadFilters:
    """The averages after one more measurement. The original measures once a second; other intervals are
    scaled to that.
    """
    seconds = min(max(elapsed_s, 0.0), MAX_STEP_S)
    mean_keep = MEAN_KEEP if seconds == 1.0 else MEAN_KEEP**seconds
    upper_keep = UPPER_KEEP if seconds == 1.0 else UPPER_KEEP**seconds
    mean = load if load <= filters.mean else filters.mean * mean_keep + load * (1 - mean_keep)
    upper = load if load >= filters.upper else filters.upper * upper_keep + load * (1 - upper_keep)
    arriving = filters.arriving * ARRIVING_KEEP + arrivals * (1 - ARRIVING_KEEP)
    return LoadFilters(mean, upper, arriving)


def openmosix_load(processes: float, speed: int, cpus: float) -> float:
    """A load in openMosix's unit: 100 = one runnable process per standard CPU."""
    return processes * 100.0 * STANDARD_SPEED / (speed * cpus)


def local_load(filters: LoadFilters, left: float, speed: int, cpus: float, efficiency: float) -> float:
    """What openMosix shows and answers about itself; `left` = processes that went away since the last
    measurement.

    `efficiency` is 0 < e <= 1 (the original's E / 100n).
    """
    return openmosix_load(max(0.0, filters.mean - left), speed, cpus) / max(efficiency, 0.01)


def exported_load(upper: float, arriving: float, speed: int, cpus: float, efficiency: float) -> float:
    """What openMosix tells others: pessimistic, already with one process more, in its unit."""
    return openmosix_load(upper + EXPORT_MARGIN + arriving, speed, cpus) / max(efficiency, 0.01)


def effective_load(load: float, speed: int, cpus: float) -> float:
    """openMosix's correction for nodes with several CPUs: punishes more than one process per CPU
    (openmosix.md 13.7).

    Takes and returns its load unit. On one standard CPU k processes give 100 * (2k - 1).
    """
    per_process = 100.0 * STANDARD_SPEED / speed
    per_node = per_process / cpus
    if load <= per_process:
        return load
    if load <= per_process + per_node:
        return per_process + cpus * load * (load - per_process) / per_process
    return 2 * load - per_node
