"""The root file system a virtual node sees.

A tmpfs with the machine's system directories bound into it and everything a node must have for itself
made fresh: /etc (a copy), /var, /run, /tmp, /home, /root, /dev, /proc, /sys. A file written in one node
therefore does not exist in another. Runs as PID 1 of the node in its new namespaces; nothing of it
outlives the node's last process.
"""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from omlab import cgroups, kernel

ORDINARY_USER = "om"
ORDINARY_UID = 1000
ORDINARY_HOME = "/home/user"
ADMIN_GROUP = "openmosix"

CHECKOUT = Path(__file__).resolve().parents[1]

_OWN = {"dev", "etc", "home", "media", "mfs", "mnt", "proc", "root", "run", "srv", "sys", "tmp", "var"}
_DIRECTORIES = {
    "home": 0o755,
    "mnt": 0o755,
    "root": 0o711,
    "run": 0o755,
    "run/lock": 0o1777,
    "tmp": 0o1777,
    "var": 0o755,
    "var/cache": 0o755,
    "var/lib": 0o755,
    "var/lib/openmosix": 0o700,
    "var/log": 0o755,
    "var/spool": 0o755,
    "var/tmp": 0o1777,
    "dev": 0o755,
    "dev/pts": 0o755,
    "dev/shm": 0o1777,
    "dev/mqueue": 0o755,
    "dev/net": 0o755,
    "proc": 0o555,
    "sys": 0o555,
}
_DEVICES = {
    "null": (1, 3, 0o666),
    "zero": (1, 5, 0o666),
    "full": (1, 7, 0o666),
    "random": (1, 8, 0o666),
    "urandom": (1, 9, 0o666),
    "tty": (5, 0, 0o666),
    "fuse": (10, 229, 0o666),
    "net/tun": (10, 200, 0o666),
}
_LINKS = {
    "dev/fd": "/proc/self/fd",
    "dev/stdin": "/proc/self/fd/0",
    "dev/stdout": "/proc/self/fd/1",
    "dev/stderr": "/proc/self/fd/2",
    "dev/ptmx": "pts/ptmx",
    "var/run": "/run",
    "var/lock": "/run/lock",
}


