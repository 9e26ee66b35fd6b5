"""No balancing: every process stays where it starts. The baseline of every comparison."""

from __future__ import annotations

from balancer.draw import Draw
from balancer.facts import Move, Stay, View
from balancer.gossip import GossipPlan
from balancer.trace import Trace


class NonePolicy:
    """Leaves everything where it is."""

    name = "none"
    asks_first = False
    ushers = False
    compares = False
    plan = GossipPlan()

    def choose_move(self, view: View, draw: Draw, trace: Trace | None) -> Move | Stay:
        return Stay("balancing is off")

    def choose_place(
        self, view: View, rss_bytes: float, allowed: frozenset[int] | None, draw: Draw, trace: Trace | None
    ) -> tuple[int, ...]:
        return ()
