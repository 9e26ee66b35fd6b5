"""What the balancer is told: which processes it may move, how large the node is, how fast, who has arrived."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from balancer.speed import MAX_SPEED, MIN_SPEED
from migrated.core.hints import Hints
from omdiscd.admin.interfaces import GuestHere
from omdiscd.balancing import capacity
from omdiscd.balancing.arrivals import came_home, guest_arrived
from omdiscd.balancing.automatic import exempt_reason
from omdiscd.balancing.sampler import Seen
from omdiscd.balancing.speed import FILE, kept_speed, measure

JOB = Seen(
    pid=500,
    start_ticks=1,
    parent=1,
    group=500,
    session=400,
    terminal=0,
    uid=1000,
    command="job",
    threads=1,
    cpu_s=1.0,
    run_delay_s=0.0,
    rss_bytes=1 << 20,
    busy=True,
    looked_at=0.0,
)
NO_PROCESS = 1 << 22


@pytest.mark.parametrize(
    ("seen", "control_group", "why"),
    [
        (JOB, "/", ""),
        (JOB, "/user.slice/user-1000.slice/session-1.scope", ""),
        (JOB, "/system.slice/cron.service", "system service"),
        (JOB, "/init.scope", "system service"),
        (replace(JOB, uid=0), "/", "belongs to the system"),
        (replace(JOB, uid=999), "/", "belongs to the system"),
        (replace(JOB, uid=0, terminal=34816), "/", ""),
        (replace(JOB, uid=0), "/user.slice/user-0.slice/session-1.scope", ""),
        (replace(JOB, command="bash", terminal=34816), "/", "shell on a terminal"),
        (replace(JOB, command="bash"), "/", ""),
        (replace(JOB, session=JOB.pid, terminal=34816), "/", "leads a login session"),
        (replace(JOB, session=JOB.pid), "/", ""),
    ],
)
def test_only_users_jobs_are_moved_by_themselves(seen: Seen, control_group: str, why: str) -> None:
    reason = exempt_reason(seen, control_group)
    assert why in reason
    assert bool(why) == bool(reason)


def test_a_quota_of_version_1_makes_the_node_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.cfs_quota_us").write_text("25000\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    monkeypatch.setattr(capacity, "_groups", lambda controller: [tmp_path] if controller == "cpu" else [])
    assert capacity.processors() == 0.25


def test_the_tightest_quota_of_version_2_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner, outer = tmp_path / "a/b", tmp_path / "a"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    (outer / "cpu.max").write_text("40000 100000\n")
    monkeypatch.setattr(capacity, "_groups", lambda controller: [] if controller else [inner, outer, tmp_path])
    assert capacity.processors() == 0.4


@pytest.mark.parametrize("text", ["-1", "max 100000", "", "nonsense"])
def test_no_quota_leaves_all_processors(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text(text if " " in text else "max 100000")
    (tmp_path / "cpu.cfs_quota_us").write_text("-1")
    (tmp_path / "cpu.cfs_period_us").write_text("100000")
    monkeypatch.setattr(capacity, "_groups", lambda controller: [tmp_path])
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 5})
    assert capacity.processors() == 3.0


def test_a_memory_limit_makes_the_node_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("1200000\n")
    monkeypatch.setattr(capacity, "_groups", lambda controller: [] if controller else [tmp_path])
    assert capacity.memory() == (1000000.0, 1000000.0)


def test_without_limits_the_memory_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "_groups", lambda controller: [])
    monkeypatch.setattr(capacity, "memory_bytes", lambda: (30, 10, 100))
    assert capacity.memory() == (100.0, 70.0)


def test_the_speed_is_measured_once_and_kept(tmp_path: Path) -> None:
    assert kept_speed(tmp_path) is None
    speed = measure(tmp_path)
    assert MIN_SPEED <= speed <= MAX_SPEED
    assert kept_speed(tmp_path) == speed


@pytest.mark.parametrize("text", ["", "fast", "0", "-3", "70000"])
def test_a_spoilt_speed_is_measured_again(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    assert kept_speed(tmp_path) is None


def test_a_speed_that_cannot_be_kept_is_used_all_the_same(tmp_path: Path) -> None:
    assert MIN_SPEED <= measure(tmp_path / "missing") <= MAX_SPEED


def test_a_guest_comes_with_its_lease_and_its_past() -> None:
    hints = Hints(ask_id=7, cpu_s=12.5, age_s=30.0, left=((1, 4.0),))
    event = guest_arrived(GuestHere(pid=70, home=1, home_pid=500, uid=1000, came_from=2, hints=hints))
    assert (event.pid, event.home, event.came_from, event.ask_id) == (70, 1, 2, 7)
    assert (event.cpu_s, event.age_s, event.left) == (12.5, 30.0, ((1, 4.0),))


def test_a_guest_sent_by_hand_comes_from_its_home_without_lease() -> None:
    event = guest_arrived(GuestHere(pid=70, home=1, home_pid=500, uid=1000))
    assert (event.came_from, event.ask_id, event.cpu_s, event.left) == (1, 0, 0.0, ())


def test_a_process_that_came_home_keeps_its_past() -> None:
    event = came_home(NO_PROCESS, 1, 3, Hints(ask_id=9, cpu_s=5.0, age_s=8.0, left=((2, 1.0),)), 15000)
    assert (event.home, event.came_from, event.ask_id, event.cpu_s, event.age_s) == (1, 3, 9, 5.0, 8.0)


@pytest.mark.parametrize(
    "hints",
    [
        {"ask_id": -1},
        {"ask_id": "7"},
        {"cpu_s": -1.0},
        {"cpu_s": float("nan")},
        {"age_s": float("inf")},
        {"left": [[1, -1.0]]},
        {"left": [[1, 1.0]] * 17},
        {"left": "everywhere"},
        7,
    ],
)
def test_hints_that_cannot_be_are_refused(hints: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(hints, Hints)
