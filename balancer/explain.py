"""Why a process is where it is: the deciding function's own reasons, as text.

Nothing here weighs anything: the decision is made again with its recorded inputs and a trace, and the trace
is put into sentences.
"""

from __future__ import annotations

import msgspec

from balancer.decide import Decision, choose
from balancer.facts import Hold, Move, PeerFacts, ProcessFacts, Stay
from balancer.trace import Term, Trace


class Explanation(msgspec.Struct, frozen=True):
    """The answer to `explain PID [N]`: a line that sums up, and every term behind it."""

    summary: str
    lines: tuple[str, ...]
    terms: tuple[Term, ...]


def explain(decision: Decision, pid: int, node: int | None = None) -> Explanation:
    """Explain a recorded decision for one process, and for one node when it is named.

    Makes the decision again to do so.
    """
    trace = Trace()
    choice = choose(decision.view, decision.seed, trace)
    view = decision.view
    process = next((p for p in view.processes if p.pid == pid), None)
    terms = tuple(term for term in trace.terms if term.pid in (0, pid) and (node is None or term.node in (0, node)))
    lines = [_own_line(decision)]
    if process is None:
        lines.append(f"Process {pid} did not run on node {view.own.node} at this decision.")
    else:
        lines.append(_process_line(process, view.own.node))
    for peer in view.peers:
        if node is None or peer.node == node:
            lines.append(_peer_line(peer))
    if node is not None and node != view.own.node and all(peer.node != node for peer in view.peers):
        lines.append(f"Nothing is known of node {node}.")
    lines += [_term_line(term) for term in terms]
    return Explanation(_summary(choice, pid, view.own.node), tuple(lines), terms)


def _summary(choice: Move | Hold | Stay, pid: int, own: int) -> str:
    if isinstance(choice, Move):
        targets = ", ".join(str(target) for target in choice.targets)
        if choice.pid == pid:
            return f"Process {pid} was to move to the first of {targets} with room: {choice.why}."
        return f"Process {pid} stayed on node {own}: process {choice.pid} was to move first ({choice.why})."
    if isinstance(choice, Hold):
        if choice.pid == pid:
            return f"Process {pid} was suspended for at most {choice.seconds:.0f} s: {choice.why}."
        return f"Process {pid} stayed on node {own}: process {choice.pid} was suspended ({choice.why})."
    return f"Process {pid} stayed on node {own}: {choice.why}."


def _own_line(decision: Decision) -> str:
    own = decision.view.own
    return (
        f"Node {own.node} (here): load {own.load:.2f} on {own.cpus:g} CPUs of speed {own.speed:.2f}, "
        f"{own.mem_used / 1e6:.0f} of {own.mem_total / 1e6:.0f} MB in use; policy {decision.view.policy}."
    )


def _process_line(process: ProcessFacts, here: int) -> str:
    home = "its home" if process.home == here else f"home is node {process.home}"
    came = f", came from node {process.previous_node}" if process.previous_node else ""
    return (
        f"Process {process.pid} ({home}{came}, here for {process.here_s:.1f} s): used {process.cpu_s:.1f} CPU seconds, "
        f"wants {100 * process.demand:.0f} % of a CPU, {process.rss_bytes / 1e6:.1f} MB."
    )


def _peer_line(peer: PeerFacts) -> str:
    note = f"; distrusted: {peer.distrust}" if peer.distrust else f"; {peer.refuses}" if peer.refuses else ""
    return (
        f"Node {peer.node}: load {peer.load:.2f} on {peer.cpus:g} CPUs of speed {peer.speed:.2f}, "
        f"{peer.mem_free / 1e6:.0f} MB free, heard {peer.age_s:.1f} s ago{note}."
    )


def _term_line(term: Term) -> str:
    about = f"process {term.pid}" if term.pid else ""
    where = f"node {term.node}" if term.node else ""
    subject = " to ".join(part for part in (about, where) if part) or "this node"
    value = "" if term.value is None else f" [{term.value:.4g}]"
    return f"{term.step}: {subject}: {term.text}{value}"
