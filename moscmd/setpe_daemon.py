"""The daemon as `setpe` handles it: its map, starting it with a map, stopping it.

Owns writing the map file so that it is there as a whole or not at all, and waiting until a daemon that was told
to end has ended.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from omprotocol.control import request
from omprotocol.errors import EXIT_FAILED, EXIT_NO_DAEMON, EXIT_TIMEOUT, MosixError
from omprotocol.paths import Paths
from omprotocol.static_map import MapAlias, StaticMap, map_of

STOPPING_S = 60.0
STARTING_S = 60.0
SETTLING_S = 30.0
LOOK_S = 0.05


def running_map() -> dict[str, Any] | None:
    """The daemon's own number, whether it runs by a map, and all nodes as `table`; None without a daemon."""
    try:
        answer = request("showmap")
    except MosixError as error:
        if error.exit_status == EXIT_NO_DAEMON or error.code == "bad-answer":  # it ends, or starts anew
            return None
        raise
    singles = map_of([(e["node"], IPv4Address(e["address"])) for e in answer["entries"] if e["count"] is not None])
    aliases = tuple(MapAlias(e["node"], IPv4Address(e["address"])) for e in answer["entries"] if e["count"] is None)
    return answer | {"table": StaticMap(singles.ranges if singles else (), aliases)}


def is_running() -> bool:
    """Whether a daemon answers."""
    return running_map() is not None


def install(path: Path, text: str) -> Callable[[], None]:
    """Put the map in place; returns what puts the old one back. Raises OSError."""
    before = path.read_bytes() if path.exists() else None
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    _replace(path, text.encode("ascii"))

    def restore() -> None:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            _replace(path, before)

    return restore


def start_daemon(interface: str) -> None:
    """Start omdiscd on an interface; it has become a daemon when this returns. Raises MosixError."""
    beside = Path(sys.argv[0]).resolve().parent / "omdiscd"
    program = str(beside) if beside.exists() else shutil.which("omdiscd")
    if program is None:
        raise MosixError("no-omdiscd", "omdiscd is not installed.", EXIT_FAILED)
    try:
        ended = subprocess.run(
            [program, "-i", interface], stderr=subprocess.PIPE, text=True, timeout=STARTING_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise MosixError("timeout", f"omdiscd did not start within {STARTING_S:g} s.", EXIT_TIMEOUT) from None
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or ["it says no reason"]
        raise MosixError("not-started", f"omdiscd could not be started: {lines[-1]}", EXIT_FAILED)


def wait_for_number(node: int) -> None:
    """Wait until the daemon runs as this node. Raises MosixError when it does not, and says why."""
    deadline = time.monotonic() + SETTLING_S
    while True:
        answer = running_map()
        if answer is not None and answer["node"] == node:
            return
        taken_by = answer["taken_by"] if answer is not None else None
        if taken_by:
            raise MosixError("number-taken", f"Node number {node} is in use by {taken_by}.", EXIT_FAILED)
        if time.monotonic() > deadline:
            raise MosixError("timeout", f"omdiscd did not become node {node}: see its log.", EXIT_TIMEOUT)
        time.sleep(LOOK_S)


def remove(paths: Paths) -> None:
    """Stop the daemon, wait for its end, and set the map aside as *.off. Raises MosixError."""
    pid = _daemon_pid(paths.pid_file)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOPPING_S
        while _daemon_pid(paths.pid_file) == pid:
            if time.monotonic() > deadline:
                raise MosixError("timeout", f"omdiscd (pid {pid}) did not end within {STOPPING_S:g} s.", EXIT_TIMEOUT)
            time.sleep(LOOK_S)
    if paths.map_file.exists():
        paths.map_file.rename(paths.map_file.with_name(paths.map_file.name + ".off"))


def _daemon_pid(path: Path) -> int | None:
    try:
        pid = int(path.read_text(encoding="ascii"))
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if b"omdiscd" in command else None


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(data)
    beside.chmod(0o644)
    beside.replace(path)
