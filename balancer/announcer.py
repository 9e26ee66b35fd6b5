"""Tells others about this node: its entry every tick, a message every period, and a few nodes at once when
it has become idle.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from balancer import utilisability
from balancer.events import Command, SendVector
from balancer.vector import BLOCK, DRAINING, LSTAY, QUIET, STAY, URGENT, LoadEntry, stamp

if TYPE_CHECKING:
    from balancer.node import BalancerCore


class Announcer:
    """Stamps and sends the own entry; part of one node's core."""

    def __init__(self, core: BalancerCore, incarnation: int) -> None:
        self._core = core
        self.incarnation = incarnation
        self._sequence = 0
        self._told_load = 0.0

    def announce(self, now: float) -> list[Command]:
        """Publish the node's load as of now, and send what is due."""
        core = self._core
        settings = core.settings
        load = core.load()
        if load > core.peak_load:
            core.peak_load = load
        idle_now = core.gossip.plan.urgent and self._told_load - load >= 1 and load < 0.5 * settings.cpus
        flags = (
            settings.block * BLOCK
            | settings.stay * STAY
            | settings.lstay * LSTAY
            | settings.quiet * QUIET
            | settings.draining * DRAINING
            | idle_now * URGENT
        )
        if core.gossip.refute:
            self.incarnation = max(self.incarnation, core.gossip.refute >> 32) + 1
            core.gossip.refute = 0
        self._sequence += 1
        upper = core.filters.upper + core.filters.arriving + core.leases.reserved_load()
        core.gossip.publish(
            LoadEntry(
                core.node,
                stamp(self.incarnation, self._sequence),
                load,
                upper,
                settings.speed,
                settings.cpus,
                core.mem_total,
                core.mem_free(),
                utilisability.percent(core.efficiency, settings.cpus),
                flags,
            ),
            now,
        )
        commands: list[Command] = []
        if settings.quiet or not core.members:
            return commands
        if core.gossip.due(now):
            self._told_load = load
            targets = core.gossip.targets(core.members, core.draw)
            entries = tuple(core.gossip.message(now))
            commands.append(SendVector(tuple(targets), entries, core.gossip.plan.push_pull))
            if self._sequence % 16 == 0:
                core.gossip.expire(now)
        if idle_now:
            self._told_load = load
            count = math.isqrt(len(core.members) - 1) + 1
            targets = core.draw.sample(core.members, count)
            commands.append(SendVector(tuple(targets), tuple(core.gossip.urgent(now))))
        return commands
