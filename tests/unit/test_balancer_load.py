"""Load, speed, decay and cost against openMosix's documented numbers."""

from __future__ import annotations

import math

import pytest

from balancer import load, utilisability
from balancer.decay import CPUJOB, FAST, OWN, SLOW, DecayChoice, DecayRates, Statistics, rate_of
from balancer.memory import fits, shortage_bytes, slowdown
from balancer.migration_cost import PRIOR_FIXED_S, MoveCost, learn
from balancer.speed import MAX_SPEED, STANDARD_ROUNDS_PER_S, clamp_speed, in_yardstick, speed_from_rounds
from balancer.steadiness import Steadiness


def test_mean_rises_slowly_and_falls_at_once() -> None:
    filters = load.LoadFilters()
    seen = []
    for measured in (1.0, 1.0, 0.0):
        filters = load.step(filters, measured, 0)
        seen.append(filters.mean)
    assert seen == [3 / 8, 3 / 8 * 5 / 8 + 3 / 8, 0.0]


def test_upper_rises_at_once_and_falls_slowly() -> None:
    filters = load.step(load.LoadFilters(), 8.0, 0)
    assert filters.upper == 8.0
    assert load.step(filters, 0.0, 0).upper == 7.0


def test_a_clock_that_jumps_does_not_break_the_filters() -> None:
    filters = load.step(load.LoadFilters(1.0, 1.0, 0.0), 2.0, 0, 1e9)
    assert 1.9 < filters.mean <= 2.0
    assert load.step(filters, 2.0, 0, -5.0).mean == filters.mean
    assert load.runnable(1.0, 1.0, 0.0) == 0.0


@pytest.mark.parametrize(("processes", "effective"), [(1, 100.0), (2, 300.0), (3, 500.0), (4, 700.0)])
def test_effective_load_of_one_standard_cpu(processes: int, effective: float) -> None:
    measured = load.openmosix_load(processes, 15000, 1)
    assert load.effective_load(measured, 15000, 1) == pytest.approx(effective)


def test_effective_load_is_continuous_on_two_cpus() -> None:
    for edge in (100.0, 150.0):
        below = load.effective_load(edge - 1e-9, 15000, 2)
        assert load.effective_load(edge + 1e-9, 15000, 2) == pytest.approx(below, abs=1e-4)


def test_exported_load_already_holds_one_process_more() -> None:
    exported = load.exported_load(0.0, 0.0, 15000, 1, 1.0)
    assert load.effective_load(exported, 15000, 1) == pytest.approx(102.04, abs=3)
    assert load.exported_load(1.0, 0.0, 30000, 1, 1.0) == pytest.approx(101.0)
    assert load.local_load(load.LoadFilters(mean=2.0), 1.0, 15000, 1, 0.5) == pytest.approx(200.0)


def test_speed_in_openmosix_units() -> None:
    assert speed_from_rounds(int(STANDARD_ROUNDS_PER_S), 1.0) == 15000
    assert clamp_speed(1e9) == MAX_SPEED
    assert in_yardstick(200.0, 7500) == 100.0
    with pytest.raises(ValueError, match="no time"):
        speed_from_rounds(1, 0.0)


def test_utilisability_follows_memory_stalls() -> None:
    efficiency = 1.0
    for _ in range(50):
        efficiency = utilisability.step(efficiency, 1.0)
    assert efficiency == pytest.approx(utilisability.FLOOR)
    assert utilisability.percent(1.0, 4) == 400


@pytest.mark.parametrize(("name", "half_life_s"), [(SLOW, 55), (FAST, 18)])
def test_half_lives_of_decay(name: str, half_life_s: float) -> None:
    kept, interval_s = rate_of(DecayChoice(name), DecayRates())
    assert interval_s * math.log(0.5) / math.log(kept) == pytest.approx(half_life_s, abs=0.5)


def test_decay_discounts_cpu_time_and_io() -> None:
    statistics = Statistics()
    statistics.add(4.0, 100.0, 1000.0)
    statistics.decay(10.0, 0.5, 2.0)
    assert statistics.cpu_s(10.0) == pytest.approx(2.5)
    assert statistics.io_calls == pytest.approx(25.0)
    assert statistics.undecayed_share(10.0) == pytest.approx(0.25)
    statistics.clear(10.0)
    assert statistics.cpu_s(10.0) == 0.0


def test_cpujob_does_not_decay_and_own_does_as_told() -> None:
    assert rate_of(DecayChoice(CPUJOB), DecayRates())[0] == 1.0
    assert rate_of(DecayChoice(OWN, 500, 7), DecayRates()) == (0.5, 7.0)
    for wrong in ((0, 975, 926), (2, 900, 926), (2, 1001, 926)):
        with pytest.raises(ValueError, match="decay"):
            DecayRates(*wrong)


def test_memory_rules() -> None:
    assert slowdown(96.0, 100.0) == 10.0
    assert slowdown(95.0, 100.0) == 1.0
    assert shortage_bytes(100.0, 100.0) == pytest.approx(5.0)
    assert fits(10.0, 15.0, 100.0)
    assert not fits(11.0, 15.0, 100.0)


def test_move_cost_learns_line_and_ignores_nonsense() -> None:
    model = MoveCost()
    assert model.seconds(0) == PRIOR_FIXED_S
    for i in range(200):
        size = 1e6 * (1 + i % 50)
        model = learn(model, size, 0.02 + size / 400e6)
    assert model.seconds(40e6) == pytest.approx(0.12, rel=0.2)
    for size, frozen in ((1e6, -1.0), (1e6, math.nan), (-1.0, 1.0), (1e6, 1e9)):
        assert learn(model, size, frozen) == model


def test_steadiness_counts_from_the_last_lower_load() -> None:
    steady = Steadiness()
    for now, measured in ((0.0, 1.0), (1.0, 3.0), (2.0, 2.9), (5.0, 3.4)):
        steady.observe(measured, now)
    assert steady.lasted_s(6.0) == 5.0
    steady.observe(1.0, 7.0)
    assert steady.lasted_s(8.0) == 8.0
    steady.observe(0.0, 9.0)
    assert steady.lasted_s(10.0) == 0.0
