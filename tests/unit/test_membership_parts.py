"""The small parts of membership: replay window, suspicion, awareness, claim, challenges."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from omdiscd.core.awareness import RECOVERY_S, SCORE_MAX, Awareness
from omdiscd.core.challenges import ANSWERS_PER_S, OPEN_MAX, PATIENCE_S, REPEAT_S, Challenges
from omdiscd.core.claim import RIVAL_FRESH_S, RIVALS_MAX, Claim, ClaimState, Rival
from omdiscd.core.replay_window import WINDOW_BITS, ReplayWindow
from omdiscd.core.suspicion import Suspicion, timeout_s

ME, LESS, MORE = b"m" * 16, b"a" * 16, b"z" * 16


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.integers(1, 3 * WINDOW_BITS), max_size=300), st.integers(0, 50))
def test_a_counter_counts_once_and_not_below_the_window(counters: list[int], floor: int) -> None:
    window, seen, newest = ReplayWindow(floor), set(range(floor + 1)), floor
    for counter in counters:
        expected = counter not in seen and counter > newest - WINDOW_BITS
        assert window.accept(counter) is expected
        if expected:
            seen.add(counter)
            newest = max(newest, counter)
    assert window.newest == newest


def test_a_counter_far_ahead_costs_nothing() -> None:
    window = ReplayWindow()
    assert window.accept(1 << 62)
    assert not window.accept(1 << 62)
    assert not window.accept(1)
    assert window.accept((1 << 62) - 1)


def test_suspicion_shrinks_with_confirmations() -> None:
    times = [timeout_s(c, 2.0, 6.0) for c in range(5)]
    assert times[0] == 6.0
    assert times[3] == times[4] == 2.0
    assert times == sorted(times, reverse=True)
    assert timeout_s(0, 2.0, 6.0, wanted=0) == 3.0


def test_one_node_confirms_once() -> None:
    suspicion = Suspicion(0.0)
    for _ in range(10):
        suspicion.confirm(5)
    assert not suspicion.is_over(2.5, 2.0, 6.0, others=5)
    suspicion.confirm(6)
    suspicion.confirm(7)
    assert suspicion.is_over(2.5, 2.0, 6.0, others=5)


def test_awareness_is_bounded_and_recovers() -> None:
    awareness = Awareness(0.0)
    awareness.bad_sign(0.0)
    assert awareness.factor == 1
    for _ in range(20):
        awareness.bad_sign(0.0)
    assert awareness.factor == SCORE_MAX
    for step in range(1, SCORE_MAX + 2):
        awareness.tick(step * RECOVERY_S)
    assert awareness.factor == 1


def _rival(boot_id: bytes, active_s: float, now: float) -> Rival:
    return Rival(boot_id, 1, 5428, ReplayWindow(), active_s, now)


def _active_claim(active_s: float) -> Claim:
    claim = Claim(ME, 1.0, 0.0)
    assert claim.judge(1.0)
    assert claim.state is ClaimState.ACTIVE
    claim.judge(1.0 + active_s)
    return claim


def test_a_claim_is_made_after_listening() -> None:
    claim = Claim(ME, 1.0, 0.0)
    assert not claim.judge(0.9)
    assert claim.active_ms(0.9) == 0
    assert claim.judge(1.0)
    assert claim.active_ms(3.0) == 2000


def test_the_later_of_two_stays_out() -> None:
    cases = [
        # own age, rival's age, rival's boot id -> out?
        (0.0, 50.0, MORE, True),
        (10.0, 50.0, MORE, True),
        (50.0, 10.0, LESS, False),
        (50.0, 0.0, LESS, False),
        (10.0, 11.0, LESS, True),
        (10.0, 11.0, MORE, False),
    ]
    for mine, theirs, boot_id, is_out in cases:
        claim = _active_claim(mine) if mine else Claim(ME, 1.0, 0.0)
        now = 1.0 + mine if mine else 0.5
        claim.add(_rival(boot_id, theirs, now))
        claim.judge(now)
        assert (claim.state is ClaimState.OUT) is is_out, (mine, theirs, boot_id)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.floats(0.1, 100), st.floats(0.1, 100))
def test_two_holders_never_both_stay_nor_both_go_when_they_see_the_same(one: float, other: float) -> None:
    first, second = Claim(LESS, 1.0, 0.0), Claim(MORE, 1.0, 0.0)
    first.state = second.state = ClaimState.ACTIVE
    first._active_since, second._active_since = 1000 - one, 1000 - other
    ages = first.active_ms(1000) / 1000, second.active_ms(1000) / 1000
    first.add(_rival(MORE, ages[1], 1000))
    second.add(_rival(LESS, ages[0], 1000))
    first.judge(1000)
    second.judge(1000)
    assert {first.state, second.state} == {ClaimState.ACTIVE, ClaimState.OUT}


def test_a_node_that_is_out_takes_a_number_that_is_free() -> None:
    claim = Claim(ME, 1.0, 0.0)
    claim.add(_rival(MORE, 50.0, 0.5))
    claim.judge(0.5)
    assert claim.state is ClaimState.OUT
    claim.judge(0.6 + RIVAL_FRESH_S)
    assert claim.state is ClaimState.JOINING
    claim.judge(2.0 + RIVAL_FRESH_S)
    assert claim.state is ClaimState.ACTIVE


def test_rivals_are_capped() -> None:
    claim = Claim(ME, 1.0, 0.0)
    taken = [claim.add(_rival(bytes([n]) * 16, 1.0, 0.0)) for n in range(RIVALS_MAX + 1)]
    assert taken == [True] * RIVALS_MAX + [False]


def test_a_challenge_is_passed_once_in_time_and_with_its_own_nonce() -> None:
    challenges = Challenges(Random(1))
    nonce = challenges.give(5, ME, 0.0)
    assert nonce is not None
    assert not challenges.passes(5, ME, b"x" * 16, 0.1)
    assert not challenges.passes(6, ME, nonce, 0.1)
    assert challenges.passes(5, ME, nonce, 0.1)
    assert not challenges.passes(5, ME, nonce, 0.1)
    late = challenges.give(5, ME, 1.0)
    assert late is not None
    assert not challenges.passes(5, ME, late, 1.1 + PATIENCE_S)


def test_challenges_are_rationed() -> None:
    challenges = Challenges(Random(1))
    assert challenges.give(5, ME, 0.0) is not None
    assert challenges.give(5, ME, REPEAT_S / 2) is None
    assert challenges.give(5, ME, REPEAT_S) is not None
    given = [challenges.give(6, n.to_bytes(16, "big"), 1.0) for n in range(OPEN_MAX + 10)]
    assert sum(nonce is not None for nonce in given) == OPEN_MAX - 1
    assert challenges.give(6, MORE, 2.0 + PATIENCE_S) is not None
    assert sum(challenges.may_answer(7.5) for _ in range(ANSWERS_PER_S + 10)) == ANSWERS_PER_S
