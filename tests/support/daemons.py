"""Real daemons as processes, several on one machine without namespaces: each has a loopback address of its
own.

Owns their directories, keys and configuration, and ending them whatever happened. Finds each other by
seeds, so that no multicast on the loopback interface is needed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omprotocol import control
from omprotocol.errors import MosixError
from omprotocol.paths import Paths

DEADLINE_S = 60.0
KEY = hashlib.sha256(b"test run %d" % os.getpid()).digest()
"""The cluster key of this run: two runs on one machine hear each other, but are two clusters."""
GOSSIP_PORT = 25428
"""Below the ports the kernel gives away, so that no other program has it by accident."""


class OneDaemon:
    """One daemon on address 127.a.b.`number`; a and b follow from the process id of the test run.

    A patient one never calls another dead, however slow the machine is. A twin has an address of another
    network that gives the same node number.
    """

    def __init__(
        self, number: int, seeds: tuple[int, ...] = (), is_patient: bool = True, is_twin: bool = False
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="omdiscd-")
        root = Path(self._directory.name)
        root.chmod(0o755)
        self.paths = Paths(root / "run", root / "state", root / "etc")
        self.address = address_of(number, is_twin)
        self.node = int(self.address.split(".")[2]) << 8 | number
        self.log = root / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.paths.etc_dir.mkdir()
        self.paths.etc_dir.chmod(0o755)
        self.write_key(KEY)
        self.paths.config_file.write_text(
            "[network]\n"
            'interfaces = ["lo"]\n'
            f'address = "{self.address}"\n'
            f"seeds = {json.dumps([address_of(seed) for seed in seeds])}\n"
            f"discovery_port = 21334\ngossip_port = {GOSSIP_PORT}\npeer_port = 24660\n"
            "[hpc]\nenabled = false\n"
            f"[membership]\nsilent_periods = {60.0 if is_patient else 3.0}\n"
        )

    def write_key(self, key: bytes, mode: int = 0o400) -> None:
        """Replace the key file."""
        self.paths.cluster_key.unlink(missing_ok=True)
        self.paths.cluster_key.write_bytes(base64.b64encode(key) + b"\n")
        self.paths.cluster_key.chmod(mode)

    def environment(self) -> dict[str, str]:
        """The environment in which commands and daemon use this node's directories."""
        roots = {"RUN": self.paths.run_dir, "STATE": self.paths.state_dir, "ETC": self.paths.etc_dir}
        return {**os.environ, **{f"OPENMOSIX_{name}_DIR": str(path) for name, path in roots.items()}}

    def run(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of ours to its end."""
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )

    def start(self, state: str = "active") -> None:
        """Start the daemon in the foreground and wait until its claim to its number is in `state`."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "omdiscd.main", "-n"]
            self.process = subprocess.Popen(command, env=self.environment(), stderr=log, stdout=log)
        self.wait_for(lambda status: status["state"] == state)

    def status(self) -> dict[str, Any]:
        """Ask the daemon for its status. Raises MosixError."""
        return control.request("status", timeout_s=DEADLINE_S, paths=self.paths)

    def states(self) -> dict[int, str]:
        """State of every other node this daemon knows."""
        return {member["node"]: member["state"] for member in self.status()["members"]}

    def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Poll the status until the condition holds. Raises AssertionError with the daemon's log."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            try:
                status = self.status()
                if condition(status):
                    return status
            except MosixError:
                if self.process is not None and self.process.poll() is not None:
                    break
            time.sleep(0.05)
        raise AssertionError(f"the daemon of {self.address} did not come so far:\n{self.log.read_text()}")

    def wait_for_state(self, node: int, state: str) -> None:
        """Wait until this daemon sees `node` in `state`."""
        self.wait_for(lambda status: (node, state) in [(m["node"], m["state"]) for m in status["members"]])

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and return the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        """End whatever still runs and remove the directories."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._directory.cleanup()


def address_of(number: int, is_twin: bool = False) -> str:
    """Return the loopback address of a daemon of this test run."""
    pid = os.getpid()
    return f"127.{pid >> 7 & 0x7E | 0x80 | is_twin}.{pid & 0xFF}.{number}"
