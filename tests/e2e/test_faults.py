"""Never lost, never twice: kills and cuts at exact steps of a move; `make faults` has every step times every fault."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from omlab.cluster import Cluster
from tests.support.fault_lab import FaultLab, Mover, Program

pytestmark = [pytest.mark.lab, pytest.mark.criu, pytest.mark.fuse]


@pytest.fixture(scope="module")
def cluster_of_faults(run_label: str) -> Iterator[FaultLab]:
    with Cluster(3, name=f"{run_label}-faults", start_daemon=False) as cluster:
        yield FaultLab(cluster, brief=(3,))


@pytest.fixture
def lab(cluster_of_faults: FaultLab) -> Iterator[FaultLab]:
    yield cluster_of_faults
    cluster_of_faults.wait_clean()


@pytest.mark.parametrize("step", ["home-accepted", "home-frozen", "home-ready", "home-committed"])
def test_a_home_shim_killed_before_the_copy_runs_leaves_it_at_home(lab: FaultLab, step: str) -> None:
    with Program(lab, step) as program:
        with lab.held(lab.home, step) as reached:
            mover = program.move()
            lab.kill(lab.home, reached())
        assert "it runs at home" in mover.result().stderr
        program.goes_on()
        program.ends()


@pytest.mark.parametrize("step", ["home-hollow-pages", "home-away"])
def test_a_home_shim_killed_afterwards_is_a_death_that_is_reported(lab: FaultLab, step: str) -> None:
    with Program(lab, step) as program:
        with lab.held(lab.home, step) as reached:
            mover = program.move()
            lab.kill(lab.home, reached())
        program.was_killed()
        assert mover.result().returncode == 255


@pytest.mark.parametrize("step", ["guest-prepare", "guest-gate", "guest-go"])
def test_a_guest_shim_killed_before_the_copy_runs_leaves_it_at_home(lab: FaultLab, step: str) -> None:
    with Program(lab, step) as program:
        with lab.held(lab.host, step) as reached:
            mover = program.move()
            lab.kill(lab.host, reached())
        assert mover.result().returncode == 255
        program.goes_on()
        program.ends()


def test_a_copy_without_effect_at_home_is_as_if_it_had_not_been(lab: FaultLab) -> None:
    with Program(lab, "effectless", quiet=True) as program:
        with lab.held(lab.host, "guest-running") as reached:
            mover = program.move()
            lab.kill(lab.host, reached())
        assert mover.result().returncode == 255
        program.goes_on()
        program.ends()


@pytest.mark.parametrize(("node", "step"), [("home", "home-pages"), ("host", "guest-gate")])
def test_criu_killed_leaves_it_at_home(lab: FaultLab, node: str, step: str) -> None:
    there = lab.home if node == "home" else lab.host
    with Program(lab, step, user="om") as program:
        with lab.held(there, step) as reached:
            mover = program.move()
            reached()
            for pid in lab.resting_criu(there, step):
                lab.kill(there, pid)
        assert mover.result().returncode == 255
        program.goes_on()
        program.ends()


@pytest.mark.parametrize("step", ["home-frozen", "home-committed"])
def test_a_daemon_killed_in_the_middle_of_a_move_is_not_needed_for_it(lab: FaultLab, step: str) -> None:
    with Program(lab, step) as program:
        with lab.held(lab.home, step) as reached:
            mover = program.move()
            reached()
            lab.home.kill_daemon()
            lab.host.kill_daemon()
            lab.home.start_daemon()
            lab.host.start_daemon()
        assert mover.result().returncode != 0
        lab.home.wait_for(lambda: program.node() == 2, "the process on node 2")
        program.goes_on()
        lab.wait_for_map()
        assert program.move("home").result().returncode == 0
        program.ends()


@pytest.mark.parametrize(
    ("node", "step"), [("home", "home-frozen"), ("home", "home-ready"), ("host", "guest-ran"), ("home", "home-running")]
)
def test_a_process_killed_during_its_move_is_dead_once(lab: FaultLab, node: str, step: str) -> None:
    with Program(lab, step) as program:
        with lab.held(lab.home if node == "home" else lab.host, step) as reached:
            mover = program.move()
            reached()
            program.process.send_signal(signal.SIGKILL)
        program.was_killed()
        mover.join()


@pytest.mark.parametrize("step", ["home-refilling", "home-home"])
def test_a_shim_killed_on_the_way_home_is_a_death_that_is_reported(lab: FaultLab, step: str) -> None:
    with Program(lab, step) as program:
        assert program.move().result().returncode == 0
        with lab.held(lab.home, step) as reached:
            mover = program.move("home")
            lab.kill(lab.home, reached())
        program.was_killed()
        mover.join()


@pytest.mark.parametrize("step", ["home-captured", "home-refilled"])
def test_a_process_killed_on_its_way_home_is_dead_once(lab: FaultLab, step: str) -> None:
    with Program(lab, step) as program:
        assert program.move().result().returncode == 0
        with lab.held(lab.home, step) as reached:
            mover = program.move("home")
            reached()
            program.process.send_signal(signal.SIGKILL)
        program.was_killed()
        mover.join()


def test_two_moves_of_one_process_at_once_are_one_move(lab: FaultLab) -> None:
    with Program(lab, "twice") as program:
        with lab.held(lab.home, "home-frozen") as reached:
            first = program.move(2)
            reached()
            second = Mover(lab.home, program.process, 3).result()
        assert second.returncode == 255
        assert "already sent" in second.stderr
        assert first.result().returncode == 0
        assert program.node() == 2
        program.goes_on()
        program.ends()


def test_many_move_at_once(lab: FaultLab) -> None:
    with ExitStack() as stack:
        programs = [stack.enter_context(Program(lab, f"many{number}")) for number in range(6)]
        for to in (2, "home"):
            for mover in [program.move(to) for program in programs]:
                assert mover.result().returncode == 0, mover.result().stderr
            for program in programs:
                program.goes_on()
        for status, program in enumerate(programs):
            program.ends(status)


def test_an_unwritable_journal_stops_the_move_and_not_the_process(lab: FaultLab) -> None:
    journal = lab.home.path_of("/var/lib/openmosix/journal")
    with Program(lab, "journal") as program:
        os.rename(journal, f"{journal}-away")
        try:
            journal.write_text("no directory")
            done = program.move().result()
        finally:
            journal.unlink()
            os.rename(f"{journal}-away", journal)
        assert done.returncode == 255
        assert "journal" in done.stderr
        program.goes_on()
        assert program.move().result().returncode == 0
        program.ends()


def test_a_guest_out_of_reach_is_held_and_goes_on_when_home_is_back(lab: FaultLab) -> None:
    brief = lab.at_home_on(3)
    with Program(brief, "held") as program:
        assert program.move().result().returncode == 0
        group = lab.guest_group()
        lab.host.link("down")
        try:
            lab.host.wait_for(lambda: _is_held(group), "the hold")
            program.check()
        finally:
            lab.host.link("up")
        lab.wait_for_map()
        program.goes_on()
        program.ends()


def test_a_guest_out_of_reach_for_too_long_ends_on_both_sides(lab: FaultLab) -> None:
    brief = lab.at_home_on(3)
    with Program(brief, "cut") as program:
        assert program.move().result().returncode == 0
        lab.host.link("down")
        try:
            program.was_killed()
            guests = lab.host.path_of("/run/openmosix/guests")
            lab.host.wait_for(lambda: not list(guests.glob("*/guest.json")), "the end of the guest")
        finally:
            lab.host.link("up")
        lab.wait_for_map()


def test_a_cable_cut_after_the_order_to_go_brings_it_back(lab: FaultLab) -> None:
    brief = lab.at_home_on(3)
    with Program(brief, "generals", quiet=True) as program:
        with brief.held(brief.home, "home-committed") as reached:
            mover = program.move()
            reached()
            lab.host.link("down")
        try:
            assert mover.result().returncode != 0
            program.goes_on()
        finally:
            lab.host.link("up")
        lab.wait_for_map()
        program.ends()


def _is_held(group: Path) -> bool:
    """Told to stand still; one that waits for home's files does so when it would return from that."""
    new, old = group / "cgroup.freeze", group / "freezer.state"
    return new.read_text().strip() == "1" if new.exists() else old.read_text().strip() != "THAWED"
