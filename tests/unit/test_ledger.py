"""The commit protocol's table: who may run, and what ends a fault, in every state."""

from __future__ import annotations

import pytest

from migrated.core.ledger import (
    FINAL,
    IllegalStep,
    Recovery,
    Runner,
    State,
    advance,
    fallback,
    recovery,
    runner,
)


def _reachable(start: State) -> set[State]:
    found, waiting = {start}, [start]
    while waiting:
        now = waiting.pop()
        for wanted in State:
            try:
                advance(now, wanted)
            except IllegalStep:
                continue
            if wanted not in found:
                found.add(wanted)
                waiting.append(wanted)
    return found


def test_every_state_can_be_reached_and_left_but_the_last() -> None:
    assert _reachable(State.LOCAL) == set(State)
    for state in State:
        assert (_reachable(state) == {state}) == (state in FINAL)


def test_the_original_never_runs_again_once_the_copy_may_have_had_an_effect() -> None:
    for state in (State.AWAY, State.RETURNING, State.ONWARD):
        assert recovery(state) is Recovery.REPORT_DEATH
        assert fallback(state) is State.AWAY
    assert recovery(State.COMMITTED) is Recovery.ASK_GUEST


def test_before_the_decision_everything_is_undone() -> None:
    for state in (State.OFFERED, State.FROZEN, State.READY):
        assert recovery(state) is Recovery.THAW
        assert fallback(state) is State.LOCAL
        assert advance(state, State.LOCAL) is State.LOCAL


def test_the_decision_is_between_the_two_runners() -> None:
    assert runner(State.READY) is Runner.NOBODY
    assert runner(State.COMMITTED) is Runner.GUEST
    assert runner(State.HOME) is Runner.ORIGINAL


def test_death_is_possible_everywhere_but_at_the_end() -> None:
    for state in set(State) - FINAL:
        assert advance(state, State.DEAD) is State.DEAD


def test_a_step_that_does_not_exist_is_refused() -> None:
    with pytest.raises(IllegalStep, match="from away to committed"):
        advance(State.AWAY, State.COMMITTED)
