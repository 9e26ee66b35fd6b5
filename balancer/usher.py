"""Memory ushering: a node that runs out of memory sends processes where there is room, whatever the loads
are.

The process that moves is the smallest whose leaving ends the shortage, or the largest when none alone does;
it goes to the node with the most memory free afterwards. When nobody has room, the process with the most
age times memory is suspended for a while rather than let all of them thrash.
"""

from __future__ import annotations

from balancer.candidates import pair_reason, peer_reason, process_reason
from balancer.facts import Choice, Hold, Move, ProcessFacts, View
from balancer.memory import shortage_bytes
from balancer.trace import Trace

MIN_RSS_BYTES = 1 << 20  # moving less than this relieves nobody


def usher(view: View, trace: Trace | None = None) -> Choice | None:
    """What to do about short memory; None when it is not short or nothing can be done."""
    own = view.own
    short = shortage_bytes(own.mem_used, own.mem_total)
    if short <= 0:
        return _move_held(view)
    if trace is not None:
        trace.note("memory", "bytes too many in use here", value=short)
    limits = view.limits
    movable: list[ProcessFacts] = []
    for process in view.processes:
        reason = process_reason(process, own, view.move_cost.seconds(process.rss_bytes), limits)
        if not reason and process.rss_bytes >= MIN_RSS_BYTES:
            movable.append(process)
        elif trace is not None:
            trace.note("memory", reason or "too small to matter", pid=process.pid)
    # Those that end the shortage, smallest first; then the others, largest first.
    movable.sort(key=lambda p: (p.rss_bytes < short, p.rss_bytes if p.rss_bytes >= short else -p.rss_bytes, p.pid))
    peers = [peer for peer in view.peers if not peer_reason(peer, limits)]
    peers.sort(key=lambda peer: (-peer.mem_free, peer.node))
    for process in movable:
        fitting = [peer.node for peer in peers if not pair_reason(process, peer, view.nodes, limits, emergency=True)]
        if fitting:
            size = f"{process.rss_bytes / 1e6:.0f} MB"
            why = f"memory is short by {short / 1e6:.0f} MB and this process of {size} fits elsewhere"
            return Move(process.pid, tuple(fitting[: limits.tries]), why, "memory")
        if trace is not None:
            trace.note("memory", "no node has room for it", pid=process.pid, value=process.rss_bytes)
    return _move_held(view) or _hold(view, short)


def _move_held(view: View) -> Move | None:
    """A process that waits here for memory goes where there is room; it stands still anyway."""
    limits = view.limits
    for process in view.processes:
        if not process.held or process.exempt or process.vetoes or process.locked:
            continue
        fitting = [
            (-peer.mem_free, peer.node)
            for peer in view.peers
            if not peer_reason(peer, limits) and not pair_reason(process, peer, view.nodes, limits, emergency=True)
        ]
        if fitting:
            targets = tuple(node for _, node in sorted(fitting)[: limits.tries])
            return Move(process.pid, targets, "it waits here for memory and fits elsewhere", "memory")
    return None


def _hold(view: View, short: float) -> Hold | None:
    if not view.limits.hold_when_short:
        return None
    running = [p for p in view.processes if not p.held]
    able = [p for p in running if p.may_hold and not p.exempt and not p.vetoes and p.rss_bytes >= MIN_RSS_BYTES]
    if len(running) < 2 or not able:
        return None
    chosen = max(able, key=lambda p: (p.rss_bytes * max(p.cpu_s, 1.0), p.pid))
    return Hold(
        chosen.pid,
        view.limits.hold_s,
        f"memory is short by {short / 1e6:.0f} MB and no node has room: it waits",
    )
