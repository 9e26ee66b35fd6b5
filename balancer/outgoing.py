"""The one move that is under way from this node: whom it asks for room, one after the other, and when to
give up.
"""

from __future__ import annotations

from balancer.facts import Move, ProcessFacts


class Outgoing:
    """A move from the choice to its end. `asked` is the node asked now, `moving_to` the one that said yes."""

    __slots__ = (
        "ask_id",
        "asked",
        "asked_at",
        "home",
        "move",
        "moving_to",
        "process",
        "started_at",
        "waiting",
    )

    def __init__(self, move: Move, process: ProcessFacts, now: float) -> None:
        self.move = move
        self.process = process
        self.waiting = list(move.targets)
        self.asked = 0
        self.ask_id = 0
        self.asked_at = now
        self.moving_to = 0
        self.started_at = now

    def next_target(self, ask_id: int, now: float) -> int:
        """The next node to ask, 0 when all have refused."""
        if not self.waiting:
            self.asked = 0
            return 0
        self.asked = self.waiting.pop(0)
        self.ask_id = ask_id
        self.asked_at = now
        return self.asked

    def overdue(self, now: float, ask_timeout_s: float, move_timeout_s: float) -> bool:
        """True when nothing has been heard for so long that the books must be closed."""
        if self.moving_to:
            return now - self.started_at > move_timeout_s
        return now - self.asked_at > 3 * ask_timeout_s


class Placing:
    """A new program that is being placed; `compares` = ask all targets and take the least loaded one."""

    __slots__ = ("answers", "ask_ids", "compares", "rss_bytes", "since", "token", "waiting")

    def __init__(self, token: int, rss_bytes: float, targets: tuple[int, ...], compares: bool, now: float) -> None:
        self.token = token
        self.rss_bytes = rss_bytes
        self.waiting = list(targets)
        self.compares = compares
        self.ask_ids: dict[int, int] = {}  # ask id -> node
        self.answers: list[tuple[float, int, int]] = []  # load, node, ask id (0 = this node)
        self.since = now
