"""Opportunity cost (Amir, Awerbuch, Barak, Borgstrom, Keren 2000): the greedy rule they call enhanced
MOSIX.

Each node costs n^(memory in use / memory) + n^(load / L), with L the smallest power of two above the
largest load seen. A process goes where the sum over all nodes grows least.
"""

from __future__ import annotations

import math

from balancer.candidates import peer_reason
from balancer.draw import Draw
from balancer.facts import Move, Stay, View
from balancer.gossip import GossipPlan
from balancer.trace import Trace


class OpportunityPolicy:
    """Greedy on the marginal opportunity cost of CPU and memory."""

    name = "opportunity"
    asks_first = False
    ushers = False
    compares = False
    plan = GossipPlan(fan_out=2, window=1, oldest=0, push_pull=False, own_only=True)

    def choose_move(self, view: View, draw: Draw, trace: Trace | None) -> Move | Stay:
        own = view.own
        n = float(max(view.nodes, 2))
        scale = _power_above(view.peak_load)
        best: tuple[float, int, int] | None = None
        for process in view.processes:
            if process.exempt or process.vetoes or process.locked or process.held:
                continue
            if own.lstay and process.home == own.node:
                continue
            saved = _cost(n, own.load, own.cpus * own.speed, own.mem_used, own.mem_total, scale) - _cost(
                n,
                own.load - process.demand,
                own.cpus * own.speed,
                own.mem_used - process.rss_bytes,
                own.mem_total,
                scale,
            )
            for peer in view.peers:
                if peer_reason(peer, view.limits):
                    continue
                if process.allowed is not None and peer.node not in process.allowed:
                    continue
                used = peer.mem_total - peer.mem_free
                added = _cost(
                    n,
                    peer.load + process.demand,
                    peer.cpus * peer.speed,
                    used + process.rss_bytes,
                    peer.mem_total,
                    scale,
                ) - _cost(n, peer.load, peer.cpus * peer.speed, used, peer.mem_total, scale)
                if trace is not None:
                    trace.note(
                        "opportunity",
                        "saved here less added there",
                        pid=process.pid,
                        node=peer.node,
                        value=saved - added,
                    )
                if saved - added > view.limits.min_gain and (best is None or saved - added > best[0]):
                    best = (saved - added, process.pid, peer.node)
        if best is None:
            return Stay("no move lowers the sum of the opportunity costs")
        return Move(best[1], (best[2],), "lowers the sum of the opportunity costs", gain=best[0])

    def choose_place(
        self, view: View, rss_bytes: float, allowed: frozenset[int] | None, draw: Draw, trace: Trace | None
    ) -> tuple[int, ...]:
        return ()


def _power_above(load: float) -> float:
    return float(2 ** max(1, math.floor(math.log2(max(load, 1.0))) + 1))


def _cost(n: float, load: float, power: float, mem_used: float, mem_total: float, scale: float) -> float:
    """n^(memory share) + n^(load / L); the load is taken relative to the node's power, as on related
    machines.
    """
    return float(n ** min(max(mem_used, 0.0) / mem_total, 8.0) + n ** min(max(load, 0.0) / power / scale, 8.0))