def enter(
    root: Path,
    node: int,
    addresses: dict[int, str],
    cluster_key: str,
    host_cgroups: list[cgroups.Hierarchy],
) -> None:
    """Build the root of node number `node` on the empty directory `root` and make it this process's /.

    `addresses` maps node numbers to addresses, for /etc/hosts; `host_cgroups` are the machine's hierarchies
    as seen before the cgroup namespace was left. Needs the node's namespaces to be new.
    """
    os.umask(0o022)
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("omlab", root, "tmpfs", options="mode=755")
    _bind_system(root)
    for name, mode in _DIRECTORIES.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name).chmod(mode)
    for name, target in _LINKS.items():
        (root / name).symlink_to(target)
    _make_etc(root / "etc", node, addresses, cluster_key)
    home = root / ORDINARY_HOME.lstrip("/")
    home.mkdir()
    os.chown(home, ORDINARY_UID, ORDINARY_UID)
    _make_devices(root / "dev")
    _bind_software(root)
    kernel.mount("proc", root / "proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    kernel.mount("sysfs", root / "sys", "sysfs", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    _mount_cgroups(root, host_cgroups)
    old = root / ".old"
    old.mkdir()
    kernel.pivot_root(str(root), str(old))
    os.chdir("/")
    kernel.unmount_detached("/.old")
    os.rmdir("/.old")


def _bind_system(root: Path) -> None:
    for entry in Path("/").iterdir():
        if entry.name in _OWN:
            continue
        target = root / entry.name
        if entry.is_symlink():
            target.symlink_to(os.readlink(entry))
        elif entry.is_dir() and entry.name != "lost+found":
            target.mkdir()
            kernel.mount(str(entry), target, flags=kernel.MS_BIND | kernel.MS_REC)


def _make_etc(etc: Path, node: int, addresses: dict[int, str], cluster_key: str) -> None:
    # -a keeps owners and modes; links that lead nowhere are copied as they are.
    subprocess.run(["cp", "-a", "/etc", str(etc)], check=False, stderr=subprocess.DEVNULL, timeout=60)
    for stale in [*etc.glob("openmosix*"), *etc.glob("mosix*")]:
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
    _add_line(etc / "passwd", ORDINARY_USER, f"x:{ORDINARY_UID}:{ORDINARY_UID}::{ORDINARY_HOME}:/bin/bash", 2)
    _add_line(etc / "group", ORDINARY_USER, f"x:{ORDINARY_UID}:", 2)
    _add_line(etc / "group", ADMIN_GROUP, "x:777:", 2)
    (etc / "hostname").write_text(f"node{node}\n")
    names = "".join(f"{address}\tnode{number}\n" for number, address in addresses.items())
    (etc / "hosts").write_text(f"127.0.0.1\tlocalhost\n{names}")
    (etc / "mtab").unlink(missing_ok=True)
    (etc / "mtab").symlink_to("/proc/self/mounts")
    (etc / "openmosix").mkdir(mode=0o755)
    if cluster_key:
        key = etc / "openmosix/cluster.key"
        key.touch(mode=0o400)
        key.write_text(f"{cluster_key}\n")


def _add_line(table: Path, name: str, rest: str, id_field: int) -> None:
    """Put an entry into passwd or group, in place of one with the same name or id."""
    new = f"{name}:{rest}"
    number = new.split(":")[id_field]
    kept = []
    for line in table.read_text().splitlines() if table.exists() else []:
        fields = line.split(":")
        if fields[0] != name and (len(fields) <= id_field or fields[id_field] != number):
            kept.append(line)
    table.unlink(missing_ok=True)
    table.write_text("\n".join([*kept, new]) + "\n")


def _make_devices(dev: Path) -> None:
    for name, (major, minor, mode) in _DEVICES.items():
        os.mknod(dev / name, stat.S_IFCHR | mode, os.makedev(major, minor))
        (dev / name).chmod(mode)
    kernel.mount("devpts", dev / "pts", "devpts", kernel.MS_NOSUID, "newinstance,ptmxmode=0666,mode=620,gid=5")
    kernel.mount("shm", dev / "shm", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=1777")
    try:
        kernel.mount("mqueue", dev / "mqueue", "mqueue")
    except OSError:
        (dev / "mqueue").rmdir()


def _bind_software(root: Path) -> None:
    """Bring in the checkout, its environment and its interpreter where an own directory hides them."""
    needed = {CHECKOUT, Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]}
    for path in sorted(needed):
        target = root / path.relative_to("/")
        if path.parts[1] not in _OWN or target.exists():
            continue
        target.mkdir(parents=True)
        kernel.mount(str(path), target, flags=kernel.MS_BIND | kernel.MS_REC)


def _mount_cgroups(root: Path, host: list[cgroups.Hierarchy]) -> None:
    top = root / "sys/fs/cgroup"
    if not top.is_dir() or not host:
        return
    unified = [hierarchy for hierarchy in host if hierarchy.mount_point == Path("/sys/fs/cgroup")]
    if unified:
        kernel.mount("cgroup2", top, "cgroup2")
        return
    kernel.mount("cgroup", top, "tmpfs", options="mode=755")
    for hierarchy in host:
        if not hierarchy.mount_point.is_relative_to("/sys/fs/cgroup"):
            continue
        point = root / hierarchy.mount_point.relative_to("/")
        point.mkdir(parents=True, exist_ok=True)
        kind = "cgroup2" if hierarchy.version == 2 else "cgroup"
        kernel.mount(kind, point, kind, options=hierarchy.options)
    for entry in Path("/sys/fs/cgroup").iterdir():
        if entry.is_symlink():
            (top / entry.name).symlink_to(os.readlink(entry))
