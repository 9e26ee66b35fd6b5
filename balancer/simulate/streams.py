"""Streams of jobs: what arrives when and where, the same for every policy.

A stream is a function of its parameters and a seed only. Times are seconds, sizes CPU seconds on the
standard processor, memory bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from balancer.draw import Draw

MB = 1e6


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """One job of a stream."""

    at_s: float
    size_s: float
    rss_bytes: float
    home: int


def bounded_pareto(draw: Draw, low: float, high: float) -> float:
    """A bounded Pareto draw with alpha = 1."""
    return low / (1 - draw.random() * (1 - low / high))


def bounded_pareto_mean(low: float, high: float) -> float:
    """Its mean."""
    return low * high / (high - low) * math.log(high / low)


def lognormal(draw: Draw, median: float, sigma: float) -> float:
    """A lognormal draw (Box and Muller)."""
    radius = math.sqrt(-2 * math.log(1 - draw.random()))
    return median * math.exp(sigma * radius * math.cos(2 * math.pi * draw.random()))


def exponential(draw: Draw, mean: float) -> float:
    """An exponential draw."""
    return -mean * math.log(1 - draw.random())


def pareto_stream(
    seed: int,
    speeds: Sequence[float],
    rho: float,
    horizon_s: float,
    *,
    skew: float = 0.0,
    low_s: float = 0.1,
    high_s: float = 5000.0,
    median_rss: float = 16 * MB,
) -> list[Arrival]:
    """Poisson arrivals that load all nodes together to `rho`; sizes bounded Pareto, memory lognormal.

    With `skew` = 0 homes are uniform, otherwise node i gets a share proportional to i ** -skew.
    """
    draw = Draw(seed)
    nodes = len(speeds)
    gap_s = bounded_pareto_mean(low_s, high_s) / (rho * sum(speeds))
    bounds: list[float] = []
    total = 0.0
    for i in range(nodes):
        total += (i + 1) ** -skew
        bounds.append(total)
    stream: list[Arrival] = []
    at = exponential(draw, gap_s)
    while at < horizon_s:
        size = bounded_pareto(draw, low_s, high_s)
        rss = min(lognormal(draw, median_rss, 1.0), 2000 * MB)
        where = draw.random() * total
        home = 1 + (int(where) if skew == 0 else _first_above(bounds, where))
        stream.append(Arrival(at, size, rss, home))
        at += exponential(draw, gap_s)
    return stream


def _first_above(bounds: list[float], value: float) -> int:
    low, high = 0, len(bounds) - 1
    while low < high:
        middle = (low + high) // 2
        if bounds[middle] > value:
            high = middle
        else:
            low = middle + 1
    return low


# Amir, Awerbuch, Barak, Borgstrom, Keren 2000. The machines are from memory (three PPro 200 with 64 MB, two
# P133 with 32, one P90 with 24): the version of the paper at hand does not list them.
AMIR_MACHINES = ((1.0, 64.0), (1.0, 64.0), (1.0, 64.0), (0.665, 32.0), (0.665, 32.0), (0.45, 24.0))
AMIR_MEMORY = 64.0
AMIR_HORIZON_S = 1000.0


def amir_stream(seed: int, rate_per_s: float = 0.1) -> list[Arrival]:
    """One execution: 2/r CPU seconds and (1/m) % of the largest memory with r, m uniform on (0, 1); 5 % of
    the jobs of 20/r seconds in 1 to 20 parallel parts. Parts start on the machines in turn, as PVM does it.
    """
    draw = Draw(seed)
    stream: list[Arrival] = []
    turn = 0
    at = exponential(draw, 1 / rate_per_s)
    while at < AMIR_HORIZON_S:
        parallel = draw.random() < 0.05
        size = (20 if parallel else 2) / (1 - draw.random())
        rss = AMIR_MEMORY * MB * min(1.0, 0.01 / (1 - draw.random()))
        parts = 1 + draw.below(20) if parallel else 1
        for _ in range(parts):
            stream.append(Arrival(at, size / parts, rss, 1 + turn % len(AMIR_MACHINES)))
            turn += 1
        at += exponential(draw, 1 / rate_per_s)
    return stream


def burst_stream(jobs: int, size_s: float, home: int = 1, rss_bytes: float = 4 * MB) -> list[Arrival]:
    """Equal jobs, all started on one node at once ("awk loops")."""
    return [Arrival(1.0 + 0.001 * i, size_s, rss_bytes, home) for i in range(jobs)]


def memory_stream(seed: int, nodes: int, mem_total: float, jobs: int, size_s: float) -> list[Arrival]:
    """Jobs that together need 130 % of one node's memory, all started there."""
    draw = Draw(seed)
    sizes = [0.5 + draw.random() for _ in range(jobs)]
    scale = 1.3 * mem_total / sum(sizes)
    return [Arrival(1.0 + 0.2 * i, size_s, sizes[i] * scale, 1) for i in range(jobs)]
