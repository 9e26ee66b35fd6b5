"""Faults at exact steps of a move, in a virtual cluster, and what must be true afterwards.

A shim is held at a named step (see migrated.shim.fault_points), the fault is made, the shim is let go, and the end is
waited for.  Nothing here sleeps for a length of time to be right.
"""

import contextlib
import copy
import json
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

from omlab.cluster import Cluster
from omlab.node import Node
from omlab.process import PIPE, NodeProcess

PYTHON = "/usr/bin/python3"
PROGRAM = Path(__file__).parents[1] / "e2e" / "programs" / "sequence.py"
LEASE_S, GRACE_S = 2.0, 4.0
_HOOKS = "/run/openmosix/fault-points"
_CONFIG = f"[migration]\nlease_s = {LEASE_S}\ngrace_s = {GRACE_S}\n"


class FaultLab:
    """A home node and a host.  The nodes in `brief` give short leases."""

    def __init__(self, cluster: Cluster, brief: tuple[int, ...] = ()) -> None:
        self.cluster = cluster
        self.home, self.host = cluster.nodes[1], cluster.nodes[2]
        self._brief = brief
        for node in cluster.nodes.values():
            self.prepare(node)
        self.wait_for_map()

    def at_home_on(self, number: int) -> "FaultLab":
        """The same lab with another home node."""
        other = copy.copy(self)
        other.home = self.cluster.nodes[number]
        return other

    def prepare(self, node: Node) -> None:
        """Configuration, program and hooks; then the daemon."""
        node.path_of("/etc/openmosix").mkdir(parents=True, exist_ok=True)
        if node.number in self._brief:
            node.path_of("/etc/openmosix/openmosix.toml").write_text(_CONFIG)
        node.path_of("/tmp/sequence.py").write_bytes(PROGRAM.read_bytes())
        node.start_daemon()
        node.path_of(_HOOKS).mkdir(exist_ok=True)

    def wait_for_map(self) -> None:
        """Every node sees every other one."""
        wanted = len(self.cluster.nodes)
        for node in self.cluster.nodes.values():
            node.wait_for(lambda node=node: _up(node) == wanted, f"{wanted} nodes in the map")

    @contextlib.contextmanager
    def held(self, node: Node, step: str) -> Iterator[Callable[[], int]]:
        """Hold whoever reaches `step` on `node`; call what is given to wait until it is there and get its PID."""
        order = node.path_of(f"{_HOOKS}/{step}")
        reached = order.with_suffix(".reached")
        reached.unlink(missing_ok=True)
        order.touch()
        try:
            yield lambda: int(node.wait_for(reached.read_text, f"step {step}"))
        finally:
            order.unlink(missing_ok=True)
            reached.unlink(missing_ok=True)

    def kill(self, node: Node, pid: int) -> None:
        """SIGKILL to a process of the node."""
        node.run(["/bin/bash", "-c", f"kill -9 {pid}"], check=False)

    def home_shim(self, pid: int) -> int:
        """PID of the home shim of a process."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.home.path_of(f"/run/openmosix/away/{pid}/control")))
            client.sendall(b'{"op":"status"}\n')
            return int(json.loads(client.makefile().readline())["result"]["shim_pid"])

    def guest_shim(self, node: Node | None = None) -> int:
        """PID of the one guest shim of the host."""
        found = list((node or self.host).path_of("/run/openmosix/guests").glob("*/guest.json"))
        assert len(found) == 1, found
        return int(json.loads(found[0].read_text())["shim_pid"])

    def criu(self, node: Node) -> list[int]:
        """PIDs of CRIU on a node."""
        return [pid for pid in node.processes() if _is_criu(_command(node, pid))]

    def leftovers(self) -> list[str]:
        """What a move has left behind on any node; empty when all is well."""
        found = []
        for node in self.cluster.nodes.values():
            if not node.path_of("/run").exists():
                continue
            found += self.traces(node)
        return found + _groups(self.cluster.name)

    def traces(self, node: Node) -> list[str]:
        """What a move has left behind in a node."""
        found = [str(path) for path in _inside(node, "/run/openmosix/guests") if path.is_dir()]
        found += [str(path) for path in _inside(node, "/run/openmosix/away")]
        found += [str(path) for path in _inside(node, "/var/lib/openmosix/journal")]
        return found + _stray_processes(node)

    def resting_criu(self, node: Node, step: str) -> list[int]:
        """PIDs of CRIU on a node once it waits: at home for the pages' other end, on a host for the order to go.

        Killed while it makes the process do a system call, CRIU takes the process with it (SIGTRAP).
        """
        place = "unix_stream" if step == "home-pages" else ""

        def waiting() -> list[int]:
            pids = self.criu(node)
            places = {pid: node.path_of(f"/proc/{pid}/wchan").read_text() for pid in pids}
            return [pid for pid, now in places.items() if place in now]

        found: list[int] = node.wait_for(waiting, "CRIU")
        return found

    def guest_group(self) -> Path:
        """The cgroup of the one guest in the lab."""
        found = [Path(group) for group in _groups(self.cluster.name) if "openmosix-guest-" in group]
        assert len(found) == 1, found
        return found[0]

    def wait_clean(self) -> None:
        """Wait until nothing of any move is left."""
        try:
            self.home.wait_for(lambda: not self.leftovers(), "the end of all traces", 40.0)
        except TimeoutError:
            raise AssertionError(f"left behind: {self.leftovers()}") from None


class Gone(AssertionError):
    """The program's pipes have ended."""


