"""Placement only: a new program starts on the node that looks least loaded, and stays there for good."""

from __future__ import annotations

from balancer.candidates import peer_reason
from balancer.cost import share
from balancer.draw import Draw
from balancer.facts import Move, Stay, View
from balancer.gossip import GossipPlan
from balancer.memory import fits
from balancer.trace import Trace


class BestInViewPolicy:
    """The least loaded node in view at the start, believed as it stands."""

    name = "placement"
    asks_first = False
    ushers = False
    compares = False
    plan = GossipPlan(window=32, oldest=0, push_pull=False)

    def choose_move(self, view: View, draw: Draw, trace: Trace | None) -> Move | Stay:
        return Stay("processes stay where they started")

    def choose_place(
        self, view: View, rss_bytes: float, allowed: frozenset[int] | None, draw: Draw, trace: Trace | None
    ) -> tuple[int, ...]:
        own = view.own
        best = (share(own.load + 1, own.speed, own.cpus), own.load, 0.0, own.node)
        for peer in view.peers:
            if peer_reason(peer, view.limits) or not fits(rss_bytes, peer.mem_free, peer.mem_total):
                continue
            if allowed is not None and peer.node not in allowed:
                continue
            best = min(best, (share(peer.load + 1, peer.speed, peer.cpus), peer.load, draw.random(), peer.node))
        return () if best[3] == own.node else (best[3],)
