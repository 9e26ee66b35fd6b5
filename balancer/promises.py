"""Watches whether nodes keep what their load entries promise to the processes sent there.

Home knows how much CPU its own processes get elsewhere. A node that says it is idle and starves them is
struck from the candidates, and the load our own processes make there is a floor under whatever it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.events import AwaySample
from balancer.trust import PROGRESS_S, broken_promise

if TYPE_CHECKING:
    from balancer.node import BalancerCore

MAX_WATCHED = 65536
BUSY = 0.9  # only processes that want the CPU nearly always tell anything


class _Watched:
    __slots__ = ("cpu_s", "demand", "node", "since")

    def __init__(self, node: int, demand: float) -> None:
        self.node = node
        self.demand = demand
        self.cpu_s = 0.0
        self.since: float | None = None


class PromiseWatch:
    """Own processes that run elsewhere."""

    def __init__(self) -> None:
        self._watched: dict[int, _Watched] = {}

    def sent(self, pid: int, node: int, demand: float) -> None:
        """A process left for a node."""
        if len(self._watched) < MAX_WATCHED:
            self._watched[pid] = _Watched(node, demand)

    def observe(self, away: tuple[AwaySample, ...], core: BalancerCore, now: float) -> None:
        """Compare what the processes away have got with what their hosts say, and set the floors."""
        floors: dict[int, float] = {}
        present: set[int] = set()
        for sample in away:
            present.add(sample.pid)
            watched = self._watched.get(sample.pid)
            if watched is None or watched.node != sample.node:
                if len(self._watched) >= MAX_WATCHED:
                    continue
                watched = self._watched[sample.pid] = _Watched(sample.node, watched.demand if watched else 0.0)
            floors[sample.node] = floors.get(sample.node, 0.0) + watched.demand
            if watched.since is None or sample.cpu_s < watched.cpu_s:
                watched.since, watched.cpu_s = now, sample.cpu_s
                continue
            elapsed = now - watched.since
            if elapsed < PROGRESS_S:
                continue
            known = core.gossip.table.get(sample.node)
            if known is not None and watched.demand >= BUSY and not core.trust.reason(sample.node, now):
                entry = known[0]
                promised = min(1.0, entry.cpus / max(entry.load, 1.0, entry.cpus))
                reason = broken_promise(sample.cpu_s - watched.cpu_s, elapsed, promised)
                if reason:
                    core.trust.strike(sample.node, reason, now)
            watched.since, watched.cpu_s = now, sample.cpu_s
        core.peers.floors = floors
        if len(self._watched) > len(present):
            self._watched = {pid: w for pid, w in self._watched.items() if pid in present or w.since is None}
