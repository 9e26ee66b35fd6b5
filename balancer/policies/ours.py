"""Our own rule, the default (algorithms.md section 5).

A process moves when the progress gained per second, times the time it is expected to go on, exceeds what
the move costs, and the target is better by more than the process itself. Old, small, CPU-bound processes go
first. The target is drawn at random among the near-best, for a crowd of nodes that all choose the best one
makes it the worst.
"""

from __future__ import annotations

from balancer.candidates import pair_reason, peer_reason, process_reason
from balancer.cost import share
from balancer.draw import Draw
from balancer.facts import Move, PeerFacts, ProcessFacts, Stay, View
from balancer.gain import away_loss, burden, cpu_weight, lasting_s, relief
from balancer.gossip import GossipPlan
from balancer.memory import slowdown
from balancer.placement import place
from balancer.trace import Trace


def _paging(view: View) -> bool:
    """True when memory is short here and nodes have swap: then the cost alone decides, thrashing there included."""
    return view.limits.overcommit and slowdown(view.own.mem_used, view.own.mem_total) > 1


class OursPolicy:
    """Expected gain over remaining life against the measured cost of moving."""

    name = "ours"
    asks_first = True
    ushers = True
    compares = False
    plan = GossipPlan(urgent=True)

    def choose_move(self, view: View, draw: Draw, trace: Trace | None) -> Move | Stay:
        peers = [peer for peer in view.peers if self._worth_a_look(view, peer, trace)]
        if not peers:
            return Stay("no node is better by more than one process")
        best: tuple[float, float, ProcessFacts, list[tuple[float, int]]] | None = None
        for process in view.processes:
            offer = self._best_for(view, process, peers, trace)
            if offer is not None and (best is None or offer[0] > best[0]):
                best = (offer[0], offer[1], process, offer[2])
        if best is None:
            return Stay("no move would bring more than it costs")
        _, gain, process, rated = best
        limits = view.limits
        lowest = min(rated)[0]
        near = [
            node for cost, node in rated if cost <= lowest + max(limits.near_best * abs(lowest), limits.near_best_floor)
        ]
        targets = draw.sample(near, limits.tries)
        if len(targets) < limits.tries:
            rest = sorted(pair for pair in rated if pair[1] not in near)
            targets += [node for _, node in rest[: limits.tries - len(targets)]]
        why = f"saves {gain:.2f} s of waiting over its expected life"
        step = "paging" if _paging(view) else "load"
        return Move(process.pid, tuple(targets), why, step, gain)

    @staticmethod
    def _worth_a_look(view: View, peer: PeerFacts, trace: Trace | None) -> bool:
        """MOSIX's 130 % rule: better by the process that moves and 0.3 of another; checked once for all
        processes.
        """
        reason = peer_reason(peer, view.limits)
        if reason:
            if trace is not None:
                trace.note("node", reason, node=peer.node)
            return False
        own = view.own
        here = own.load / own.cpus / own.speed * slowdown(own.mem_used, own.mem_total)
        there = (peer.load + 1) / peer.cpus / peer.speed
        if own.load < own.cpus:
            here = share(own.load, own.speed, own.cpus) * slowdown(own.mem_used, own.mem_total)
            there = share(peer.load + 1, peer.speed, peer.cpus)
        better = here - there > view.limits.hysteresis
        if trace is not None:
            trace.note(
                "node",
                f"would be loaded {there:.2f} with one more, {here:.2f} here",
                node=peer.node,
                value=here - there,
            )
        return better

    @staticmethod
    def _best_for(
        view: View, process: ProcessFacts, peers: list[PeerFacts], trace: Trace | None
    ) -> tuple[float, float, list[tuple[float, int]]] | None:
        """(rank, gain, rated targets) of moving this process, or None. It ranks by gain over its whole life."""
        own, limits = view.own, view.limits
        cost_s = view.move_cost.seconds(process.rss_bytes)
        reason = process_reason(process, own, cost_s, limits)
        if reason:
            if trace is not None:
                trace.note("process", reason, pid=process.pid)
            return None
        left_s = lasting_s(process, own, limits)
        paging = _paging(view)
        life_s = max(limits.least_life_s, process.cpu_s)
        saved = relief(own, process, view.nodes)
        weight = cpu_weight(process)
        rated: list[tuple[float, int]] = []
        best_gain = 0.0
        for peer in peers:
            reason = pair_reason(process, peer, view.nodes, limits, paging=paging)
            if reason:
                if trace is not None:
                    trace.note("pair", reason, pid=process.pid, node=peer.node)
                continue
            added = burden(peer, process, view.nodes)
            loss = away_loss(process, own.node, peer.node, limits)
            rate = weight * (saved - added) - loss
            gain = rate * left_s
            pays = rate > limits.min_gain and gain > limits.kappa * cost_s
            if trace is not None:
                trace.note(
                    "pair",
                    f"{saved:.2f} saved here, {added:.2f} added there, {loss:.3f} lost to calls home,"
                    f" for {left_s:.1f} s against {limits.kappa * cost_s:.2f} s of moving:"
                    f" {'pays' if pays else 'does not pay'}",
                    pid=process.pid,
                    node=peer.node,
                    value=gain,
                )
            if pays:
                rated.append((added + loss, peer.node))
                best_gain = max(best_gain, gain)
        if not rated:
            return None
        return best_gain / left_s * life_s / cost_s, best_gain, rated

    def choose_place(
        self, view: View, rss_bytes: float, allowed: frozenset[int] | None, draw: Draw, trace: Trace | None
    ) -> tuple[int, ...]:
        return place(view, rss_bytes, allowed, draw, trace)
