"""How old what nodes know of each other is, by gossip alone: the real `Gossip` of every node on a virtual
clock.

Every node publishes and sends once a period at its own phase; messages take no time and may be lost.
"""

from __future__ import annotations

import msgspec

from balancer.draw import Draw
from balancer.gossip import Gossip, GossipPlan
from balancer.simulate.figures import mean
from balancer.vector import LoadEntry, stamp


class Ages(msgspec.Struct, frozen=True):
    """Ages in periods, over observers and nodes known to them, and the share of nodes they know at all."""

    nodes: int
    mean: float
    mean_oldest: float
    known: float


def entry_ages(
    nodes: int, plan: GossipPlan, seed: int, *, periods: int, snapshots: int = 4, loss: float = 0.0, observers: int = 64
) -> Ages:
    """Run `periods` periods from a cold start and look at the tables of some observers in the last ones."""
    draw = Draw(seed)
    period = plan.period_s
    gossips = {i + 1: Gossip(i + 1, plan) for i in range(nodes)}
    order = sorted((draw.random(), node) for node in gossips)
    everybody = tuple(gossips)
    seen = draw.sample(everybody, observers)
    means: list[float] = []
    oldest: list[float] = []
    known: list[float] = []
    for turn in range(periods):
        for phase, node in order:
            now = (turn + phase) * period
            own = gossips[node]
            own.publish(LoadEntry(node, stamp(1, turn + 1), 0.0, 0.0, 15000, 1.0, 1e9, 1e9), now)
            for target in _others(own.targets(everybody, draw), node, everybody, draw):
                if loss and draw.random() < loss:
                    continue
                peer = gossips[target]
                peer.merge(own.message(now), now)
                if plan.push_pull and not (loss and draw.random() < loss):
                    own.merge(peer.message(now), now)
        if turn >= periods - snapshots:
            now = (turn + 1) * period
            for node in seen:
                ages = [now - born for _, born in gossips[node].table.values()]
                if ages:
                    means.append(mean(ages) / period)
                    oldest.append(max(ages) / period)
                known.append(len(ages) / (nodes - 1))
    return Ages(nodes, mean(means), mean(oldest), mean(known))


def _others(targets: list[int], node: int, everybody: tuple[int, ...], draw: Draw) -> list[int]:
    """The targets, with this node itself replaced by another one."""
    result: list[int] = []
    for target in targets:
        while target == node:
            target = everybody[draw.below(len(everybody))]
        result.append(target)
    return result
