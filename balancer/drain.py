"""Drain: emptying a node. Every process that can go goes, the biggest gain first; load and rest do not
count, room does.
"""

from __future__ import annotations

from balancer.candidates import pair_reason, peer_reason
from balancer.cost import share
from balancer.draw import Draw
from balancer.facts import Move, Stay, View
from balancer.trace import Trace


def drain(view: View, draw: Draw, trace: Trace | None = None) -> Move | Stay:
    """The next process that leaves.

    Guests go home when home takes them and is not worse than the rest, before local ones go away.
    """
    limits = view.limits
    own = view.own
    peers = [peer for peer in view.peers if not peer_reason(peer, limits)]
    order = sorted(view.processes, key=lambda p: (p.home == own.node, -p.cpu_s, p.pid))
    for process in order:
        reason = process.exempt or ", ".join(process.vetoes)
        if process.locked and process.home == own.node:
            reason = reason or "locked at home"
        if reason:
            if trace is not None:
                trace.note("drain", reason, pid=process.pid)
            continue
        rated = [
            (share(peer.load + process.demand, peer.speed, peer.cpus), draw.random(), peer.node)
            for peer in peers
            if not pair_reason(process, peer, view.nodes, limits, emergency=True)
        ]
        if rated:
            rated.sort()
            targets = tuple(node for _, _, node in rated[: limits.tries])
            return Move(process.pid, targets, "this node is being emptied", "drain")
        if trace is not None:
            trace.note("drain", "no node can take it", pid=process.pid)
    return Stay("being emptied, and nobody is left who can go")
