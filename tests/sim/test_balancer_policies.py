"""Small simulations with fixed seeds: the real cores on a virtual clock."""

from __future__ import annotations

import json
import pathlib
import xml.etree.ElementTree as ElementTree

import pytest

from balancer.gossip import GossipPlan
from balancer.simulate.ages import entry_ages
from balancer.simulate.figures import interval, jain, percentile, ratio_interval
from balancer.simulate.main import main
from balancer.simulate.outcome import Outcome, outcome
from balancer.simulate.scenarios import SCENARIOS, Options, prepare, simulate
from balancer.simulate.streams import AMIR_HORIZON_S, amir_stream, pareto_stream


def results(name: str, options: Options, policies: tuple[str, ...], seed: int = 3) -> dict[str, Outcome]:
    scenario = prepare(name, options, seed)
    return {p: outcome(simulate(scenario, p, seed, options.window), p, seed) for p in policies}


def test_ours_beats_the_others_on_equal_nodes() -> None:
    found = results(
        "equal", Options(16, 0.8, 150.0, fixed_cost_s=0.3), ("none", "mosix", "opportunity", "placement", "ours")
    )
    ours = found.pop("ours")
    assert all(ours.slowdown < other.slowdown for other in found.values())
    assert ours.delay_s <= 0.65 * found["placement"].delay_s
    assert ours.returns_per_move <= 0.02
    assert ours.moves_per_job <= 0.12


def test_the_amir_stream() -> None:
    total = dict.fromkeys(("none", "mosix", "opportunity", "ours"), 0.0)
    for seed in (1, 2, 5, 6):
        for policy, found in results("amir", Options(), tuple(total), seed).items():
            total[policy] += found.slowdown
    assert total["ours"] < total["mosix"]
    assert total["ours"] < total["opportunity"]
    assert total["ours"] < 0.3 * total["none"]


@pytest.mark.parametrize(("window", "loss"), [(8, 0.0), (8, 0.3), (100, 0.3)])
def test_stale_news_never_makes_it_worse_than_nothing(window: int, loss: float) -> None:
    found = results("equal", Options(40, 0.7, 60.0, window=window, loss=loss), ("none", "ours"))
    assert found["ours"].slowdown < found["none"].slowdown


def test_a_burst_spreads_over_four_nodes() -> None:
    found = results("burst", Options(nodes=4), ("ours",))["ours"]
    assert found.makespan_s - 1.0 <= 1.10 * 30.0
    assert found.work_jain > 0.98


def test_short_memory_is_relieved() -> None:
    found = results("memory", Options(nodes=8), ("none", "ours"))
    assert found["ours"].makespan_s < 0.1 * found["none"].makespan_s


@pytest.mark.parametrize("name", ["liar", "flapping", "churn", "partition", "skewed", "speeds"])
def test_trouble_does_not_make_it_worse_than_nothing(name: str) -> None:
    found = results(name, Options(nodes=12, rho=0.7, seconds=60.0), ("none", "ours"))
    assert found["ours"].slowdown < found["none"].slowdown
    assert found["ours"].lost <= found["none"].lost + 3
    if name in ("liar", "partition", "skewed", "speeds"):
        assert found["ours"].lost == 0


@pytest.mark.parametrize("name", ["equal", "churn"])
def test_the_same_seed_gives_the_same_run(name: str) -> None:
    options = Options(nodes=8, seconds=40.0, loss=0.1)
    assert results(name, options, ("ours",)) == results(name, options, ("ours",))
    assert results(name, options, ("ours",)) != results(name, options, ("ours",), seed=4)


def test_every_job_ends_with_the_work_it_asked_for() -> None:
    scenario = prepare("equal", Options(nodes=6, rho=0.8, seconds=60.0), 5)
    simulation = simulate(scenario, "ours", 5)
    assert simulation.unfinished == 0
    work_s = sum(machine.share_sum for machine in simulation.machines.values())
    assert work_s > 0
    assert all(job.done_s >= job.arrived_s + 0.999 * job.size_s for job in simulation.jobs)


def test_streams_have_the_shape_they_promise() -> None:
    stream = pareto_stream(1, [1.0] * 10, 0.7, 2000.0)
    assert len(stream) / 2000 == pytest.approx(0.7 * 10 / 1.082, rel=0.05)
    assert min(a.size_s for a in stream) >= 0.1
    assert {a.home for a in stream} == set(range(1, 11))
    skewed = pareto_stream(1, [1.0] * 10, 0.7, 2000.0, skew=0.5)
    homes = [sum(a.home == node for a in skewed) for node in (1, 4)]
    assert homes[0] / homes[1] == pytest.approx(2.0, rel=0.15)
    jobs = [amir_stream(seed) for seed in range(100)]
    assert sum(len(j) for j in jobs) / 100 == pytest.approx(147.5, rel=0.1)
    assert all(a.at_s < AMIR_HORIZON_S and a.size_s > 0 for j in jobs for a in j)


@pytest.mark.parametrize(
    ("plan", "mean_age", "oldest"),
    [
        (GossipPlan(window=200, oldest=0, push_pull=False), 4.65, 7.03),
        (GossipPlan(window=200, oldest=0, push_pull=True), 2.63, 4.31),
        (GossipPlan(window=16, oldest=0, push_pull=False), 8.5, 33.0),
        (GossipPlan(window=32, oldest=0, push_pull=False), 5.9, 17.0),
    ],
)
def test_ages_of_entries_match_the_published_table(plan: GossipPlan, mean_age: float, oldest: float) -> None:
    found = entry_ages(100, plan, 1, periods=70, snapshots=8)
    assert found.mean == pytest.approx(mean_age, rel=0.1)
    assert found.mean_oldest == pytest.approx(oldest, rel=0.15)
    assert found.known > 0.999


def test_figures() -> None:
    assert interval([1.0, 2.0, 3.0]).mean == 2.0
    assert interval([1.0, 2.0, 3.0]).high == pytest.approx(2 + 4.303 / 3**0.5)
    assert ratio_interval([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]).high == pytest.approx(0.5)
    assert percentile([float(i) for i in range(1, 101)], 0.99) == 99.0
    assert jain([1.0, 1.0]) == 1.0
    assert jain([1.0, 0.0]) == 0.5


def test_omsim_run_compare_and_plot(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    assert main(["run", "equal", "--nodes", "4", "--seconds", "20", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["policy"] == "ours"
    assert rows[0]["jobs"] > 0
    plot = tmp_path / "plot.svg"
    policies = ["--policies", "none,ours", "--plot", str(plot)]
    assert (
        main(["compare", "equal", "--nodes", "4", "--seconds", "20", "--seeds", "2", "--rho", ".4,.8", *policies]) == 0
    )
    assert "ours" in capsys.readouterr().out
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")
    assert main(["ages", "--nodes", "8,16", "--periods", "20", "--plot", str(plot)]) == 0
    assert "push-pull" in capsys.readouterr().out
    assert main(["compare", "equal", "--policies", "magic"]) == 2
    assert set(SCENARIOS) >= {"amir", "equal", "speeds", "skewed", "burst", "memory", "churn", "partition"}


def test_omsim_target_says_what_was_reached(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["target", "pingpong", "--seeds", "2", "--seconds", "4", "--json"]) in (0, 1)
    rows = json.loads(capsys.readouterr().out)
    assert {row["target"] for row in rows} == {"pingpong"}
    assert all({"name", "value", "bound", "passed"} <= set(row) for row in rows)
