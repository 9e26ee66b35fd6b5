"""A cgroup freezer of our own around one process tree: v2 where it is mounted, v1 otherwise.

Frozen processes run no instruction and their parents see nothing.  CRIU dumps them frozen (`--freeze-cgroup`) and
leaves them so.  The group is a child of the process's present group, so its limits stay; `release` puts the process
back and removes the group.  `to_json`/`from_json` let another process undo it after a crash.
Source: cgroups(7), Documentation/admin-guide/cgroup-v2.rst.  Blocking, for milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import msgspec

from omprotocol.errors import MosixError

_POLL_S = 0.001
_REMOVE_LIMIT_S = 5.0


class FreezeFailed(MosixError):
    """The process could not be frozen; it runs on."""

    def __init__(self, why: str) -> None:
        super().__init__("freeze-failed", f"The process could not be frozen ({why}); it runs on.", 255)


class _Hierarchy(msgspec.Struct, frozen=True):
    mount: str
    is_v2: bool
    controller: str


class Freezer(msgspec.Struct):
    """One freezing group.  `origins`: the group each process came from, by PID."""

    path: str
    is_v2: bool
    origins: dict[int, str]

    @classmethod
    def create(cls, pids: int | list[int], label: str) -> Freezer:
        """Make the group `om.<label>` for these processes; nothing is moved or frozen yet.

        Raises FreezeFailed when this machine has no freezer or a process is gone.
        """
        wanted = [pids] if isinstance(pids, int) else list(pids)
        hierarchy = _find_hierarchy()
        try:
            origins = {pid: _group_of(pid, hierarchy) for pid in wanted}
        except OSError as error:
            raise FreezeFailed(error.strerror or str(error)) from None
        first = next(iter(origins.values()), hierarchy.mount)
        for parent in (first, hierarchy.mount):
            directory = os.path.join(parent, f"om.{label}")
            try:
                os.mkdir(directory)
            except FileExistsError:
                if _is_in_use(directory):
                    raise FreezeFailed(f"{directory} is in use") from None
            except OSError:
                continue
            return cls(path=directory, is_v2=hierarchy.is_v2, origins=origins)
        raise FreezeFailed(f"no group could be made below {hierarchy.mount}")

    @property
    def frozen(self) -> bool:
        """Whether every process in the group is frozen."""
        if self.is_v2:
            return "frozen 1" in self._read("cgroup.events")
        return self._read("freezer.state").strip() == "FROZEN"

    def freeze(self, timeout_s: float) -> None:
        """Freeze the group and move the processes in.  Raises FreezeFailed with everything running."""
        try:
            self._switch(True)
            for pid in self.origins:
                self._write("cgroup.procs", str(pid))
            deadline = time.monotonic() + timeout_s
            while not self.frozen:
                if time.monotonic() > deadline:
                    raise FreezeFailed(f"not within {timeout_s:g} s")
                time.sleep(_POLL_S)
        except OSError as error:
            self.thaw()
            raise FreezeFailed(error.strerror or str(error)) from None
        except FreezeFailed:
            self.thaw()
            raise

    def refreeze(self) -> None:
        """Order the group frozen again without waiting (its processes are held by ptrace just now)."""
        self._switch(True)

    def thaw(self) -> None:
        """Let the processes run.  Idempotent; quiet when the group is gone."""
        with contextlib.suppress(FileNotFoundError):
            self._switch(False)

    def release(self) -> None:
        """Put the processes back where they were and remove the group.  They must be thawed.  Idempotent."""
        for pid, origin in self.origins.items():
            with contextlib.suppress(OSError):
                Path(origin, "cgroup.procs").write_text(str(pid))
        deadline = time.monotonic() + _REMOVE_LIMIT_S
        while True:
            try:
                os.rmdir(self.path)
            except FileNotFoundError:
                return
            except OSError:
                self._expel_rest()
                if time.monotonic() > deadline:
                    return
                time.sleep(_POLL_S)
            else:
                return

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        built: dict[str, Any] = msgspec.to_builtins(self, str_keys=True)
        return built

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Freezer:
        """From the journal.  Raises msgspec.ValidationError."""
        return msgspec.convert(raw, cls, strict=False)

    def _expel_rest(self) -> None:
        """Children forked meanwhile go where their parent was."""
        origin = next(iter(self.origins.values()), "")
        with contextlib.suppress(OSError):
            for word in self._read("cgroup.procs").split():
                Path(origin, "cgroup.procs").write_text(word)

    def _switch(self, freeze: bool) -> None:
        if self.is_v2:
            self._write("cgroup.freeze", "1" if freeze else "0")
        else:
            self._write("freezer.state", "FROZEN" if freeze else "THAWED")

    def _read(self, name: str) -> str:
        return Path(self.path, name).read_text()

    def _write(self, name: str, text: str) -> None:
        descriptor = os.open(os.path.join(self.path, name), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def _find_hierarchy() -> _Hierarchy:
    found: _Hierarchy | None = None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        mount = left.split()[4]
        if kind == "cgroup2":
            return _Hierarchy(mount, True, "")
        if kind == "cgroup" and "freezer" in options.split(","):
            found = _Hierarchy(mount, False, "freezer")
    if found is None:
        raise FreezeFailed("no cgroup freezer is mounted")
    return found


def _group_of(pid: int, hierarchy: _Hierarchy) -> str:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if (hierarchy.is_v2 and not controllers) or (
            hierarchy.controller and hierarchy.controller in controllers.split(",")
        ):
            return os.path.join(hierarchy.mount, path.lstrip("/"))
    return hierarchy.mount


def _is_in_use(directory: str) -> bool:
    return bool(Path(directory, "cgroup.procs").read_text().strip())
