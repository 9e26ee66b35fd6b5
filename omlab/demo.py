"""The demonstration behind `make demo`, about a minute long.

Three virtual nodes; six CPU-bound jobs of an ordinary user on node 1 spread over all, one of them is moved by
hand, all come home, and their output is checked against the same jobs run without moving. It leaves
nothing behind, whether it succeeds, fails or is interrupted.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from omlab.cluster import Cluster
from omlab.demo_view import Job, View
from omlab.node import Node
from omlab.node_root import ORDINARY_HOME, ORDINARY_USER
from omlab.process import PIPE, NodeProcess
from omprotocol.control import request
from omprotocol.errors import MosixError
from omprotocol.paths import Paths

NODES = 3
JOBS = 6
QUOTA_PERCENT = 60  # of one core for each node: that three fit on two cores, and that spreading pays
AWAY_S = 5.0
_STEP_TIMEOUT_S = 120.0
_LOG_LINES = 15

# Works for the given number of rounds; for -1, until the file `enough` appears.
JOB_PROGRAM = """\
import hashlib, os, sys
seed, rounds = sys.argv[1].encode(), int(sys.argv[2])
done = 0
while done != rounds:
    for _ in range(250_000):
        seed = hashlib.sha256(seed).digest()
    done += 1
    print(done, seed.hex()[:24], flush=True)
    if rounds < 0 and os.path.exists("enough"):
        break
