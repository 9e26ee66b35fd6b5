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
BUSY = 0.5  # a process that wants the CPU less than this tells nothing


class _Watched:
    __slots__ = ("cpu_s", "delay_s", "demand", "node", "since")

    def __init__(self, sample: AwaySample, now: float) -> None:
        self.node = sample.node
        self.demand = 1.0  # until it is measured
        self.restart(sample, now)

    def restart(self, sample: AwaySample, now: float) -> None:
        """Measure from here on."""
        self.since, self.cpu_s, self.delay_s = now, sample.cpu_s, sample.run_delay_s


class PromiseWatch:
    """Own processes that run elsewhere."""

    def __init__(self) -> None:
        self._watched: dict[int, _Watched] = {}

    def observe(self, away: tuple[AwaySample, ...], core: BalancerCore, now: float) -> None:
        """Compare what the processes away have got with what their hosts say, and set the floors."""
        floors: dict[int, float] = {}
        before, self._watched = self._watched, {}
        for sample in away[:MAX_WATCHED]:
            watched = before.get(sample.pid)
            if watched is None or watched.node != sample.node or sample.cpu_s < watched.cpu_s:
                watched = _Watched(sample, now)
            elif now - watched.since >= PROGRESS_S:
                self._judge(watched, sample, core, now)
            self._watched[sample.pid] = watched
            floors[sample.node] = floors.get(sample.node, 0.0) + watched.demand
        core.peers.floors = floors

    @staticmethod
    def _judge(watched: _Watched, sample: AwaySample, core: BalancerCore, now: float) -> None:
        elapsed = now - watched.since
        gained = sample.cpu_s - watched.cpu_s
        wanted = gained + max(0.0, sample.run_delay_s - watched.delay_s)
        watched.demand = min(1.0, wanted / elapsed)
        watched.restart(sample, now)
        known = core.gossip.table.get(sample.node)
        if known is None or watched.demand < BUSY:
            return
        entry = known[0]
        promised = min(1.0, entry.cpus / max(entry.load, 1.0))
        reason = broken_promise(gained, wanted, promised)
        if reason:
            core.trust.strike(sample.node, reason, now)
