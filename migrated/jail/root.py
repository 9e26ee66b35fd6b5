"""The file system a guest sees, built inside its fresh mount namespace.

Root is the home node's (FUSE), so no path below it is trusted: everything of this node that is bound in is
opened before the change of root and named by descriptor afterwards, and nothing of the old root stays
mounted. What belongs to the jail itself lives on its own /dev, in JAIL_DIR, with the images where only root
may look.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from . import kernel
from .runtime import JAIL_DIR
from .spec import JailSpec

_PRIVATE_DIR = f"{JAIL_DIR}/private"  # not even the guest's user looks in here
IMAGES_DIR = f"{_PRIVATE_DIR}/images"
WORK_DIR = f"{_PRIVATE_DIR}/work"
FREEZER_DIR = f"{JAIL_DIR}/freezer"
_GUARD = kernel.MS_NOSUID | kernel.MS_NODEV
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_TTY_GROUP = 5  # Debian's gid of tty, which owns terminals


def build(spec: JailSpec, fuse_fd: int | None, runtime_dir: str | None, on_mounted: Callable[[], None]) -> None:
    """Make the root of the calling process, which is alone in new mount and PID namespaces. OSError when it
    cannot.
    """
    if spec.root == "local":
        kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_SLAVE)
        kernel.mount("proc", "/proc", "proc", _GUARD | kernel.MS_NOEXEC)
        return
    if runtime_dir is None:
        raise ValueError("a jail with another root needs the gathered CRIU")
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    new_root = os.path.join(spec.work_dir, "root")
    if spec.root == "bind":
        kernel.mount("/", new_root, None, kernel.MS_BIND)
    else:
        options = (
            f"fd={fuse_fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions,"
            f"max_read={spec.max_read_bytes}"
        )
        kernel.mount("openmosix", new_root, "fuse.mosix", _GUARD, options)
        on_mounted()  # before anything asks the file system: from here on somebody must answer
    sources = {path: _hold(path) for path in spec.dfsa}
    own = {
        f"{JAIL_DIR}/criu": _hold(runtime_dir),
        IMAGES_DIR: _hold(spec.images_dir),
        WORK_DIR: _hold(spec.work_dir),
    }
    if spec.freezer_dir:
        own[FREEZER_DIR] = _hold(spec.freezer_dir)
    cache = _hold(os.path.join(runtime_dir, "criu.kdat"))
    old_root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.chdir(new_root)
    kernel.pivot_root(".", ".")
    os.chdir("/")
    kernel.mount("proc", "/proc", "proc", _GUARD | kernel.MS_NOEXEC)
    if os.path.isdir("/sys"):
        kernel.mount("sysfs", "/sys", "sysfs", _GUARD | kernel.MS_NOEXEC | kernel.MS_RDONLY)
    _make_dev()
    for path, fd in sources.items():
        _bind(fd, path, _GUARD)
    # Passable: CRIU asks for the freezer with access(2), by the real uid, which may be the guest's.
    os.mkdir(JAIL_DIR, 0o711)
    os.mkdir(_PRIVATE_DIR, 0o700)
    for path, fd in own.items():
        os.mkdir(path, 0o711)
        # Also takes away the noexec that /run usually has: CRIU is executed from there.
        _bind(fd, path, _GUARD | kernel.MS_RDONLY if path == f"{JAIL_DIR}/criu" else 0)
    _bind_cache(cache)
    os.fchdir(old_root)
    kernel.unmount(".", kernel.MNT_DETACH)
    os.chdir("/")
    os.close(old_root)


def _hold(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def _bind(fd: int, target: str, guard: int) -> None:
    kernel.mount(f"/proc/self/fd/{fd}", target, None, kernel.MS_BIND | kernel.MS_REC)
    if guard:
        kernel.mount("none", target, None, kernel.MS_REMOUNT | kernel.MS_BIND | guard)
    os.close(fd)


def _bind_cache(fd: int) -> None:
    """CRIU reads its cache at a fixed path of the root. Home's own file there describes home's kernel, so
    ours must cover it; where there is none and none can be made, CRIU just probes the kernel again.
    """
    target = "/run/criu.kdat"
    try:
        if not os.path.lexists(target):
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
        if not stat.S_ISREG(os.lstat(target).st_mode):
            raise OSError(f"{target} is not a file")
    except OSError:
        os.close(fd)
        return
    _bind(fd, target, 0)


def _make_dev() -> None:
    kernel.mount("tmpfs", "/dev", "tmpfs", kernel.MS_NOSUID | kernel.MS_NOEXEC, "mode=755,size=1m")
    previous = os.umask(0)
    try:
        for name, (major, minor) in _DEVICES.items():
            os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
        for name, target in _LINKS.items():
            os.symlink(target, f"/dev/{name}")
        os.mkdir("/dev/pts", 0o755)
        os.mkdir("/dev/shm", 0o1777)
    finally:
        os.umask(previous)
    guard = kernel.MS_NOSUID | kernel.MS_NOEXEC
    kernel.mount("devpts", "/dev/pts", "devpts", guard, f"newinstance,ptmxmode=0666,mode=620,gid={_TTY_GROUP}")
    kernel.mount("tmpfs", "/dev/shm", "tmpfs", _GUARD, "mode=1777")
