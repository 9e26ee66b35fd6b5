"""Placement: where a new program starts, before it has any memory worth moving.

A node whose CPUs are all busy asks a few of the nodes that look best; the first that really is as free as
it looked takes the program. Nodes within a small margin count as equal and are asked in random order, so
that not everybody asks the same one.
"""

from __future__ import annotations

from balancer.candidates import peer_reason
from balancer.cost import share
from balancer.draw import Draw
from balancer.facts import View
from balancer.memory import USABLE, fits, slowdown
from balancer.trace import Trace

MARGIN = 0.1  # share of the local slowdown by which another node has to be better


def place(
    view: View, rss_bytes: float, allowed: frozenset[int] | None, draw: Draw, trace: Trace | None = None
) -> tuple[int, ...]:
    """Nodes to ask, best first, at most `limits.place_tries`; empty when the program had best start here."""
    own = view.own
    here = share(own.load + 1, own.speed, own.cpus) * slowdown(own.mem_used + rss_bytes, own.mem_total)
    paging = view.limits.overcommit and own.mem_used + rss_bytes > USABLE * own.mem_total
    if allowed is not None and own.node not in allowed:
        here = float("inf")
    offers: list[tuple[float, int]] = []
    for peer in view.peers:
        reason = peer_reason(peer, view.limits)
        if not reason and allowed is not None and peer.node not in allowed:
            reason = "not among the nodes its user allowed"
        if not reason and not paging and not fits(rss_bytes, peer.mem_free, peer.mem_total):
            reason = "too little memory free"
        if reason:
            if trace is not None:
                trace.note("place", reason, node=peer.node)
            continue
        there = share(peer.load + 1, peer.speed, peer.cpus)
        if paging:
            there *= slowdown(peer.mem_total - peer.mem_free + rss_bytes, peer.mem_total)
        if trace is not None:
            trace.note("place", f"slowdown there, {here:.2f} here", node=peer.node, value=there)
        if there < here * (1 - MARGIN):
            offers.append((there, peer.node))
    if not offers:
        return ()
    best = min(offers)[0]
    near = [node for there, node in offers if there <= best * (1 + view.limits.near_best) + view.limits.near_best_floor]
    chosen = draw.sample(near, view.limits.place_tries)
    if len(chosen) < view.limits.place_tries:
        rest = sorted((there, node) for there, node in offers if node not in set(near))
        chosen += [node for _, node in rest[: view.limits.place_tries - len(chosen)]]
    return tuple(chosen)
