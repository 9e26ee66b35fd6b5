"""The commit protocol's state table, seen from home: who may run in each state, and what ends a fault.

Home is the only decider.  COMMITTED is the decision that the copy runs; everything before it is undone by
thawing the original, everything after it belongs to the guest until the epoch is closed again.
Source: the project's commit protocol (presumed abort, one participant), docs/ARCHITECTURE.md.  Pure.
"""

from __future__ import annotations

from enum import StrEnum

from omprotocol.errors import MosixError


class State(StrEnum):
    """Where a process is in its journey."""

    LOCAL = "local"
    OFFERED = "offered"
    FROZEN = "frozen"
    READY = "ready"
    COMMITTED = "committed"
    AWAY = "away"
    RETURNING = "returning"
    ONWARD = "onward"
    HOME = "home"
    DEAD = "dead"


class Runner(StrEnum):
    """The one copy that may execute."""

    ORIGINAL = "original"
    GUEST = "guest"
    NOBODY = "nobody"


class Recovery(StrEnum):
    """What home does with a record whose shim is gone."""

    FORGET = "forget"
    THAW = "thaw the original"
    ASK_GUEST = "wait for the copy's end, then thaw when it had no effect, else report death"
    REPORT_DEATH = "report death by SIGKILL"
    REPORT_END = "report the end that is written down"


FINAL = frozenset({State.HOME, State.DEAD})

_TABLE: dict[State, frozenset[State]] = {
    State.LOCAL: frozenset({State.OFFERED, State.DEAD}),
    State.OFFERED: frozenset({State.FROZEN, State.LOCAL, State.DEAD}),
    State.FROZEN: frozenset({State.READY, State.LOCAL, State.DEAD}),
    State.READY: frozenset({State.COMMITTED, State.LOCAL, State.DEAD}),
    State.COMMITTED: frozenset({State.AWAY, State.LOCAL, State.DEAD}),
    State.AWAY: frozenset({State.RETURNING, State.ONWARD, State.DEAD}),
    State.RETURNING: frozenset({State.AWAY, State.HOME, State.DEAD}),
    State.ONWARD: frozenset({State.AWAY, State.DEAD}),
    State.HOME: frozenset(),
    State.DEAD: frozenset(),
}

_RUNNER: dict[State, Runner] = {
    State.LOCAL: Runner.ORIGINAL,
    State.OFFERED: Runner.ORIGINAL,
    State.FROZEN: Runner.NOBODY,
    State.READY: Runner.NOBODY,
    State.COMMITTED: Runner.GUEST,
    State.AWAY: Runner.GUEST,
    State.RETURNING: Runner.NOBODY,
    State.ONWARD: Runner.NOBODY,
    State.HOME: Runner.ORIGINAL,
    State.DEAD: Runner.NOBODY,
}

_RECOVERY: dict[State, Recovery] = {
    State.LOCAL: Recovery.FORGET,
    State.OFFERED: Recovery.THAW,
    State.FROZEN: Recovery.THAW,
    State.READY: Recovery.THAW,
    State.COMMITTED: Recovery.ASK_GUEST,
    State.AWAY: Recovery.REPORT_DEATH,
    State.RETURNING: Recovery.REPORT_DEATH,
    State.ONWARD: Recovery.REPORT_DEATH,
    State.HOME: Recovery.FORGET,
    State.DEAD: Recovery.REPORT_END,
}


class IllegalStep(MosixError):
    """A step the protocol does not have: a defect, never a fault of the network."""

    def __init__(self, now: State, wanted: State) -> None:
        super().__init__("illegal-step", f"The commit protocol has no step from {now} to {wanted}.")


def advance(now: State, wanted: State) -> State:
    """Return `wanted` if the protocol allows it after `now`.  Raises IllegalStep."""
    if wanted not in _TABLE[now]:
        raise IllegalStep(now, wanted)
    return wanted


def runner(state: State) -> Runner:
    """Which copy may execute in `state`."""
    return _RUNNER[state]


def fallback(state: State) -> State:
    """The state a failed step returns to: home before the commit, the guest after it.

    COMMITTED falls back to LOCAL only when the copy certainly does not run and had no effect (`Recovery.ASK_GUEST`).
    """
    if state in (State.OFFERED, State.FROZEN, State.READY):
        return State.LOCAL
    if state in (State.RETURNING, State.ONWARD):
        return State.AWAY
    return state


def recovery(state: State) -> Recovery:
    """What to do with a record found in `state` when its shim is gone."""
    return _RECOVERY[state]
