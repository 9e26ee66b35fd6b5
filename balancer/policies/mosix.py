"""The original's rule, as documented for openMosix 2.4.26 (openmosix.md 13.3 to 13.8).

A node compares its own effective load with the exported loads it has heard of. When one is lower, the
process that has used most CPU since it was last considered (one second at least) works out a time for every
place and goes to the cheapest. Nobody is asked first.
"""

from __future__ import annotations

from balancer.candidates import pair_reason, peer_reason
from balancer.decay import CPUJOB, IOJOB
from balancer.draw import Draw
from balancer.facts import Move, ProcessFacts, Stay, View
from balancer.gossip import OPENMOSIX_PLAN
from balancer.load import effective_load
from balancer.memory import shortage_bytes
from balancer.speed import STANDARD_SPEED
from balancer.trace import Trace

AGE_CAP_S = 4.0
MIN_AGE_S = 1.0
_HUGE = 1e12


def _units(speed: float) -> int:
    return max(1, round(speed * STANDARD_SPEED))


class MosixPolicy:
    """openMosix's own choice of process and node."""

    name = "mosix"
    asks_first = False
    ushers = False
    compares = False
    plan = OPENMOSIX_PLAN

    def choose_move(self, view: View, draw: Draw, trace: Trace | None) -> Move | Stay:
        own = view.own
        mine = effective_load(own.local_load, _units(own.speed), own.cpus)
        peers = [peer for peer in view.peers if not peer_reason(peer, view.limits) and peer.mem_free > 0]
        rated = [(effective_load(peer.exported_load, _units(peer.speed), peer.cpus), peer) for peer in peers]
        short = shortage_bytes(own.mem_used, own.mem_total)
        if not short and not any(load < mine for load, _ in rated):
            return Stay("no node is known to be less loaded")
        process = self._pick_for_memory(view, short) if short else self._pick(view, trace)
        if process is None:
            return Stay("no process has run for a second since it was last considered")
        here_s = _HUGE if short else self._time_s(process, own.node, mine, own.speed, mine)
        home_load = next((load for load, peer in rated if peer.node == process.home), mine)
        places: list[tuple[float, int]] = []
        for load, peer in rated:
            if pair_reason(process, peer, view.nodes, view.limits, emergency=True):
                continue
            there_s = self._time_s(process, peer.node, load, own.speed, home_load)
            if not short:
                there_s += view.move_cost.seconds(process.rss_bytes) * process.undecayed_share
            if trace is not None:
                trace.note("mosix", "time there", pid=process.pid, node=peer.node, value=there_s)
            if there_s < here_s:
                places.append((there_s, peer.node))
        if not places:
            return Stay("the process chosen is best off here", process.pid)
        places.sort()
        targets = tuple(node for _, node in places[: view.limits.tries])
        return Move(process.pid, targets, "its time would be shorter there", gain=min(here_s - places[0][0], 1e6))

    def _pick(self, view: View, trace: Trace | None) -> ProcessFacts | None:
        own = view.own
        best: ProcessFacts | None = None
        for process in view.processes:
            if process.exempt or process.vetoes or process.locked or process.held:
                continue
            if own.lstay and process.home == own.node:
                continue
            age_s = min(process.considered_cpu_s, AGE_CAP_S)
            if age_s < MIN_AGE_S * own.efficiency:
                if trace is not None:
                    trace.note("mosix", "ran less than a second since last considered", pid=process.pid, value=age_s)
                continue
            if best is None or (age_s, process.demand) > (min(best.considered_cpu_s, AGE_CAP_S), best.demand):
                best = process
        return best

    @staticmethod
    def _pick_for_memory(view: View, short: float) -> ProcessFacts | None:
        """The process whose size fits the shortage best."""
        own = view.own
        best: tuple[float, int, ProcessFacts] | None = None
        for process in view.processes:
            if process.exempt or process.vetoes or process.locked or process.held:
                continue
            if process.here_s < MIN_AGE_S or (own.lstay and process.home == own.node):
                continue
            share = process.rss_bytes / short
            if share < 1:
                score = 1280 * share
            elif share <= 2:
                score = 2560 - 1280 * (share - 1)
            else:
                score = 1280 / (share - 1)
            if best is None or (score, process.pid) > best[:2]:
                best = (score, process.pid, process)
        return best[2] if best is not None else None

    @staticmethod
    def _time_s(process: ProcessFacts, node: int, load: float, own_speed: float, home_load: float) -> float:
        cpu_s = 0.0 if process.decay_class == IOJOB else process.recent_cpu_s * load / 100
        if node == process.home or process.decay_class == CPUJOB:
            return cpu_s
        calls_s = process.io_calls_per_s * 50e-6 + process.io_bytes_per_s / 80e6
        return cpu_s + process.recent_cpu_s / max(own_speed, 0.01) * calls_s * (home_load + load) / 100

    def choose_place(
        self, view: View, rss_bytes: float, allowed: frozenset[int] | None, draw: Draw, trace: Trace | None
    ) -> tuple[int, ...]:
        return ()
