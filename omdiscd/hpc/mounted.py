"""The hpc tree as a whole: assembled, mounted while the daemon runs, and gone when it ends.

Owns the mount point. A mount left by a daemon that was killed is taken away before anything looks at the path;
the path itself is never opened, for that would wait for ourselves.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from migrated.mfs import syscalls
from migrated.mfs.mount import detach, mount_fuse, open_device
from omdiscd.admin.service import AdminService
from omdiscd.hpc.admin_files import admin_directory
from omdiscd.hpc.node_files import info_directory, nodes_directory
from omdiscd.hpc.process_files import decay_directory, pid_directory, remote_directory
from omdiscd.hpc.server import HpcServer
from omdiscd.hpc.tree import Fixed

log = logging.getLogger(__name__)

_STACKED_MOUNTS = 64
"""Bound on the mounts of dead daemons that are taken away."""


def hpc_root(service: AdminService, version: str) -> Fixed:
    """The whole tree of openmosix.md section 4."""
    return Fixed(
        {
            "admin": admin_directory(service, version),
            "decay": decay_directory(service),
            "info": info_directory(service),
            "nodes": nodes_directory(service),
            "remote": remote_directory(service),
            "pid": pid_directory(service),
        }
    )


async def serve_hpc(mountpoint: Path, service: AdminService, version: str, ready: asyncio.Event | None = None) -> None:
    """Mount the tree and serve it until cancelled. Without FUSE a warning is logged and the daemon goes on."""
    fd = _mounted(mountpoint)
    if fd is None:
        return
    try:
        if ready is not None:
            ready.set()
        await HpcServer(fd, hpc_root(service, version)).run()
    finally:
        _detach_all(mountpoint)
        os.close(fd)


def _mounted(mountpoint: Path) -> int | None:
    _detach_all(mountpoint)
    try:
        mountpoint.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = open_device()
    except OSError as error:
        log.warning("hpc.no_tree", extra={"path": str(mountpoint), "error": error.strerror})
        return None
    try:
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
        mount_fuse(fd, mountpoint, fsname="hpc", subtype="hpc", flags=flags)
    except OSError as error:
        os.close(fd)
        log.warning("hpc.no_tree", extra={"path": str(mountpoint), "error": error.strerror})
        return None
    return fd


def _detach_all(mountpoint: Path) -> None:
    # Not asking first whether the mount is dead: one held open by a process of ours would answer never.
    try:
        for _ in range(_STACKED_MOUNTS):
            if not detach(mountpoint):
                return
    except OSError as error:
        log.warning("hpc.not_detached", extra={"path": str(mountpoint), "error": error.strerror})