class Program:
    """The program sequence.py on the home node."""

    def __init__(self, lab: FaultLab, name: str, *, quiet: bool = False, user: str | None = None) -> None:
        self.lab = lab
        self.log = lab.home.path_of(f"/tmp/{name}")
        self.log.unlink(missing_ok=True)
        argv = [PYTHON, "/tmp/sequence.py", f"/tmp/{name}", *(["quiet"] if quiet else [])]
        self.process = lab.home.popen(argv, user=user, stdin=PIPE, stdout=PIPE, directory="/tmp")
        self.mover: Mover | None = None
        self.message = ""
        self._asked = 0
        assert self._line() == "ready"

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        if self.process.returncode is None:
            self.process.wait()
        self.process.close()
        if self.mover is not None:
            self.mover.join()

    @property
    def pid(self) -> int:
        return self.process.pid

    def move(self, to: int | str = 2) -> "Mover":
        """Begin a move with the command a user would type."""
        self.mover = Mover(self.lab.home, self.process, to)
        return self.mover

    def ask(self) -> int:
        """Have it answer: the number it has come to."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"?\n")
        self._asked += 1
        while self._asked:
            answer = int(self._line())
            self._asked -= 1
        return answer

    def answers(self, within_s: float = 0.5) -> bool:
        """Whether it answers within a while; the answer may come later."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if not self._asked:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(b"?\n")
            self._asked = 1
        if not select.select([self.process.stdout], [], [], within_s)[0]:
            return False
        try:
            self._line()
        except Gone:
            return False
        self._asked -= 1
        return True

    def node(self) -> int:
        """Where it is now, 0 at home."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.lab.home.path_of("/run/openmosix/control")))
            client.sendall(json.dumps({"v": 1, "verb": "where", "args": {"pid": self.pid}}).encode() + b"\n")
            answer = json.loads(client.makefile().readline())
            assert answer["ok"], answer
            return int(answer["result"]["node"])

    def check(self) -> int:
        """One copy, and only one, has written: 1, 2, 3 ... without a gap.  Returns how far."""
        numbers = [int(line) for line in self.log.read_text().splitlines()]
        assert numbers == list(range(1, len(numbers) + 1)), _first_wrong(numbers)
        return len(numbers)

    def goes_on(self) -> None:
        """It answers, and it is one."""
        before = self.ask()
        assert self.ask() > before
        self.check()

    def ends(self, status: int = 7) -> None:
        """It ends when it is told to, with the status it is told."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"exit {status}\n".encode())
        assert self.process.wait() == status
        self.check()

    def was_killed(self) -> None:
        """It has ended with SIGKILL, as its parent sees it, and had been one."""
        assert self.process.wait() == -signal.SIGKILL
        self.check()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            byte = self.process.stdout.read(1)
            if not byte:
                raise Gone(f"the program is gone ({self.process.poll()}); it had said {line!r}")
            line += byte
        return line.decode().strip()


class Mover:
    """A `migrate` under way."""

    def __init__(self, node: Node, process: NodeProcess, to: int | str) -> None:
        self._done: CompletedProcess[str] | None = None
        self._failed: BaseException | None = None
        self._node, self._argv = node, ["migrate", str(process.pid), str(to)]
        self._thread = threading.Thread(target=self._run, name=f"migrate {process.pid}")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._done = self._node.run(self._argv, check=False, timeout_s=100.0)
        except BaseException as error:
            self._failed = error

    def join(self) -> None:
        self._thread.join(110.0)

    def result(self) -> "CompletedProcess[str]":
        """Its end.  Blocks."""
        self.join()
        if self._done is None:
            raise AssertionError(f"migrate did not end: {self._failed}")
        return self._done


def _up(node: Node) -> int:
    done = node.run(["showmap", "--json"], check=False)
    entries = json.loads(done.stdout)["data"]["entries"] if done.returncode == 0 else []
    return sum(1 for entry in entries if entry["state"] in ("alive", "self"))


def _inside(node: Node, path: str) -> list[Path]:
    try:
        return [entry for entry in node.path_of(path).iterdir() if not entry.name.startswith(".")]
    except FileNotFoundError:
        return []


def _command(node: Node, pid: int) -> bytes:
    try:
        return node.path_of(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _is_criu(command: bytes) -> bool:
    """A worker calls itself by what it was asked to do."""
    return b"swrk" in command or b"--rpc" in command


def _stray_processes(node: Node) -> list[str]:
    """Ours that are neither a daemon nor its zygote."""
    found = []
    for pid in node.processes():
        command = _command(node, pid)
        ours = b"migrated" in command or _is_criu(command)
        if ours and not _is_daemons(node, pid):
            found.append(f"{node}: process {pid} {command.replace(chr(0).encode(), b' ').decode(errors='replace')}")
    return found


def _is_daemons(node: Node, pid: int) -> bool:
    try:
        parent = node.path_of(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    except OSError:
        return True
    return b"omdiscd" in _command(node, int(parent))


def _groups(lab: str) -> list[str]:
    found = []
    for top, names, _ in os.walk("/sys/fs/cgroup"):
        if f"omlab-{lab}" in top:
            found += [f"{top}/{name}" for name in names if name.startswith(("om.", "openmosix-guest-"))]
    return found


def _first_wrong(numbers: list[int]) -> str:
    for place, number in enumerate(numbers, 1):
        if number != place:
            return f"line {place} is {number}; around it: {numbers[max(place - 4, 0) : place + 4]}"
    return "?"
