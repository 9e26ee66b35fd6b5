"""The guests of this node, from the hpc tree: who they are, what they use, and sending them away.

Owns reading and writing `remote/PID/*`. The daemon behind the tree judges by the uid of this process, as it does
for everybody who writes to these files.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from omprotocol.errors import EXIT_FAILED, EXIT_NOT_FOUND, EXIT_REFUSED, MosixError
from openmosixview.user import user_name

MAX_GUESTS = 1000
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
WORDS = {"home": "0", "balance": "-1"}


def guests_here(hpc_dir: Path) -> list[dict[str, Any]]:
    """Every guest: pid here, home, pid at home, user, command, state, times in s, sizes in bytes. Blocks."""
    try:
        names = [name for name in os.listdir(hpc_dir / "remote") if name.isdecimal()]
    except OSError:
        message = f"The files of the guests are not there ({hpc_dir}): the daemon runs without FUSE, or not at all."
        raise MosixError("no-tree", message, EXIT_FAILED) from None
    guests = []
    for name in sorted(names, key=int)[:MAX_GUESTS]:
        try:
            guests.append(_guest(hpc_dir / "remote" / name, int(name)))
        except (OSError, ValueError, KeyError):
            continue  # it left while it was looked at
    return guests


def send_guest(hpc_dir: Path, pid: int, to: str) -> None:
    """Send a guest `home` or wherever is best (`balance`); returns once it is ordered. Blocks. Raises MosixError."""
    try:
        (hpc_dir / "remote" / str(pid) / "goto").write_text(WORDS[to])
    except FileNotFoundError:
        raise MosixError("no-such-process", f"No guest with PID {pid} is here.", EXIT_NOT_FOUND) from None
    except PermissionError:
        message = f"Permission denied: guest {pid} belongs to another user."
        raise MosixError("permission", message, EXIT_REFUSED) from None
    except OSError as error:
        raise MosixError("failed", f"Guest {pid} cannot be sent away: {error.strerror}.") from None


def _guest(directory: Path, pid: int) -> dict[str, Any]:
    identity, stats = _lines(directory / "identity"), _lines(directory / "stats")
    uid = int(identity["uid"])
    return {
        "pid": pid,
        "home": int((directory / "from").read_text()),
        "home_pid": int(identity["pid"]),
        "uid": uid,
        "user": user_name(uid),
        "command": identity.get("command", "")[:300],
        "nmigs": int(identity.get("nmigs", "0")),
        "state": stats.get("state", "?")[:1],
        "nice": int(stats.get("nice", "0")),
        "cpu_s": round(int(stats.get("utime", "0")) / TICKS_PER_S, 2),
        "vsize_bytes": int(stats.get("vsize", "0")),
        "rss_bytes": int(stats.get("rss", "0")) * PAGE_BYTES,
    }


def _lines(path: Path) -> dict[str, str]:
    pairs = (line.partition("=") for line in path.read_text(errors="replace").splitlines())
    return {name: value for name, _, value in pairs}
