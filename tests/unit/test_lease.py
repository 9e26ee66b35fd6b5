"""The lease as the guest counts it."""

from __future__ import annotations

from migrated.core.lease import GuestLease, HomeLease, Standing, renew_after_s


def test_it_lapses_is_held_and_ends() -> None:
    lease = GuestLease(100.0, lease_s=10.0, grace_s=60.0)
    assert lease.standing(109.9) is Standing.RUN
    assert lease.standing(110.0) is Standing.HOLD
    assert lease.standing(169.9) is Standing.HOLD
    assert lease.standing(170.0) is Standing.KILL


def test_it_counts_from_the_question_and_never_backwards() -> None:
    lease = GuestLease(0.0, lease_s=10.0, grace_s=60.0)
    lease.granted(5.0)
    lease.granted(3.0)
    assert lease.standing(14.9) is Standing.RUN
    assert lease.standing(15.0) is Standing.HOLD


def test_home_waits_longer_than_the_guest() -> None:
    home = HomeLease(0.0, lease_s=10.0, grace_s=60.0)
    assert not home.certainly_stopped(12.0)
    assert home.certainly_stopped(12.1)
    assert not home.certainly_gone(72.0)
    assert home.certainly_gone(72.1)


def test_it_is_asked_for_several_times_per_lease() -> None:
    assert renew_after_s(10.0) == 2.0
    assert renew_after_s(1000.0) == 2.0
    assert renew_after_s(2.0) * 4 < 2.0
