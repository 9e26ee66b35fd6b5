"""Every step of a move times every fault: `make faults` prints the table, one line per case, and ends with 1 when a
case ended otherwise than it must.  `python -m tests.e2e.fault_matrix [word ...]` takes the cases that contain a word.

What must be true is the commit protocol's (docs/ARCHITECTURE.md): before COMMIT the process goes on at home, after it
there is one copy or a death that is reported; nobody is frozen for ever, nothing runs twice, nothing is left behind.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from omlab.cluster import Cluster
from omlab.node import Node
from tests.support.fault_lab import FaultLab, Program

HOME, AWAY, KILLED, CLEAN = "at home", "away", "killed", "the host is clean"
BEFORE = ("home-offered", "home-accepted", "home-frozen", "home-dumped", "home-prepared", "home-ready")
DECIDED = ("home-committed", "home-gone")
RUNS = ("home-running", "home-hollow-prepare", "home-hollow-pages", "home-hollow-ready", "home-away")
ARRIVING = ("guest-prepare", "guest-gate", "guest-go")
ARRIVED = ("guest-ran", "guest-running")
RETURN = ("home-returning", "home-captured", "home-refilling", "home-refilled", "home-home")


@dataclass(frozen=True)
class Case:
    """One fault at one step; `allowed` are the ends that are right."""

    step: str
    fault: str
    allowed: frozenset[str]
    quiet: bool = True

    @property
    def name(self) -> str:
        return f"{self.step} {self.fault} {'quiet' if self.quiet else 'busy'}"


def cases() -> Iterator[Case]:
    """All of them."""
    for step in BEFORE + ARRIVING[:2]:
        for fault in ("home shim", "guest shim", "cable"):
            if not (fault == "guest shim" and step == "home-offered"):
                yield Case(step, fault, frozenset({HOME}), quiet=False)
        yield Case(step, "cable mended", frozenset({HOME, AWAY}), quiet=False)
        yield Case(step, "process", frozenset({KILLED}), quiet=False)
    for step in BEFORE + DECIDED + RUNS + ARRIVING + ARRIVED:
        yield Case(step, "home daemon", frozenset({AWAY}), quiet=False)
        at_offer = step in ("home-offered",)
        yield Case(step, "host daemon", frozenset({HOME} if at_offer else {AWAY}), quiet=False)
    yield Case("home-pages", "criu", frozenset({HOME}), quiet=False)
    yield Case("guest-gate", "criu", frozenset({HOME}), quiet=False)
    for step in DECIDED + ARRIVING[2:] + ARRIVED:
        for fault in ("home shim", "guest shim", "cable"):
            # After the order to go, word that it runs may be on its way: then it is away when the fault strikes.
            known = step == "home-gone" and fault != "home shim"
            yield Case(step, fault, frozenset({HOME, KILLED} if known else {HOME}), quiet=True)
            yield Case(step, fault, frozenset({HOME, KILLED}), quiet=False)
        yield Case(step, "cable mended", frozenset({HOME, AWAY, KILLED}), quiet=False)
        yield Case(step, "process", frozenset({KILLED}), quiet=False)
    for step in RUNS:
        for fault in ("home shim", "guest shim", "cable"):
            if not (step.startswith("home-hollow") and fault == "cable"):
                # Known to run, it may not have had an effect yet.
                early = step == "home-running" and fault == "home shim"
                yield Case(step, fault, frozenset({HOME, KILLED} if early else {KILLED}), quiet=False)
        yield Case(step, "process", frozenset({KILLED}), quiet=False)
    for step in (*RETURN, "guest-captured"):
        yield Case(step, "home shim", frozenset({KILLED}), quiet=False)
        yield Case(step, "guest shim", frozenset({HOME, KILLED}), quiet=False)
        yield Case(step, "cable", frozenset({HOME, KILLED}), quiet=False)
        yield Case(step, "cable mended", frozenset({HOME, AWAY}), quiet=False)
        yield Case(step, "process", frozenset({KILLED}), quiet=False)
        yield Case(step, "home daemon", frozenset({HOME}), quiet=False)
        yield Case(step, "host daemon", frozenset({HOME}), quiet=False)


def run(lab: FaultLab, case: Case) -> str:
    """Make the fault and return how it ended.  Raises AssertionError when something was twice, lost, or left."""
    returns = case.step in RETURN or case.step == "guest-captured"
    node = lab.host if case.step.startswith("guest") else lab.home
    with Program(lab, "sequence", quiet=case.quiet) as program:
        program.ask()
        if returns:
            moved = program.move().result()
            assert moved.returncode == 0, moved.stderr
        with lab.held(node, case.step) as reached:
            mover = program.move("home" if returns else 2)
            at = reached()
            mend = make(lab, case, program, at)
        program.message = mover.result().stderr.strip()
        end = settled(lab, program)
        mend()
        if end == KILLED:
            program.was_killed()
        else:
            program.goes_on()
            program.ends()
        lab.wait_clean()
        return end


def make(lab: FaultLab, case: Case, program: Program, at: int) -> Callable[[], None]:
    """Make the fault; returns what undoes it at the end."""
    nothing = lambda: None  # noqa: E731
    match case.fault:
        case "home shim":
            lab.kill(lab.home, at if case.step.startswith("home") else lab.home_shim(program.pid))
        case "guest shim":
            lab.kill(lab.host, at if case.step.startswith("guest") else lab.guest_shim())
        case "home daemon" | "host daemon":
            node = lab.home if case.fault == "home daemon" else lab.host
            node.kill_daemon()
            return lambda: _restart(lab, node)
        case "criu":
            node = lab.host if case.step.startswith("guest") else lab.home
            for pid in lab.resting_criu(node, case.step):
                lab.kill(node, pid)
        case "cable":
            lab.host.link("down")
            return lambda: _mend(lab)
        case "cable mended":
            lab.host.link("down")
            lab.host.link("up")
        case "process":
            program.process.send_signal(signal.SIGKILL)
    return nothing


def _restart(lab: FaultLab, node: object) -> None:
    for each in (lab.home, lab.host):
        if each.daemon is None:
            each.start_daemon()
    lab.wait_for_map()


def _mend(lab: FaultLab) -> None:
    lab.host.link("up")
    lab.wait_for_map()


def settled(lab: FaultLab, program: Program) -> str:
    """Where it is in the end."""
    for node in (lab.home, lab.host):
        if node.daemon is None:
            node.start_daemon()
    shim = lab.home.path_of(f"/run/openmosix/away/{program.pid}")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if program.process.poll() is not None:
            return KILLED
        at_home = not shim.exists()
        if program.answers():
            if at_home:
                return HOME
            if shim.exists() and program.node():
                return AWAY
    raise AssertionError("neither at home, nor away, nor dead after 60 s")


def node_dies(name: str, which: str, *, step: str = "", cut: bool) -> str:
    """A whole node is gone at once, with or without its cable; returns how it ended on the other one."""
    with Cluster(2, name=f"faults{os.getpid()}-{name}", start_daemon=False) as cluster:
        lab = FaultLab(cluster, brief=(1,))
        dead, left = (lab.host, lab.home) if which == "host" else (lab.home, lab.host)
        program = Program(lab, "sequence")
        if step:
            with lab.held(lab.home, step) as reached:
                mover = program.move()
                reached()
                _switch_off(dead, cut=cut)
            mover.result()
        else:
            assert program.move().result().returncode == 0
            _switch_off(dead, cut=cut)
        if which == "home":
            left.wait_for(lambda: not lab.traces(left), "the end of all traces on the host", 40.0)
            return CLEAN
        end = settled(lab, program)
        program.was_killed() if end == KILLED else program.goes_on()
        left.wait_for(lambda: not lab.traces(left), "the end of all traces at home", 40.0)
        return end


def _switch_off(node: Node, *, cut: bool) -> None:
    if cut:
        node.link("down")
    os.kill(node.init_pid, signal.SIGKILL)


NODE_DEATHS = (
    ("a", "host", "", False, KILLED),
    ("b", "host", "", True, KILLED),
    ("c", "host", "home-frozen", True, HOME),
    ("d", "home", "", False, CLEAN),
    ("e", "home", "", True, CLEAN),
)


def node_deaths() -> int:
    """Whole nodes; how many ended wrongly."""
    wrong = 0
    for name, which, step, cut, must in NODE_DEATHS:
        began = time.monotonic()
        try:
            seen = node_dies(name, which, step=step, cut=cut)
        except Exception as error:
            seen = f"{type(error).__name__}: {str(error)[:300]}"
        wrong += seen != must
        fault = f"{which} off{' + cable' if cut else ''}"
        mark = "ok   " if seen == must else "WRONG"
        print(
            f"{mark} {step or 'away':20} {fault:15} busy  {must:20} {seen}  ({time.monotonic() - began:.1f} s)",
            flush=True,
        )
    return wrong


def main() -> int:
    """Run the cases named; 1 when one ended wrongly."""
    words = sys.argv[1:]
    wrong = 0
    chosen = [case for case in cases() if not words or any(word in case.name for word in words)]
    lab_cluster: Cluster | None = None
    try:
        for case in chosen:
            if lab_cluster is None:
                lab_cluster = Cluster(2, name=f"faults{os.getpid()}-{int(time.monotonic())}", start_daemon=False)
                lab = FaultLab(lab_cluster, brief=(1,))
            began = time.monotonic()
            try:
                seen = run(lab, case)
            except Exception as error:
                seen = f"{type(error).__name__}: {str(error)[:300]}"
                if os.environ.get("FAULTS_VERBOSE"):
                    traceback.print_exc()
                    print(lab_cluster.logs()[-6000:])
            right = seen in case.allowed
            wrong += not right
            must = " or ".join(sorted(case.allowed))
            print(
                f"{'ok   ' if right else 'WRONG'} {case.step:20} {case.fault:13} {'quiet' if case.quiet else 'busy':6}"
                f"{must:20} {seen}  ({time.monotonic() - began:.1f} s)",
                flush=True,
            )
            if not right:
                lab_cluster.down()
                lab_cluster = None
    finally:
        if lab_cluster is not None:
            lab_cluster.down()
    count = len(chosen)
    if not words or "nodes" in words:
        wrong += node_deaths()
        count += len(NODE_DEATHS)
    print(f"{count} cases, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
