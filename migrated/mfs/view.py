"""What a file server exports: the tree a process sees, with the rights of its user.

Owns: entering the process's mount namespace and root, a private copy of its mounts without those that must not be
exported (kernel file systems, and our own FUSE mounts: the server would wait for itself), and becoming the user.
It is one way: the process that enters stays there. It must be single-threaded then.
"""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass, field
from typing import Final

from migrated.mfs import syscalls
from migrated.mfs.session import Credentials

HIDDEN_TYPES: Final = frozenset(
    {
        "proc",
        "sysfs",
        "devtmpfs",
        "devpts",
        "cgroup",
        "cgroup2",
        "securityfs",
        "debugfs",
        "tracefs",
        "configfs",
        "efivarfs",
        "pstore",
        "bpf",
        "mqueue",
        "hugetlbfs",
        "binfmt_misc",
        "fusectl",
        "selinuxfs",
        "rpc_pipefs",
        "nfsd",
        "fuse.mosix",
        "fuse.hpc",
    }
)
NETWORK_TYPES: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "afs", "9p", "ncpfs", "lustre", "glusterfs"})
"""File systems that report errors of earlier writes when a file is closed."""
_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")
_ROUNDS: Final = 64
"""A mount may hide others at the same place; so many layers are taken away."""


@dataclass(frozen=True, slots=True)
class View:
    """The tree of process `pid` (None: of the calling process), or only `root` inside of it.

    `credentials` are those of the user whose files they are; None stays who the caller is. The caller makes sure that
    `pid` is still the process it means (it holds a pidfd, or is its deputy's keeper).
    """

    pid: int | None = None
    root: str = "/"
    credentials: Credentials | None = None
    hidden_types: frozenset[str] = field(default=HIDDEN_TYPES)

    def enter(self) -> tuple[int, bool]:
        """Enter for good: a descriptor of the root (O_PATH), and whether close() may report errors here.

        Afterwards the working directory is /proc/self/fd, the root is the view's, the user its user. Raises OSError.
        """
        proc_fd = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        fds_fd = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if self.pid is not None:
                _stand_at_root_of(self.pid)
            else:
                os.chdir("/")
            _only_this_tree(os.path.join(".", self.root.lstrip("/")))
            types = _hide(proc_fd, self.hidden_types)
            root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            os.fchdir(fds_fd)
        finally:
            os.close(proc_fd)
            os.close(fds_fd)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _become(self.credentials)
        network = any(kind in NETWORK_TYPES or kind.startswith("fuse") for kind in types)
        return root_fd, network


def _stand_at_root_of(pid: int) -> None:
    """Enter the mount namespace of `pid`; the working directory is that process's root afterwards."""
    namespace_fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    root_fd = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if os.stat(namespace_fd).st_ino != os.stat("/proc/self/ns/mnt").st_ino:
            syscalls.setns(namespace_fd, syscalls.CLONE_NEWNS)
        os.fchdir(root_fd)
    finally:
        os.close(namespace_fd)
        os.close(root_fd)


def _only_this_tree(root: str) -> None:
    """A mount namespace of our own that has nothing but what is mounted at and below `root`.

    Mounts are slaves: what is unmounted at home later does not stay busy because of us, and what is mounted there is
    seen by the guest, too.
    """
    syscalls.unshare(syscalls.CLONE_NEWNS)
    tree_fd = syscalls.clone_tree(root)
    try:
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
        syscalls.attach_tree(tree_fd, "/")
        os.fchdir(tree_fd)
        syscalls.mount("none", ".", None, syscalls.MS_REC | syscalls.MS_SLAVE)
        syscalls.pivot_root_here()
    finally:
        os.close(tree_fd)
    os.chdir("/")


def _hide(proc_fd: int, hidden: frozenset[str]) -> set[str]:
    """Take away the mounts below / of hidden types; the types that are left."""
    for _ in range(_ROUNDS):
        mounts = _mounts(proc_fd)
        wrong = [point for point, kind in mounts if kind in hidden and point != "/"]
        if not wrong:
            break
        for point in reversed(wrong):
            _take_away(point)
    return {kind for _, kind in mounts}


def _take_away(point: str) -> None:
    try:
        syscalls.umount(point, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
    except FileNotFoundError:
        return
    except OSError:
        # Mounts of a container with its own user namespace are locked: cover what cannot be detached.
        syscalls.mount("none", point, "tmpfs", syscalls.MS_RDONLY, "size=0,mode=555,nr_inodes=2")


def _mounts(proc_fd: int) -> list[tuple[str, str]]:
    """(mount point, type) of every mount reachable from our root, in order of mounting."""
    fd = os.open("mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)
    with open(fd, "rb") as file:
        lines = file.read().splitlines()
    found = []
    for line in lines:
        left, _, right = line.partition(b" - ")
        point = _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), left.split(b" ")[4])
        found.append((os.fsdecode(point), os.fsdecode(right.split(b" ")[0])))
    return found


def _become(credentials: Credentials | None) -> None:
    if credentials is not None:
        os.setgroups(credentials.groups)
        os.setresgid(credentials.gid, credentials.gid, credentials.gid)
    if (credentials.uid if credentials is not None else os.geteuid()) == 0:
        # New files get their owner by setfsuid(), which must not cost us the capabilities.
        syscalls.prctl(syscalls.PR_SET_SECUREBITS, syscalls.SECBIT_NO_SETUID_FIXUP)
    elif credentials is not None:
        os.setresuid(credentials.uid, credentials.uid, credentials.uid)
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
