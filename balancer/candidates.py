"""Which processes may be moved by the balancer, and which nodes may take them, with the reason when not.

The original's rules: no stay reason (`cantmove`), not locked, guests only under `lstay`, nobody under
`stay`. Besides, the balancer leaves alone what people do not expect to move: the daemon and its helpers,
system services, a shell that reads its terminal.
"""

from __future__ import annotations

import msgspec

from balancer.facts import Limits, OwnFacts, PeerFacts, ProcessFacts
from balancer.hysteresis import may_return, residence_left_s
from balancer.memory import fits


class Identity(msgspec.Struct, frozen=True):
    """What decides whether a process is the balancer's business at all."""

    pid: int
    uid: int
    ours: bool = False  # the daemon, a shim, a helper, or a child of one
    from_mosrun: bool = False
    login_session: bool = False  # in a session scope, or with a login uid
    session_leader: bool = False
    reads_terminal: bool = False  # in the foreground of its terminal and waiting for input
    kernel_thread: bool = False


def exemption(who: Identity, *, sessions: bool = True, services: bool = False) -> str:
    """Why the balancer leaves this process alone; empty when it may move it.

    `sessions` and `services` are the node's settings: whether processes of login sessions, and of services,
    move by themselves.
    """
    if who.kernel_thread:
        return "a kernel thread"
    if who.pid == 1:
        return "the init process"
    if who.ours:
        return "part of openMosix itself"
    if who.reads_terminal:
        return "reads its terminal"
    if who.from_mosrun:
        return ""
    if who.session_leader:
        return "leads its session"
    if who.login_session:
        return "" if sessions else "processes of login sessions do not move here"
    return "" if services else "a system service"


def process_reason(process: ProcessFacts, own: OwnFacts, cost_s: float, limits: Limits) -> str:
    """Why the balancer does not move this process now; empty when it may."""
    if process.exempt:
        return process.exempt
    if process.vetoes:
        return "cannot move: " + ", ".join(process.vetoes)
    if process.locked:
        return "locked"
    if process.held:
        return "suspended until memory is free"
    if own.lstay and process.home == own.node:
        return "local processes stay here (lstay)"
    rest_s = residence_left_s(process, cost_s, limits)
    if rest_s > 0:
        return f"came {process.here_s:.1f} s ago and rests {rest_s:.1f} s more"
    return ""


def peer_reason(peer: PeerFacts, limits: Limits) -> str:
    """Why no process goes to this node; empty when it may."""
    if peer.distrust:
        return "distrusted: " + peer.distrust
    if peer.refuses:
        return peer.refuses
    if peer.age_s > limits.stale_s:
        return f"last heard of {peer.age_s:.0f} s ago"
    return ""


def pair_reason(
    process: ProcessFacts,
    peer: PeerFacts,
    nodes: int,
    limits: Limits,
    *,
    emergency: bool = False,
    paging: bool = False,
) -> str:
    """Why this process does not go to this node; empty when it may. In an emergency it may go straight
    back. `paging`: memory is short here and nodes have swap, so that it need not fit there either.
    """
    if process.allowed is not None and peer.node not in process.allowed:
        return "not among the nodes its user allowed"
    fitting = fits(process.rss_bytes, peer.mem_free, peer.mem_total)
    if not fitting and not (paging and process.rss_bytes <= peer.mem_total):
        return "too little memory free"
    if not emergency and not may_return(process, peer.node, nodes, limits):
        return "was there a moment ago"
    return ""
