"""What a move would bring: progress gained per second, what the calls back home take of it, and for how
long.

The expected remaining CPU time of a process is what it has used so far (Harchol-Balter and Downey: Pr[life
> a | life > b] = b / a).
"""

from __future__ import annotations

from balancer.cost import node_cost
from balancer.decay import CPUJOB, IOJOB
from balancer.facts import Limits, OwnFacts, PeerFacts, ProcessFacts


def lasting_s(process: ProcessFacts, own: OwnFacts, limits: Limits) -> float:
    """For how long a move would bring its gain: the process's expected remaining CPU time, but no longer than
    the imbalance is expected to last. That, too, is as long as it has lasted, and a few seconds in any case.
    """
    return min(max(limits.horizon_s, own.steady_s), max(limits.least_life_s, process.cpu_s))


def relief(own: OwnFacts, process: ProcessFacts, nodes: int) -> float:
    """By how much the cost of the own node falls when the process leaves."""
    with_it = node_cost(own.load, own.speed, own.cpus, own.mem_used, own.mem_total, nodes)
    without = node_cost(
        own.load - process.demand, own.speed, own.cpus, own.mem_used - process.rss_bytes, own.mem_total, nodes
    )
    return with_it - without


def burden(peer: PeerFacts, process: ProcessFacts, nodes: int) -> float:
    """By how much the cost of a peer rises when the process comes."""
    used = max(0.0, peer.mem_total - peer.mem_free)
    before = node_cost(peer.load, peer.speed, peer.cpus, used, peer.mem_total, nodes)
    after = node_cost(
        peer.load + process.demand, peer.speed, peer.cpus, used + process.rss_bytes, peer.mem_total, nodes
    )
    return after - before


def away_loss(process: ProcessFacts, here: int, there: int, limits: Limits) -> float:
    """CPU seconds per second lost to calls served at home, there against here; negative when it moves home."""
    if process.decay_class == CPUJOB:
        return 0.0
    per_s = process.io_calls_per_s * limits.rtt_s + process.io_bytes_per_s / limits.home_bytes_per_s
    was_away = here != process.home
    is_away = there != process.home
    return per_s * (is_away - was_away)


def cpu_weight(process: ProcessFacts) -> float:
    """0 when the process asked to be judged by its I/O alone (iojob)."""
    return 0.0 if process.decay_class == IOJOB else 1.0
