"""Whatever messages are lost or late: home is never sure that a body stands still while it runs."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from migrated.core.lease import GuestLease, HomeLease, Standing, certain_after_s

# What happens next: seconds until then, and whether the guest asks, and how late each way is (None: lost).
_STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 30.0, allow_nan=False),
        st.one_of(st.none(), st.floats(0.0, 20.0, allow_nan=False)),
        st.one_of(st.none(), st.floats(0.0, 20.0, allow_nan=False)),
    ),
    max_size=30,
)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(steps=_STEPS, lease_s=st.sampled_from([2.0, 10.0]), grace_s=st.sampled_from([0.5, 60.0]), late_s=st.floats(0, 9))
def test_home_is_never_sure_too_early(
    steps: list[tuple[float, float | None, float | None]], lease_s: float, grace_s: float, late_s: float
) -> None:
    # The guest's lease begins when it said that it is ready; home answers that, and orders to go, later.
    guest, home = GuestLease(0.0, lease_s, grace_s), HomeLease(late_s, lease_s, grace_s)
    answers: list[tuple[float, float, float]] = []  # when home answers, when the guest hears it, when it had asked
    now = 0.0
    for pause_s, there_s, back_s in steps:
        now += pause_s
        if there_s is not None:
            heard_s = now + there_s + (back_s if back_s is not None else 1e9)
            answers.append((now + there_s, heard_s, now))
        for answered_s, heard_s, asked_s in sorted(answers):
            if answered_s <= now:
                home.answered(max(answered_s, home.answered_at_s))
            if heard_s <= now:
                guest.granted(asked_s)
        if home.certainly_stopped(now):
            assert guest.standing(now) is not Standing.RUN
        if home.certainly_gone(now):
            assert guest.standing(now) is Standing.KILL


def test_what_home_waits_for_is_longer_than_a_lease() -> None:
    assert all(certain_after_s(lease_s) > lease_s for lease_s in (0.5, 2.0, 10.0, 3600.0))
