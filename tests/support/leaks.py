"""Finds what a test run left behind on the machine.

Everything a run makes carries the run's label: in the environment of its processes and in the names of
its directories, mounts, cgroups and virtual clusters. Only labelled things are reported, so two runs and
the machine's other users never accuse each other. Never removes anything but the run's own directory.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

LABEL_VARIABLE = "OPENMOSIX_TEST_RUN"
# A process killed at the end of a test may take a moment to go.
_GRACE_S = 20.0


class RunLabel:
    """One test run: its label, and its directory for temporary files."""

    def __init__(self) -> None:
        self.name = f"omtest{os.getpid()}"
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir="/tmp"))
        self.directory.chmod(0o755)
        os.environ[LABEL_VARIABLE] = self.name
        os.environ["TMPDIR"] = str(self.directory)
        tempfile.tempdir = str(self.directory)

    def leaks(self) -> list[str]:
        """One line per thing left behind; waits a moment for what is just going away."""
        checks: list[Callable[[], list[str]]] = [
            self._processes,
            self._children,
            self._mounts,
            self._cgroups,
            self._labs,
            self._files,
        ]
        deadline = time.monotonic() + _GRACE_S
        while True:
            found = [line for check in checks for line in check()]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    def _processes(self) -> list[str]:
        mark = f"{LABEL_VARIABLE}={self.name}\0".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or entry.name == str(os.getpid()):
                continue
            try:
                if mark in (entry / "environ").read_bytes() + b"\0":
                    found.append(f"process {entry.name}: {_command_line(entry)}")
            except OSError:
                continue
        return found

    def _children(self) -> list[str]:
        found = []
        for task in Path("/proc/self/task").iterdir():
            try:
                children = (task / "children").read_text().split()
            except OSError:
                continue
            for child in children:
                found.append(f"child process {child}: {_command_line(Path('/proc') / child)}")
        return found

    def _mounts(self) -> list[str]:
        return [f"mount {line}" for line in Path("/proc/self/mounts").read_text().splitlines() if self.name in line]

    def _cgroups(self) -> list[str]:
        found = []
        for root, directories, _ in os.walk("/sys/fs/cgroup"):
            found += [f"cgroup {root}/{name}" for name in directories if self.name in name]
            if root.count("/") > 6:
                directories.clear()
        return found

    def _labs(self) -> list[str]:
        base = Path(os.environ.get("OMLAB_DIR", "/run/omlab"))
        return [f"virtual cluster {path}" for path in base.glob(f"*{self.name}*")]

    def _files(self) -> list[str]:
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        return [f"file {self.directory}/{name}" for name in names if not name.startswith("pytest-of-")]


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "?"
