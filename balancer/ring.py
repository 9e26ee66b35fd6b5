"""The last decisions with their inputs, to be dumped, sent along with a bug report, and made again."""

from __future__ import annotations

from collections import deque

import msgspec

from balancer.decide import Decision, choose
from balancer.facts import Hold, Move, Stay, View

KEPT = 64


class DecisionRing:
    """Keeps the last decisions that moved something, and the last one in any case."""

    def __init__(self, kept: int = KEPT) -> None:
        self._moves: deque[Decision] = deque(maxlen=kept)
        self.last: Decision | None = None

    def add(self, decision: Decision) -> None:
        """Remember a decision."""
        self.last = decision
        if not isinstance(decision.choice, Stay):
            self._moves.append(decision)

    def decisions(self) -> list[Decision]:
        """Oldest first; the last one always comes last."""
        kept = list(self._moves)
        if self.last is not None and (not kept or kept[-1] is not self.last):
            kept.append(self.last)
        return kept

    def dump(self) -> bytes:
        """The ring as a JSON array; `load_dump` reads it."""
        return msgspec.json.encode([_plain(decision) for decision in self.decisions()])


def _plain(decision: Decision) -> dict[str, object]:
    kind = {Move: "move", Hold: "hold", Stay: "stay"}[type(decision.choice)]
    return {
        "at": decision.at,
        "seed": decision.seed,
        "view": msgspec.to_builtins(decision.view),
        "kind": kind,
        "choice": msgspec.to_builtins(decision.choice),
    }


_KINDS: dict[str, type[Move] | type[Hold] | type[Stay]] = {"move": Move, "hold": Hold, "stay": Stay}


def load_dump(data: bytes) -> list[Decision]:
    """The decisions in a dump; msgspec.ValidationError or DecodeError when it is none."""
    decisions: list[Decision] = []
    for item in msgspec.json.decode(data, type=list[dict[str, object]]):
        kind = _KINDS.get(str(item.get("kind")))
        if kind is None:
            raise msgspec.ValidationError(f"unknown kind of decision {item.get('kind')!r}")
        view = msgspec.convert(item.get("view"), View)
        choice = msgspec.convert(item.get("choice"), kind)
        at = msgspec.convert(item.get("at"), float, strict=False)
        decisions.append(Decision(view, msgspec.convert(item.get("seed"), int), at, choice))
    return decisions


def replays(decision: Decision) -> bool:
    """True when the same view and seed lead to the same choice again."""
    return choose(decision.view, decision.seed) == decision.choice
