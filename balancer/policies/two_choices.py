"""Two choices: a new program looks at two random nodes and starts on the one with the lower true load
(Mitzenmacher 2001).
"""

from __future__ import annotations

from balancer.draw import Draw
from balancer.facts import Move, Stay, View
from balancer.gossip import GossipPlan
from balancer.trace import Trace


class TwoChoicesPolicy:
    """Asks the true load of two random nodes at the start; nothing moves later.

    `choose_place` answers with the two nodes to compare; the core asks both and takes the less loaded one.
    """

    name = "two-choices"
    asks_first = True
    ushers = False
    compares = True
    plan = GossipPlan()

    def choose_move(self, view: View, draw: Draw, trace: Trace | None) -> Move | Stay:
        return Stay("processes stay where they started")

    def choose_place(
        self, view: View, rss_bytes: float, allowed: frozenset[int] | None, draw: Draw, trace: Trace | None
    ) -> tuple[int, ...]:
        nodes = [view.own.node] + [peer.node for peer in view.peers if not peer.refuses and not peer.distrust]
        if allowed is not None:
            nodes = [node for node in nodes if node in allowed]
        return tuple(draw.sample(nodes, 2))
