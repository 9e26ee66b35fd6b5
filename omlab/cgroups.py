"""Control groups of a virtual cluster, version 1 and 2.

Every node has one group per hierarchy, <base>/omlab-<lab>/node<K>, which is the root of what the node
sees, and in it the leaf `init` where its processes start: a group with children and controllers must
hold no processes itself (version 2). Removing a cluster thaws and kills what is left in the groups.
"""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_V2_CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
_QUOTA_PERIOD_US = 100_000


@dataclass(frozen=True)
class Hierarchy:
    """One mounted cgroup hierarchy of the machine.

    `mount_point` where the host has it, `base` the group below which clusters are made, `options` the
    mount options that name it ("cpu,cpuacct", "name=systemd"; empty for version 2).
    """

    mount_point: Path
    base: Path
    options: str
    version: int

    def has(self, controller: str) -> bool:
        """Whether a version 1 hierarchy carries this controller."""
        return controller in self.options.split(",")


def hierarchies() -> list[Hierarchy]:
    """All hierarchies that are mounted writable; empty when cgroups cannot be used."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path.lstrip("/")
    found: dict[str, Hierarchy] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        point, kind = Path(left.split()[4]), right.split()[0]
        if kind not in ("cgroup", "cgroup2") or not os.access(point, os.W_OK):
            continue
        version = 2 if kind == "cgroup2" else 1
        options = "" if version == 2 else _naming_options(right.split()[2], own)
        # Version 2 allows no processes in a group with children: start at the top, not below ourselves.
        base = point if version == 2 else point / own.get(options, "")
        if options not in found and base.is_dir():
            found[options] = Hierarchy(point, base, options, version)
    return list(found.values())


def _naming_options(super_options: str, own: dict[str, str]) -> str:
    options = set(super_options.split(","))
    for controllers in own:
        if controllers and set(controllers.split(",")) <= options:
            return controllers
    return ",".join(sorted(options - {"rw", "ro"}))


def make_node_groups(lab: str, node: int, quota_percent: int | None, cores: str | None) -> list[Path]:
    """Make the groups of one node, and return them.

    `quota_percent` is CPU time in percent of one core, `cores` a list like "0,2-3". Raises OSError when
    a limit that was asked for cannot be set.
    """
    groups: list[Path] = []
    limited: set[str] = set()
    for hierarchy in hierarchies():
        try:
            group = hierarchy.base / f"omlab-{lab}"
            group.mkdir(exist_ok=True)
            _prepare(hierarchy, group)
            group = group / f"node{node}"
            group.mkdir(exist_ok=True)
            _prepare(hierarchy, group)
            limited |= _limit(hierarchy, group, quota_percent, cores)
        except OSError:
            continue
        groups.append(group)
    for wanted, what in ((quota_percent, "quota"), (cores, "cores")):
        if wanted is not None and what not in limited:
            raise OSError(f"the CPU {what} of node {node} cannot be set: no cgroup here has that controller")
    return groups


def _prepare(hierarchy: Hierarchy, group: Path) -> None:
    if hierarchy.version == 2:
        for controller in _V2_CONTROLLERS:
            _write(group.parent / "cgroup.subtree_control", f"+{controller}")
    elif hierarchy.has("cpuset"):
        _write(group / "cgroup.clone_children", "1")
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not (group / name).read_text().strip():
                (group / name).write_text((group.parent / name).read_text())


def _limit(hierarchy: Hierarchy, group: Path, quota_percent: int | None, cores: str | None) -> set[str]:
    done: set[str] = set()
    if quota_percent is not None:
        quota_us = quota_percent * _QUOTA_PERIOD_US // 100
        two = hierarchy.version == 2
        name, text = ("cpu.max", f"{quota_us} {_QUOTA_PERIOD_US}") if two else ("cpu.cfs_quota_us", str(quota_us))
        if _write(group / name, text):
            done.add("quota")
    if cores is not None and _write(group / "cpuset.cpus", cores):
        done.add("cores")
    return done


def _write(path: Path, text: str) -> bool:
    try:
        path.write_text(text)
    except OSError:
        return False
    return True


def join(groups: list[Path]) -> None:
    """Move this process into the groups."""
    for group in groups:
        (group / "cgroup.procs").write_text(str(os.getpid()))


def join_leaves(groups: list[Path]) -> None:
    """Move this process into the leaf `init` of each group, made when missing."""
    for group in groups:
        (group / "init").mkdir(exist_ok=True)
    join([group / "init" for group in groups])


def lab_groups(lab: str) -> list[Path]:
    """The groups of a cluster that exist, one per hierarchy."""
    groups = [hierarchy.base / f"omlab-{lab}" for hierarchy in hierarchies()]
    return [group for group in groups if group.is_dir()]


def remove_lab_groups(lab: str, deadline_s: float = 30.0) -> list[Path]:
    """Thaw and kill everything in the groups of a cluster and remove them. Blocks until done.

    Returns the groups that could not be removed before the deadline (none, normally).
    """
    end = time.monotonic() + deadline_s
    while True:
        left = lab_groups(lab)
        for group in left:
            _empty_and_remove(group)
        left = [group for group in left if group.is_dir()]
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.02)


def _empty_and_remove(top: Path) -> None:
    for directory, _, files in os.walk(top, topdown=False):
        group = Path(directory)
        # A frozen process of version 1 does not even die of SIGKILL.
        if "freezer.state" in files:
            _write(group / "freezer.state", "THAWED")
        if "cgroup.freeze" in files:
            _write(group / "cgroup.freeze", "0")
        try:
            for process in (group / "cgroup.procs").read_text().split():
                os.kill(int(process), signal.SIGKILL)
        except (OSError, ValueError):
            pass
        try:
            group.rmdir()
        except OSError:
            pass
