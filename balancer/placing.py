"""New programs on their way to a node: asks the nodes the policy named, one after the other or all of them
to compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.events import AskLease, Command, LeaseAnswered, Place, PlaceWanted, ReleaseLease
from balancer.leases import LeaseAsk
from balancer.outgoing import Placing

if TYPE_CHECKING:
    from balancer.node import BalancerCore

MAX_WAITING = 1024
STARTED_S = 0.05  # a program shows up in the samples this long after it was started
ANY_LOAD = 1e6
PLACE_LEASE_S = 2.0  # a program is there at once, or not at all


class PlacingDesk:
    """The programs that wait for a place; part of one node's core."""

    def __init__(self, core: BalancerCore) -> None:
        self._core = core
        self._by_token: dict[int, Placing] = {}
        self._by_ask: dict[int, Placing] = {}
        self._starts: list[float] = []

    @property
    def starting(self) -> int:
        """Programs sent to their start here that no sample has shown yet."""
        return len(self._starts)

    def knows(self, ask_id: int) -> bool:
        """True when the question was about a program."""
        return ask_id in self._by_ask

    def tick(self, now: float) -> None:
        """A round of samples has been taken: forget the programs it shows, and the questions nobody
        answered.
        """
        if self._starts:
            self._starts = [at for at in self._starts if now - at < STARTED_S]
        if self._by_token:
            late_s = 10 * self._core.settings.ask_timeout_s
            for placing in [p for p in self._by_token.values() if now - p.since > late_s]:
                self._drop(placing)

    def wanted(self, event: PlaceWanted, now: float) -> list[Command]:
        """A program is to start."""
        core = self._core
        if len(self._by_token) >= MAX_WAITING:
            return self._here(event.token, now)
        targets = core.policy.choose_place(core.view(now), event.rss_bytes, event.allowed, core.draw, None)
        if not targets:
            return self._here(event.token, now)
        if not core.policy.asks_first:
            node = targets[0]
            core.peers.tell(node, core.peers.load_of(node, core.gossip) + 1, now)
            return [Place(event.token, node)]
        placing = Placing(event.token, event.rss_bytes, targets, core.policy.compares, now)
        self._by_token[event.token] = placing
        return self._ask_all(placing, now) if placing.compares else self._ask_next(placing, now)

    def answered(self, event: LeaseAnswered, now: float) -> list[Command]:
        """A node has answered."""
        placing = self._by_ask.pop(event.ask_id)
        node = placing.ask_ids.pop(event.ask_id)
        self._core.peers.tell(node, event.load + event.granted, now)
        if placing.compares:
            placing.answers.append((event.load if event.granted else ANY_LOAD, node, event.ask_id))
            return self._compare(placing, now)
        if not event.granted:
            return self._ask_next(placing, now)
        self._drop(placing)
        return [Place(placing.token, node, event.ask_id)]

    def _here(self, token: int, now: float) -> list[Command]:
        self._starts.append(now)
        return [Place(token, self._core.node)]

    def _drop(self, placing: Placing) -> None:
        self._by_token.pop(placing.token, None)
        for ask_id in placing.ask_ids:
            self._by_ask.pop(ask_id, None)

    def _ask(self, placing: Placing, node: int, load_seen: float) -> Command:
        core = self._core
        ask_id = core.next_ask_id()
        step = "paging" if core.settings.limits.overcommit else "load"
        placing.ask_ids[ask_id] = node
        self._by_ask[ask_id] = placing
        ask = LeaseAsk(core.node, ask_id, 1.0, placing.rss_bytes, load_seen, step, PLACE_LEASE_S)
        return AskLease(node, ask, core.settings.ask_timeout_s)

    def _ask_next(self, placing: Placing, now: float) -> list[Command]:
        if not placing.waiting:
            self._drop(placing)
            return self._here(placing.token, now)
        node = placing.waiting.pop(0)
        return [self._ask(placing, node, self._core.peers.load_of(node, self._core.gossip))]

    def _ask_all(self, placing: Placing, now: float) -> list[Command]:
        core = self._core
        commands: list[Command] = []
        for node in placing.waiting:
            if node == core.node:
                placing.answers.append((core.load(), node, 0))
            else:
                commands.append(self._ask(placing, node, ANY_LOAD))
        placing.waiting = []
        return commands or self._compare(placing, now)

    def _compare(self, placing: Placing, now: float) -> list[Command]:
        if placing.ask_ids:
            return []
        self._drop(placing)
        core = self._core
        load, chosen, chosen_ask = min(placing.answers)
        commands: list[Command] = [
            ReleaseLease(node, ask_id)
            for answer, node, ask_id in placing.answers
            if ask_id and ask_id != chosen_ask and answer < ANY_LOAD
        ]
        if chosen == core.node or load >= ANY_LOAD:
            return commands + self._here(placing.token, now)
        return [*commands, Place(placing.token, chosen, chosen_ask)]
