"""Freezing a process (or a whole tree) in a cgroup of its own, without its parent noticing.

Prefers the cgroup-v2 freezer and falls back to the v1 freezer hierarchy. Makes `om.<label>` under the process's
present group, or under the hierarchy's root when that one refuses, and puts the processes back on release. The
record of it can be stored, so that another process can thaw and release after a crash.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from migrated.deputy.error import FreezeFailed, ProcessGone

_RMDIR_TIMEOUT_S = 5.0
_POLL_S = 0.001


class Freezer:
    """A cgroup that holds `pids`; create it with `create` or `from_json`."""

    def __init__(self, pids: list[int], path: Path, homes: list[str], is_v2: bool) -> None:
        self.pids = pids
        self.path = path
        self.is_v2 = is_v2
        self._homes = homes

    @classmethod
    def create(cls, pid: int | Sequence[int], label: str) -> Freezer:
        """Make the group for one process or several; nothing is moved or frozen yet.

        Raises ProcessGone, FreezeFailed (no freezer on this machine, or no right to make a group).
        """
        pids = [pid] if isinstance(pid, int) else list(pid)
        why = "no cgroup freezer is mounted"
        for root, is_v2 in hierarchies():
            homes = [str(root / _group_of(each, is_v2).lstrip("/")) for each in pids]
            for parent in dict.fromkeys((Path(homes[0]), root)):
                path = parent / f"om.{label}"
                try:
                    path.mkdir(exist_ok=True)
                except OSError as error:
                    why = f"{path}: {error.strerror}"
                    continue
                if (path / ("cgroup.freeze" if is_v2 else "freezer.state")).exists():
                    return cls(pids, path, homes, is_v2)
                path.rmdir()
        raise FreezeFailed(pids[0], why)

    def freeze(self, timeout_s: float = 5.0) -> None:
        """Move the processes in and freeze them; blocks until all stand still.

        Raises FreezeFailed (thawed again; they run on), ProcessGone.
        """
        try:
            # Frozen first, filled afterwards: the processes do not run one instruction in the new group.
            self._switch(True)
            for pid in self.pids:
                self._move(pid, self.path)
            self._wait_frozen(time.monotonic() + timeout_s)
        except BaseException:
            with contextlib.suppress(OSError):
                self.thaw()
            raise

    @property
    def frozen(self) -> bool:
        """Whether all of its processes stand still."""
        return self.path_exists() and self._is_frozen()

    def refreeze(self) -> None:
        """Freeze again what is still in the group, without waiting."""
        if self.path_exists():
            self._switch(True)

    def path_exists(self) -> bool:
        """Whether the group is there."""
        return self.path.exists()

    def thaw(self) -> None:
        """Let the processes run; harmless when they do."""
        if self.path_exists():
            self._switch(False)

    def release(self) -> None:
        """Thaw, put every process back into the group it came from and remove ours. Harmless when it is gone."""
        if not self.path_exists():
            return
        self.thaw()
        homes = dict(zip(self.pids, self._homes, strict=True))
        deadline = time.monotonic() + _RMDIR_TIMEOUT_S
        while True:
            for pid in self._members():
                home = Path(homes.get(pid, self._homes[0]))
                with contextlib.suppress(ProcessGone):
                    try:
                        self._move(pid, home)
                    except FreezeFailed:
                        self._move(pid, self.path.parent)
            try:
                self.path.rmdir()
                return
            except FileNotFoundError:
                return
            except OSError as error:
                # A process that is just ending keeps the group busy for a moment.
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
            time.sleep(_POLL_S)

    def to_json(self) -> dict[str, Any]:
        """The record from which `from_json` makes an equal freezer."""
        return {"pids": self.pids, "path": str(self.path), "homes": self._homes, "v2": self.is_v2}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Freezer:
        """A freezer from a stored record. Raises KeyError, TypeError for something else."""
        return cls(
            [int(pid) for pid in record["pids"]],
            Path(record["path"]),
            [str(home) for home in record["homes"]],
            bool(record["v2"]),
        )

    def _switch(self, frozen: bool) -> None:
        if self.is_v2:
            (self.path / "cgroup.freeze").write_text("1" if frozen else "0")
        else:
            (self.path / "freezer.state").write_text("FROZEN" if frozen else "THAWED")

    def _move(self, pid: int, group: Path) -> None:
        try:
            (group / "cgroup.procs").write_text(str(pid))
        except ProcessLookupError as error:
            raise ProcessGone(pid) from error
        except OSError as error:
            raise FreezeFailed(pid, f"{group}: {error.strerror}") from error

    def _members(self) -> list[int]:
        try:
            return [int(line) for line in (self.path / "cgroup.procs").read_text().split()]
        except OSError:
            return []

    def _is_frozen(self) -> bool:
        if self.is_v2:
            return "frozen 1" in (self.path / "cgroup.events").read_text()
        return (self.path / "freezer.state").read_text().strip() == "FROZEN"

    def _wait_frozen(self, deadline: float) -> None:
        while not self._is_frozen():
            for pid in self.pids:
                if not os.path.exists(f"/proc/{pid}"):
                    raise ProcessGone(pid)
            if time.monotonic() > deadline:
                raise FreezeFailed(self.pids[0], "it does not come to a standstill")
            time.sleep(_POLL_S)


def hierarchies() -> list[tuple[Path, bool]]:
    """Mount points of the v2 hierarchy and of the v1 freezer, v2 first. Source: /proc/self/mountinfo, proc(5)."""
    found: list[tuple[Path, bool]] = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ")[:3]
        mount_point = Path(before.split(" ")[4].replace("\\040", " "))
        if kind == "cgroup2":
            found.append((mount_point, True))
        elif kind == "cgroup" and "freezer" in options.split(","):
            found.append((mount_point, False))
    return sorted(found, key=lambda entry: not entry[1])


def _group_of(pid: int, is_v2: bool) -> str:
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessGone(pid) from error
    for line in lines:
        hierarchy, controllers, group = line.split(":", 2)
        if (hierarchy == "0" and not controllers) if is_v2 else ("freezer" in controllers.split(",")):
            return group
    return "/"
