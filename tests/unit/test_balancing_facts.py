"""The sampler and what is made of its sweeps: on real child processes that are in known states, without timing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from balancer.decay import DecayChoice
from balancer.events import ProcessSample
from migrated.core.hints import Hints
from omdiscd.admin.interfaces import Destination, GuestHere, ProcessAway, Progress, Usage
from omdiscd.admin.service import AdminService
from omdiscd.balancing import facts as facts_module
from omdiscd.balancing.away import MAX_ASKED, AwayWatch
from omdiscd.balancing.delivery import Delivery
from omdiscd.balancing.facts import REASONS_FOR_S, REFUSED_FOR_S, ProcessFactsOfHere
from omdiscd.balancing.sampler import Sampler, Seen, age_s, cpu_used_s, uptime_s
from omdiscd.core.admin_process import ProcessRules

DEADLINE_S = 60.0


@pytest.fixture
def spinner() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _found(sampler: Sampler, pid: int) -> Seen:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        for entry in sampler.sweep(time.monotonic()):
            if entry.pid == pid:
                return entry
    raise AssertionError(f"process {pid} was never seen to be busy")


def test_a_process_that_wants_the_cpu_is_seen(spinner: int) -> None:
    entry = _found(Sampler(), spinner)
    assert entry.parent == os.getpid()
    assert entry.uid == os.getuid()
    assert entry.threads >= 1
    assert entry.rss_bytes > 0
    assert age_s(entry, uptime_s()) >= 0.0


def test_cpu_time_and_delay_of_a_process_only_grow(spinner: int) -> None:
    sampler = Sampler()
    before = _found(sampler, spinner)
    end = time.monotonic() + DEADLINE_S
    while (after := _found(sampler, spinner)).cpu_s <= before.cpu_s:
        assert time.monotonic() < end
    assert after.run_delay_s >= before.run_delay_s
    assert cpu_used_s(spinner) >= after.cpu_s


def test_a_process_that_sleeps_or_has_ended_is_not_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as sleeper:
        sampler = Sampler()
        end = time.monotonic() + DEADLINE_S
        now = 0.0
        while any(entry.pid == sleeper.pid for entry in sampler.sweep(now)) or now < 8.0:
            now += 1.0
            assert time.monotonic() < end
        sleeper.kill()
    assert all(entry.pid != sleeper.pid for entry in sampler.sweep(now + 1.0))
    assert cpu_used_s(sleeper.pid) == 0.0


class Migration:
    """Guests and processes away as the tests want them; counts what it is asked."""

    def __init__(self) -> None:
        self.guest_list: list[GuestHere] = []
        self.away_list: list[ProcessAway] = []
        self.asked_reasons: list[int] = []
        self.asked_usage: list[int] = []
        self.reasons: tuple[str, ...] = ()
        self.silent: set[int] = set()
        self.delay_s: float | None = None

    def guests(self) -> Sequence[GuestHere]:
        return self.guest_list

    def away(self) -> Sequence[ProcessAway]:
        return self.away_list

    def nmigs(self, pid: int) -> int:
        return 0

    def cantmove(self, pid: int) -> Sequence[str]:
        self.asked_reasons.append(pid)
        return self.reasons

    async def usage(self, pid: int) -> Usage | None:
        self.asked_usage.append(pid)
        delay_s = pid / 100 if self.delay_s is None else self.delay_s
        return None if pid in self.silent else Usage(cpu_s=pid / 10, rss_bytes=1, run_delay_s=delay_s)

    async def move(
        self, pid: int, to: Destination, progress: Progress, hints: Hints | None = None
    ) -> Mapping[str, Any]:
        raise NotImplementedError

    async def send_guest(self, pid: int, to: Destination, hints: Hints | None = None) -> None:
        raise NotImplementedError


JOB = Seen(50, 1, 1, 50, 40, 0, 1000, "job", 1, 3.0, 1.5, 4096, True, 0.0)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    migration, rules = Migration(), ProcessRules()
    sweep = [JOB]
    monkeypatch.setattr(facts_module, "Sampler", lambda: SimpleNamespace(sweep=lambda now: list(sweep)))
    monkeypatch.setattr(facts_module, "_control_group", lambda pid: "/")
    chosen = SimpleNamespace(rules=rules)
    administration = SimpleNamespace(processes=SimpleNamespace(rules=lambda pid: chosen.rules))
    facts = ProcessFactsOfHere(cast(AdminService, administration), migration)
    return SimpleNamespace(facts=facts, migration=migration, sweep=sweep, chosen=chosen)


def test_a_job_of_here_is_told_with_what_it_used(bench: SimpleNamespace) -> None:
    (sample,) = bench.facts.sample(0.0, 1, (2, 3))
    assert (sample.pid, sample.home, sample.cpu_s, sample.run_delay_s, sample.rss_bytes) == (50, 1, 3.0, 1.5, 4096.0)
    assert (sample.exempt, sample.vetoes, sample.locked, sample.allowed) == ("", (), False, None)
    assert sample.decay == DecayChoice("slow", 975, 2)


def test_a_guest_has_its_home_and_no_rules_of_here(bench: SimpleNamespace) -> None:
    bench.migration.guest_list = [GuestHere(pid=50, home=3, home_pid=9, uid=1000)]
    bench.chosen.rules = ProcessRules(lock=True)
    (sample,) = bench.facts.sample(0.0, 1, (2, 3))
    assert (sample.home, sample.locked, sample.exempt) == (3, False, "")
    assert bench.migration.asked_reasons == []


def test_what_is_left_of_a_process_away_is_no_load(bench: SimpleNamespace) -> None:
    bench.migration.away_list = [ProcessAway(50, 2)]
    assert bench.facts.sample(0.0, 1, (2, 3)) == []


def test_a_lock_is_obeyed(bench: SimpleNamespace) -> None:
    bench.chosen.rules = ProcessRules(lock=True)
    (sample,) = bench.facts.sample(0.0, 1, (2, 3))
    assert sample.locked


def test_reasons_are_asked_for_only_now_and_then(bench: SimpleNamespace) -> None:
    bench.migration.reasons = ("it has a socket",)
    for now in (0.0, 1.0, REASONS_FOR_S - 0.1):
        (sample,) = bench.facts.sample(now, 1, ())
        assert sample.vetoes == ("it has a socket",)
    assert bench.migration.asked_reasons == [50]
    bench.migration.reasons = ()
    (sample,) = bench.facts.sample(REASONS_FOR_S + 0.1, 1, ())
    assert sample.vetoes == ()


def test_many_new_processes_are_looked_at_in_turns(bench: SimpleNamespace) -> None:
    bench.sweep[:] = [Seen(pid, 1, 1, pid, 40, 0, 1000, "job", 1, 3.0, 1.5, 1, True, 0.0) for pid in range(100, 130)]
    first = bench.facts.sample(0.0, 1, ())
    assert sum(sample.vetoes == ("not looked at yet",) for sample in first) == 30 - facts_module.MAX_SURVEYS
    second = bench.facts.sample(1.0, 1, ())
    assert all(sample.vetoes == () for sample in second)


def test_a_process_that_could_not_be_moved_rests(bench: SimpleNamespace) -> None:
    bench.facts.refused(50)
    (sample,) = bench.facts.sample(10.0, 1, ())
    assert sample.vetoes
    (sample,) = bench.facts.sample(10.0 + REFUSED_FOR_S + 1.0, 1, ())
    assert sample.vetoes == ()


def test_processes_away_are_asked_a_bounded_number_at_a_time() -> None:
    migration = Migration()
    migration.away_list = [ProcessAway(pid, 2) for pid in range(1, MAX_ASKED + 11)]
    watch = AwayWatch(migration)
    asyncio.run(watch.ask())
    assert len(migration.asked_usage) == MAX_ASKED
    asyncio.run(watch.ask())
    assert set(migration.asked_usage) == {entry.pid for entry in migration.away_list}
    sample = next(sample for sample in watch.samples() if sample.pid == 10)
    assert (sample.node, sample.cpu_s, sample.run_delay_s) == (2, 1.0, 0.1)


def test_who_does_not_answer_or_has_moved_on_is_left_out() -> None:
    migration = Migration()
    migration.away_list = [ProcessAway(1, 2), ProcessAway(3, 2), ProcessAway(5, 2)]
    migration.silent = {1}
    watch = AwayWatch(migration)
    asyncio.run(watch.ask())
    migration.away_list = [ProcessAway(1, 2), ProcessAway(3, 4), ProcessAway(5, 2)]
    assert [sample.pid for sample in watch.samples()] == [5]


def _used(cpu_s: float, run_delay_s: float) -> ProcessSample:
    return ProcessSample(pid=1, home=1, cpu_s=cpu_s, run_delay_s=run_delay_s, rss_bytes=0.0)


def test_a_node_that_gets_less_than_its_quota_knows_it() -> None:
    delivery = Delivery()
    for second in range(10):
        delivery.observe([_used(0.4 * second, 0.6 * second)], 0.4, float(second))
    assert not delivery.is_short
    for second in range(10, 20):
        delivery.observe([_used(4.0 + 0.1 * (second - 10), 6.0 + 0.9 * (second - 10))], 0.4, float(second))
    assert delivery.is_short


def test_waiting_elsewhere_is_no_reproach_while_we_wait_here() -> None:
    migration, short = Migration(), [True]
    migration.away_list = [ProcessAway(5, 2)]
    watch = AwayWatch(migration, lambda: short[0])

    def told(delay_s: float) -> float:
        migration.delay_s = delay_s
        asyncio.run(watch.ask())
        (sample,) = watch.samples()
        return sample.run_delay_s

    assert told(1.0) == 1.0
    assert told(4.0) == 1.0
    short[0] = False
    assert told(5.0) == 2.0
