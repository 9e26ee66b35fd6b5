"""Settings and whereabouts of single processes, and who may change them.

Owns the rules table of this node at run time: it finds owners and parents, carries settings on to children
whose parents end, and forgets the dead. Owners steer their own processes, administrators all.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from omdiscd.admin import process_facts
from omdiscd.admin.interfaces import MigrationControl
from omdiscd.core.admin_process import DEFAULT_RULES, ProcessRules, ProcessRulesTable, set_rule
from omprotocol.errors import EXIT_REFUSED, MosixError

CARRY_ON_S = 1.0
"""How often settings are carried on to new children; children of a parent that ends sooner may miss them."""
MAX_ASKED = 256
"""Processes away whose use is asked for in one listing."""


def not_yours(pid: int) -> MosixError:
    """The error for somebody else's process."""
    return MosixError("permission", f"Permission denied: process {pid} belongs to another user.", EXIT_REFUSED)


class ProcessSettings:
    """Rules of the processes of this node. All methods read a few files of /proc and do not wait."""

    def __init__(self, migration: MigrationControl) -> None:
        self._migration = migration
        self._table = ProcessRulesTable()
        self._looking = asyncio.Lock()

    def rules(self, pid: int) -> ProcessRules:
        """Rules in force for a process, own or inherited. Raises MosixError `no-such-process`."""
        who = process_facts.read_stat(pid).identity
        if not len(self._table):
            return DEFAULT_RULES
        self._table.seen_program(who, process_facts.program(pid))
        return self._table.of(who, process_facts.parents(pid))

    def set(self, pid: int, name: str, value: object, uid: int, is_admin: bool) -> ProcessRules:
        """Change one setting. Raises MosixError `no-such-process`, `permission` or `improper-value`."""
        who = process_facts.read_stat(pid).identity
        self.check_owner(pid, uid, is_admin)
        rules = set_rule(self.rules(pid), name, value)
        self._table.put(who, rules)
        self._table.seen_program(who, process_facts.program(pid))
        return rules

    def check_owner(self, pid: int, uid: int, is_admin: bool) -> None:
        """Raise MosixError unless `uid` may steer the process."""
        if process_facts.owner(pid) != uid and not is_admin:
            raise not_yours(pid)

    def facts(self, pid: int) -> dict[str, Any]:
        """Where the process is, how often it moved, why it cannot, and its settings, as plain values."""
        plain = asdict(self.rules(pid))
        plain["mignodes"] = sorted(plain["mignodes"])
        plain |= {
            "pid": pid,
            "where": self.where(pid),
            "nmigs": self._migration.nmigs(pid),
            "cantmove": list(self._migration.cantmove(pid)),
        }
        return plain

    def where(self, pid: int) -> int:
        """Node on which the process runs; 0 is here. Raises MosixError `no-such-process`."""
        for process in self._migration.away():
            if process.pid == pid:
                return process.node
        process_facts.read_stat(pid)
        return 0

    async def listing(self, with_cantmove: bool) -> list[dict[str, Any]]:
        """One row per process of this node for `mps`: where, nmigs, lock, use of those away, and cantmove.

        Reasons are looked for in a thread, since that reads much of /proc.
        """
        away = {process.pid: process for process in self._migration.away()}
        locked = self._locked()
        rows: list[dict[str, Any]] = []
        for pid in process_facts.all_pids():
            process = away.get(pid)
            nmigs = process.nmigs if process else self._migration.nmigs(pid)
            where = process.node if process else 0
            rows.append({"pid": pid, "where": where, "nmigs": nmigs, "lock": pid in locked})
        asked = [row for row in rows if row["where"]][:MAX_ASKED]
        uses = await asyncio.gather(*(self._migration.usage(row["pid"]) for row in asked))
        for row, usage in zip(asked, uses, strict=True):
            if usage is not None:
                row |= {"cpu_s": usage.cpu_s, "rss_bytes": usage.rss_bytes}
        if with_cantmove:
            async with self._looking:
                await asyncio.to_thread(self._add_reasons, rows)
        return rows

    def _locked(self) -> frozenset[int]:
        """PIDs that are locked; a child younger than CARRY_ON_S may be missing."""
        found: list[int] = []
        for who in self._table.identities():
            try:
                if self._table.of(who, ()).lock and process_facts.read_stat(who.pid).identity == who:
                    found.append(who.pid)
            except MosixError:
                continue
        return frozenset(found)

    def _add_reasons(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            try:
                row["cantmove"] = list(self._migration.cantmove(row["pid"]))
            except MosixError:
                row["cantmove"] = []
            except OSError:
                row["cantmove"] = ["system"]  # not even root may look into it

    async def run(self) -> None:
        """Carry settings on and forget the dead, until cancelled. Idle while nobody has settings."""
        while True:
            await asyncio.sleep(CARRY_ON_S)
            if len(self._table):
                self.carry_on()

    def carry_on(self) -> None:
        """Give inherited settings to children as their own, and drop settings of processes that ended."""
        stats = {}
        for pid in process_facts.all_pids():
            try:
                stat = process_facts.read_stat(pid)
            except MosixError:
                continue
            stats[pid] = stat
        alive = {stat.identity for stat in stats.values()}
        self._table.keep_only(alive)
        ruled = set(self._table.identities())
        # Parents first: a child of a child then finds its parent's rules in the same pass.
        for pid in sorted(stats, key=lambda number: stats[number].identity.start_ticks):
            stat = stats[pid]
            parent = stats.get(stat.parent)
            if stat.identity in ruled or parent is None or parent.identity not in ruled:
                if stat.identity in ruled:
                    self._table.seen_program(stat.identity, process_facts.program(pid))
                continue
            try:
                self._table.put(stat.identity, self._table.of(stat.identity, [parent.identity]))
            except MosixError:
                return
            ruled.add(stat.identity)
