"""What the balancer must know of each busy process of this machine: what it used, and what speaks against a move.

Joins the sampler's sweep with the users' rules, the guests and the survey's reasons, which are asked for a while
apart since they cost more.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from balancer.decay import DecayChoice
from balancer.events import ProcessSample
from migrated.survey.facts import ProcessVanished
from omdiscd.admin.interfaces import GuestHere, MigrationControl
from omdiscd.admin.service import AdminService
from omdiscd.balancing.automatic import exempt_reason
from omdiscd.balancing.sampler import Sampler, Seen, age_s, uptime_s
from omdiscd.core.admin_process import ProcessRules
from omprotocol.errors import MosixError

REASONS_FOR_S = 5.0
REFUSED_FOR_S = 30.0
MAX_SURVEYS = 16
"""Processes whose reasons are looked for in one tick; the others wait for the next."""


class ProcessFactsOfHere:
    """Remembers reasons for a while; one per daemon."""

    def __init__(self, administration: AdminService, migration: MigrationControl) -> None:
        self._admin = administration
        self._migration = migration
        self._sampler = Sampler()
        self._reasons: dict[tuple[int, int], tuple[float, tuple[str, ...]]] = {}
        self._refused: dict[int, float] = {}
        self._refused_now: list[int] = []

    def refused(self, pid: int) -> None:
        """A move of this process failed: leave it alone for a while."""
        self._refused_now.append(pid)

    def sample(self, now: float, own_node: int, members: Collection[int]) -> list[ProcessSample]:
        """One sample per busy process, guests under their PID on this machine."""
        for pid in self._refused_now:
            self._refused[pid] = now + REFUSED_FOR_S
        self._refused_now.clear()
        self._refused = {pid: until for pid, until in self._refused.items() if until > now}
        guests = {guest.pid: guest for guest in self._migration.guests()}
        away = {entry.pid for entry in self._migration.away()}
        uptime = uptime_s()
        seen = [entry for entry in self._sampler.sweep(now) if entry.pid not in away]
        alive = {(entry.pid, entry.start_ticks) for entry in seen}
        self._reasons = {key: value for key, value in self._reasons.items() if key in alive}
        surveys = MAX_SURVEYS
        samples = []
        for entry in seen:
            guest = guests.get(entry.pid)
            exempt = "" if guest is not None else exempt_reason(entry, _control_group(entry.pid))
            vetoes: tuple[str, ...] = ()
            if guest is None and not exempt:
                vetoes, asked = self._vetoes(entry, now, surveys > 0)
                surveys -= asked
            samples.append(self._sample(entry, guest, exempt, vetoes, uptime, own_node, members))
        return samples

    def _sample(
        self,
        entry: Seen,
        guest: GuestHere | None,
        exempt: str,
        vetoes: tuple[str, ...],
        uptime: float,
        own_node: int,
        members: Collection[int],
    ) -> ProcessSample:
        rules = self._rules(entry.pid) if guest is None else None
        return ProcessSample(
            pid=entry.pid,
            home=guest.home if guest is not None else own_node,
            cpu_s=entry.cpu_s,
            run_delay_s=entry.run_delay_s,
            rss_bytes=float(entry.rss_bytes),
            age_s=age_s(entry, uptime),
            exempt=exempt,
            vetoes=vetoes,
            locked=rules is not None and rules.lock,
            allowed=_allowed(rules, own_node, members),
            decay=_decay(rules),
        )

    def _rules(self, pid: int) -> ProcessRules | None:
        try:
            return self._admin.processes.rules(pid)
        except MosixError:
            return None

    def _vetoes(self, entry: Seen, now: float, may_ask: bool) -> tuple[tuple[str, ...], int]:
        if entry.pid in self._refused:
            return ("a move of it failed a moment ago",), 0
        key = (entry.pid, entry.start_ticks)
        known = self._reasons.get(key)
        if known is not None and now - known[0] < REASONS_FOR_S:
            return known[1], 0
        if not may_ask:
            return known[1] if known is not None else ("not looked at yet",), 0
        try:
            reasons = tuple(self._migration.cantmove(entry.pid))
        except (ProcessVanished, OSError):
            reasons = ("it has ended",)
        self._reasons[key] = (now, reasons)
        return reasons, 1


def _allowed(rules: ProcessRules | None, own_node: int, members: Collection[int]) -> frozenset[int] | None:
    if rules is None or not rules.migfilter:
        return None
    return frozenset(node for node in (own_node, *members) if rules.allows(node))


def _decay(rules: ProcessRules | None) -> DecayChoice:
    if rules is None:
        return DecayChoice()
    if rules.decay == "own" and (rules.own_rate, rules.own_interval_s) == (1000, 1):
        return DecayChoice("none")
    return DecayChoice(rules.decay, rules.own_rate, rules.own_interval_s)


def _control_group(pid: int) -> str:
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line[3:] for line in lines if line.startswith("0::")), "")
