"""Facts about nodes: own ones from this machine, others' from the nodes themselves.

Owns the record a node answers with, the deadline for asking, and a short memory so that a hundred readers of
the hpc tree cost another node one question. What a peer answers is checked field by field.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from omdiscd.admin.interfaces import ClusterView, LoadSource
from omdiscd.admin.machine import cpu_count, memory_bytes
from omdiscd.core.admin import AdminSettings, shown_speed
from omdiscd.core.admin_load import shown_load
from omdiscd.core.admin_status import CONFIGURED, UP, own_status
from omprotocol.errors import EXIT_NOT_FOUND, EXIT_TIMEOUT, EXIT_USAGE, MosixError
from omprotocol.static_map import MAX_NODE

FACTS_VERB = "node.facts"
ANSWER_S = 2.0
"""How long another node may take to answer before it counts as silent."""
REMEMBER_S = 0.4
"""How long an answer is given again without asking anew; below the period of a monitor."""
REMEMBER_SILENCE_S = 2.0
ASKED_AT_ONCE = 16
MAX_REMEMBERED = 4096
_MAX_FACT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node says about itself. Load is raw (100 = one process on one standard CPU); memory in bytes."""

    load: int
    speed: int
    cpus: int
    util: int
    mem: int
    rmem: int
    tmem: int
    status: int


FACT_NAMES = tuple(field.name for field in fields(NodeFacts))


def not_configured(node: int) -> MosixError:
    """The error for a node that is not in the map."""
    return MosixError("no-such-node", f"Node #{node} is not configured", EXIT_NOT_FOUND)


def no_response(node: int) -> MosixError:
    """The error for a configured node that gives no answer."""
    return MosixError("no-response", f"Error: no response from node #{node}", EXIT_TIMEOUT)


def facts_from_plain(plain: Mapping[str, Any], node: int) -> NodeFacts:
    """Check a peer's record. Raises MosixError `no-response` for one that makes no sense."""
    values: dict[str, int] = {}
    for name in FACT_NAMES:
        value = plain.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_FACT:
            raise no_response(node)
        values[name] = value
    if not 1 <= values["cpus"] <= 65535 or not 1 <= values["speed"] <= 65535:
        raise no_response(node)
    return NodeFacts(**values)


class NodeQueries:
    """Answers about any node by number. One per daemon."""

    def __init__(
        self,
        cluster: ClusterView,
        load: LoadSource,
        settings: Callable[[], AdminSettings],
        measured_speed: int,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._cluster = cluster
        self._load = load
        self._settings = settings
        self.measured_speed = measured_speed
        self._answer_s = answer_s
        self._remembered: dict[int, tuple[float, NodeFacts | None]] = {}
        self._asking: dict[int, asyncio.Lock] = {}
        self._places = asyncio.Semaphore(ASKED_AT_ONCE)

    def use_load(self, load: LoadSource) -> None:
        """Take the load from `load` from now on."""
        self._load = load

    def own(self) -> NodeFacts:
        """Facts of this node now."""
        settings = self._settings()
        mem, rmem, tmem = memory_bytes()
        return NodeFacts(
            load=self._load.local,
            speed=shown_speed(settings, self.measured_speed),
            cpus=cpu_count(),
            util=self._load.utilizability,
            mem=mem,
            rmem=rmem,
            tmem=tmem,
            status=own_status(settings) if self._cluster.own_node else 0,
        )

    def own_plain(self) -> dict[str, Any]:
        """Facts of this node as a peer gets them."""
        return asdict(self.own())

    async def facts(self, node: int) -> NodeFacts:
        """Facts of a node, from that node. Raises MosixError (improper, not configured, no response)."""
        if not 0 <= node <= MAX_NODE:
            raise MosixError("improper-value", "Error: Improper node number", EXIT_USAGE)
        if node in (0, self._cluster.own_node):
            return self.own()
        if self._cluster.address_of(node) is None:
            raise not_configured(node)
        async with self._asking.setdefault(node, asyncio.Lock()):
            return await self._remembered_or_asked(node)

    async def table(self) -> list[dict[str, Any]]:
        """Every configured node: number, address, up, and its facts in shown units where it answers."""
        yardstick = self._settings().sspeed
        known = await self.known_facts()
        rows: list[dict[str, Any]] = []
        for node, address in self._cluster.nodes():
            facts = known.get(node)
            row: dict[str, Any] = {"node": node, "address": address, "up": False, "status": CONFIGURED}
            if facts is not None:
                row |= asdict(facts) | {"up": True, "load": shown_load(facts.load, yardstick)}
            rows.append(row)
        return rows

    async def known_facts(self) -> dict[int, NodeFacts]:
        """Facts of all nodes that are up and answer."""
        own = self._cluster.own_node
        up = [node for node, _ in self._cluster.nodes() if node == own or self._cluster.is_up(node)]

        async def ask(node: int) -> NodeFacts | None:
            try:
                return await self.facts(node)
            except MosixError:
                return None

        answers = await asyncio.gather(*map(ask, up))
        return {node: facts for node, facts in zip(up, answers, strict=True) if facts is not None}

    async def shown(self, node: int) -> dict[str, int]:
        """Facts of one node with the load in units of this node's yardstick."""
        facts = await self.facts(node)
        return asdict(facts) | {"load": shown_load(facts.load, self._settings().sspeed)}

    async def is_up(self, node: int) -> bool:
        """Whether the node answers. Raises MosixError for a number that is improper or not configured."""
        try:
            return bool((await self.facts(node)).status & UP)
        except MosixError as error:
            if error.code == "no-response":
                return False
            raise

    def forget(self, node: int) -> None:
        """Ask the node anew next time: something was changed there."""
        self._remembered.pop(node, None)

    async def _remembered_or_asked(self, node: int) -> NodeFacts:
        known = self._remembered.get(node)
        if known is not None:
            until, facts = known
            if time.monotonic() < until:
                if facts is None:
                    raise no_response(node)
                return facts
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
            self._asking = {number: lock for number, lock in self._asking.items() if lock.locked()}
        try:
            async with self._places:
                plain = await self._cluster.call(node, FACTS_VERB, {}, self._answer_s)
            facts = facts_from_plain(plain, node)
        except MosixError:
            self._remembered[node] = (time.monotonic() + REMEMBER_SILENCE_S, None)
            raise no_response(node) from None
        self._remembered[node] = (time.monotonic() + REMEMBER_S, facts)
        return facts