"""


class DemoFailed(Exception):
    """Something did not go as it must; the text is for the user."""


class Demo:
    """One run. `run` tells the story and raises DemoFailed, or errors of the cluster."""

    def __init__(self, cluster: Cluster, view: View) -> None:
        self._cluster = cluster
        self._view = view
        self._home = cluster.nodes[1]
        self._jobs: list[Job] = []
        self._processes: list[NodeProcess] = []
        self._paths = Paths(run_dir=self._home.path_of("/run/openmosix"))
        self._moves: dict[int, int] = {}

    @property
    def moves(self) -> int:
        """Moves of all jobs so far."""
        return sum(self._moves.values())

    def run(self) -> None:
        """The whole story. Blocks for about a minute."""
        self._meet()
        self._start_jobs()
        self._spread()
        self._watch(AWAY_S)
        self._move_by_hand()
        self._watch(AWAY_S / 2)
        self._bring_home()
        rounds = self._finish()
        self._check(rounds)

    def _meet(self) -> None:
        def all_known() -> bool:
            told = self._home.run(["showmap"]).stdout
            return len(re.findall(r"^0x", told, re.MULTILINE)) == NODES

        self._cluster.wait_for(all_known, f"all {NODES} nodes in the map", _STEP_TIMEOUT_S)
        self._view.say("The nodes have found each other:\n")
        self._view.say("    " + self._home.run(["showmap"]).stdout.strip().replace("\n", "\n    ") + "\n")

    def _start_jobs(self) -> None:
        home = self._home.path_of(ORDINARY_HOME)
        (home / "job.py").write_text(JOB_PROGRAM)
        self._view.say(f"{JOBS} jobs of the user {ORDINARY_USER} start on node 1 (their program exists only there).")
        for number in range(1, JOBS + 1):
            process = self._home.popen(
                [_python(), "job.py", f"seed {number}", "-1"],
                user=ORDINARY_USER,
                stdout=f"{ORDINARY_HOME}/job{number}.out",
                stderr=f"{ORDINARY_HOME}/job{number}.err",
            )
            self._processes.append(process)
            self._jobs.append(Job(f"job{number}", process.pid, 1))

        def all_work() -> bool:
            self._all_alive()
            return all(job.rounds for job in self._jobs)

        self._until(all_work, "the first round of every job")

    def _spread(self) -> None:
        self._view.say("They spread over the cluster by themselves.")

        def are_spread() -> bool:
            self._all_alive()
            return len({job.node for job in self._jobs}) == NODES

        self._until(are_spread, "a job on every node")

    def _move_by_hand(self) -> None:
        self._view.say("The balancer is told to let things be, on every node:  $ mosctl stay")
        for node in self._cluster.nodes.values():
            node.run(["mosctl", "stay"])
        job = next((job for job in self._jobs if job.node != 3), self._jobs[0])
        self._view.say(f"One is moved by hand:  $ migrate {job.pid} 3")
        self._migrate(job, "3", 3)

    def _bring_home(self) -> None:
        self._view.say("All come home:  $ migrate PID home")
        for job in self._jobs:
            if job.node != 1:
                self._migrate(job, "home", 1)

    def _migrate(self, job: Job, to: str, node: int) -> None:
        command = ["migrate", str(job.pid), to]
        with self._home.popen(command, user=ORDINARY_USER, stdout=PIPE, stderr="stdout") as process:
            self._until(lambda: process.poll() is not None, f"the end of {' '.join(command)}")
            output = process.communicate()[0].decode().strip()
            if process.returncode != 0:
                raise DemoFailed(f"{' '.join(command)}: {output or f'exit status {process.returncode}'}")
        self._all_alive()
        job.node = node

    def _all_alive(self) -> None:
        for job, process in zip(self._jobs, self._processes, strict=True):
            if process.poll() is not None:
                errors = (self._home.path_of(ORDINARY_HOME) / f"{job.name}.err").read_text()
                raise DemoFailed(f"{job.name} ended too early, status {process.returncode}. {errors}")

    def _finish(self) -> list[int]:
        (self._home.path_of(ORDINARY_HOME) / "enough").touch()
        self._until(lambda: all(process.poll() is not None for process in self._processes), "the end of the jobs")
        for job, process in zip(self._jobs, self._processes, strict=True):
            if process.returncode != 0:
                errors = (self._home.path_of(ORDINARY_HOME) / f"{job.name}.err").read_text()
                raise DemoFailed(f"{job.name} ended with status {process.returncode}. {errors}")
        return [job.rounds for job in self._jobs]

    def _check(self, rounds: list[int]) -> None:
        self._view.say("The same jobs once more, each from start to end on one node, to compare.")
        checks = []
        for number, count in enumerate(rounds, 1):
            node = self._cluster.nodes[(number - 1) % NODES + 1]
            # The program as text: on the other nodes its file does not exist.
            command = [_python(), "-c", JOB_PROGRAM, f"seed {number}", str(count)]
            checks.append(node.popen(command, user=ORDINARY_USER, stdout=PIPE, stderr="stdout"))
        for number, check in enumerate(checks, 1):
            expected = check.communicate(timeout_s=_STEP_TIMEOUT_S)[0]
            check.close()
            if self._output(f"job{number}") != expected:
                raise DemoFailed(f"the output of job{number} is not that of a run without moving")

    def _watch(self, duration_s: float) -> None:
        end = time.monotonic() + duration_s
        self._until(lambda: time.monotonic() > end, "a while")

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + _STEP_TIMEOUT_S
        while True:
            self._look()
            self._view.show(self._jobs)
            if condition():
                return
            if time.monotonic() > end:
                raise DemoFailed(f"waited {_STEP_TIMEOUT_S:g} s for {what}")
            time.sleep(0.1)

    def _look(self) -> None:
        for job in self._jobs:
            job.rounds = self._output(job.name).count(b"\n")
            try:
                answer = request("where", {"pid": job.pid}, timeout_s=5, paths=self._paths)
            except MosixError:
                continue
            job.node = int(answer["node"]) or 1
            self._moves[job.pid] = int(answer["nmigs"])

    def _output(self, name: str) -> bytes:
        try:
            return (self._home.path_of(ORDINARY_HOME) / f"{name}.out").read_bytes()
        except FileNotFoundError:
            return b""


def _python() -> str:
    system = Path("/usr/bin/python3")
    return str(system if system.exists() else Path(sys.base_prefix) / "bin/python3")


def _explain(cluster: Cluster | None) -> None:
    for number, node in (cluster.nodes if cluster is not None else {}).items():
        lines = _last_lines(node)
        if lines:
            print(f"--- last words of omdiscd on node {number}\n{lines}", file=sys.stderr)


def _last_lines(node: Node) -> str:
    return "\n".join(node.log().splitlines()[-_LOG_LINES:])


def main() -> int:
    """Run the demonstration; exit status 0 when all went well."""
    if os.geteuid() != 0:
        print("make demo needs root: it makes namespaces and migrates processes.", file=sys.stderr)
        return 3
    began = time.monotonic()
    cluster = None
    try:
        with Cluster(NODES, quota_percent=QUOTA_PERCENT) as cluster:
            demo = Demo(cluster, View(NODES))
            try:
                demo.run()
            except BaseException:
                _explain(cluster)
                raise
    except KeyboardInterrupt:
        print("\nInterrupted; nothing is left behind.", file=sys.stderr)
        return 130
    except (DemoFailed, OSError, RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
        print(f"The demonstration failed: {error}", file=sys.stderr)
        return 1
    print(
        f"\n{JOBS} jobs, {demo.moves} moves, all outputs identical to runs without moving, "
        f"{time.monotonic() - began:.0f} s.\nNothing is left behind. Try it yourself: .venv/bin/omlab up 3"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
