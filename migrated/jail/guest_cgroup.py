"""The cgroup a guest and its descendants live in, so that all of them can be stopped without being told.

Version 2 where it is mounted, the freezer of version 1 otherwise; below the supervisor's own cgroup. Only
processes of the guest are ever put in: CRIU and the jail's own must go on while it is frozen.
"""

from __future__ import annotations

import os
import select
import time

from omprotocol.errors import EXIT_TIMEOUT, MosixError

_PREFIX = "openmosix-guest-"
_RETRY_S = 0.01


class GuestCgroup:
    """One cgroup directory, made by `create`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._version_2 = os.path.exists(os.path.join(path, "cgroup.freeze"))

    @classmethod
    def create(cls, mid: str) -> GuestCgroup:
        """Make the cgroup of the guest `mid`. OSError when this node has no writable freezer."""
        for parent in _parents():
            path = os.path.join(parent, _PREFIX + mid)
            try:
                os.mkdir(path, 0o755)
            except FileExistsError:
                pass
            except OSError:
                continue
            return cls(path)
        raise OSError("no cgroup on this node can freeze processes")

    def freeze(self, timeout_s: float) -> None:
        """Stop all of it; returns when it stands still. MosixError "timeout" when it does not (it is thawed
        then).
        """
        self.hold()
        end_s = time.monotonic() + timeout_s
        while not self._frozen(end_s):
            if time.monotonic() > end_s:
                self.thaw()
                raise MosixError("timeout", f"The guest in {self.path} could not be stopped.", EXIT_TIMEOUT)

    def hold(self) -> None:
        """Have all of it stop, at the latest when it would go on from a wait of its own; does not wait for that."""
        self._write("1" if self._version_2 else "FROZEN")

    def thaw(self) -> None:
        """Let it go on."""
        self._write("0" if self._version_2 else "THAWED")

    def members(self) -> list[int]:
        """The PIDs in it, as this host counts them."""
        try:
            with open(os.path.join(self.path, "cgroup.procs"), encoding="ascii") as file:
                return [int(line) for line in file]
        except OSError:
            return []

    def remove(self, timeout_s: float) -> bool:
        """Remove the directory once its last process is gone; False if that takes too long."""
        end_s = time.monotonic() + timeout_s
        while True:
            try:
                os.rmdir(self.path)
                return True
            except FileNotFoundError:
                return True
            except OSError:
                if time.monotonic() > end_s:
                    return False
                time.sleep(_RETRY_S)

    def _frozen(self, end_s: float) -> bool:
        """Whether all of it stands still; version 2 is waited for, the state of version 1 is asked for
        again.
        """
        if not self._version_2:
            with open(os.path.join(self.path, "freezer.state"), encoding="ascii") as file:
                if file.read().strip() == "FROZEN":
                    return True
            time.sleep(_RETRY_S)
            return False
        with open(os.path.join(self.path, "cgroup.events"), encoding="ascii") as file:
            events = select.poll()
            events.register(file, select.POLLPRI)
            if "frozen 1" in file.read():
                return True
            events.poll(max(0, int((end_s - time.monotonic()) * 1000)))
            file.seek(0)
            return "frozen 1" in file.read()

    def _write(self, state: str) -> None:
        name = "cgroup.freeze" if self._version_2 else "freezer.state"
        with open(os.path.join(self.path, name), "w", encoding="ascii") as file:
            file.write(state)


def end(mid: str, timeout_s: float) -> bool:
    """Thaw and remove the cgroup of a guest whose supervisor died: only then can what was frozen die. Blocks."""
    paths = [os.path.join(parent, _PREFIX + mid) for parent in _parents()]
    groups = [GuestCgroup(path) for path in paths if os.path.isdir(path)]
    for group in groups:
        group.thaw()
    return all(group.remove(timeout_s) for group in groups)


def _parents() -> list[str]:
    """The supervisor's own cgroup in each hierarchy that can freeze, version 2 first."""
    own: dict[str, str] = {}
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            own[controllers or "cgroup2"] = path
    found: list[tuple[int, str]] = []
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            kind, _, options = after.split()[:3]
            top, mountpoint = before.split()[3:5]
            if kind == "cgroup2" and "cgroup2" in own:
                found.append((0, _below(mountpoint, top, own["cgroup2"])))
            elif kind == "cgroup" and "freezer" in options.split(","):
                paths = [path for name, path in own.items() if "freezer" in name.split(",")]
                found += [(1, _below(mountpoint, top, path)) for path in paths]
    return [path for _, path in sorted(found)]


def _below(mountpoint: str, top: str, path: str) -> str:
    if top != "/" and path.startswith(top):
        path = path[len(top) :]
    return os.path.join(mountpoint, path.lstrip("/")) if path.strip("/") else mountpoint
