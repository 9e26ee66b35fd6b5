"""Processes away and guests as the daemon and its clients see them; guests are read from the run directory."""

from __future__ import annotations

from pathlib import Path

import msgspec

from migrated.core.hints import Hints
from migrated.shim.guest_spec import GuestSpec
from migrated.survey.facts import ProcessVanished, read_facts


class Away(msgspec.Struct, frozen=True):
    """A process whose home is here; `node` is where its body runs, 0 while that is not decided."""

    pid: int
    start_ticks: int
    node: int
    uid: int
    moves: int


class Guest(msgspec.Struct, frozen=True):
    """A process whose home is another node; `pid` is its PID at home, `host_pid` that on this machine (0 unknown)."""

    migration_id: str
    pid: int
    home: int
    uid: int
    command: str
    shim_pid: int
    host_pid: int = 0
    came_from: int = 0
    hints: Hints = Hints()


class _GuestFile(msgspec.Struct):
    pid: int
    home: int
    uid: int
    command: str
    shim_pid: int
    shim_start_ticks: int
    host_pid: int = 0
    came_from: int = 0
    hints: Hints = Hints()


def read_guests(run_dir: Path) -> list[Guest]:
    """Every guest whose shim is alive, by home and PID.  Unreadable entries are not guests."""
    return [guest for guest in known_guests(run_dir) if (run_dir / "guests" / guest.migration_id / "ran").exists()]


def known_guests(run_dir: Path) -> list[Guest]:
    """The same with those that are still arriving."""
    found = []
    for path in (run_dir / "guests").glob("*/guest.json"):
        try:
            entry = msgspec.json.decode(path.read_bytes(), type=_GuestFile)
            alive = read_facts(entry.shim_pid).start_ticks == entry.shim_start_ticks
        except (OSError, msgspec.DecodeError, ProcessVanished):
            continue
        if alive:
            found.append(
                Guest(
                    migration_id=path.parent.name,
                    pid=entry.pid,
                    home=entry.home,
                    uid=entry.uid,
                    command=entry.command,
                    shim_pid=entry.shim_pid,
                    host_pid=entry.host_pid,
                    came_from=entry.came_from,
                    hints=entry.hints,
                )
            )
    return sorted(found, key=lambda guest: (guest.home, guest.pid))


def write_guest(directory: Path, spec: GuestSpec, shim_pid: int, host_pid: int) -> None:
    """Make a guest known (atomically)."""
    entry = _GuestFile(
        pid=spec.pid,
        home=spec.home,
        uid=spec.uid,
        command=spec.command,
        shim_pid=shim_pid,
        shim_start_ticks=read_facts(shim_pid).start_ticks,
        host_pid=host_pid,
        came_from=spec.pages_from,
        hints=spec.hints,
    )
    draft = directory / ".guest.json"
    draft.write_bytes(msgspec.json.encode(entry))
    draft.rename(directory / "guest.json")
