"""What home tells of the process so that its jail can look as home did, and what the guest's node makes of it.

Home sends facts (numbers, names); directories, limits and what is mounted are this node's own policy.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from migrated.core.hints import Hints
from migrated.jail.spec import JailSpec
from migrated.jail.terminal import INDEX_LIMIT
from migrated.shim.terminal import pseudo_terminal_index
from migrated.survey.survey import Survey

_FROM_HOME = (
    "pid",
    "ppid",
    "pgid",
    "sid",
    "max_id",
    "uid",
    "gid",
    "groups",
    "hostname",
    "ctty",
    "foreground",
    "tty_index",
)


class GuestSpec(msgspec.Struct):
    """What the daemon of the guest's node tells a new guest shim."""

    migration_id: str
    token: str
    home: int
    node: int
    address: str
    root: str
    pages_from: int
    ports: tuple[int, int]
    uid: int
    pid: int
    command: str
    run_dir: str
    state_dir: str
    etc_dir: str
    hints: Hints = Hints()


def jail_facts(found: Survey, *, ctty: bool, foreground: bool) -> dict[str, Any]:
    """The part of a JailSpec that only home knows."""
    facts = found.facts
    tids = [int(name) for name in os.listdir(f"/proc/{facts.pid}/task")]
    host = os.uname()
    terminal = next((entry.target for entry in found.descriptors if entry.kind == "tty"), "")
    index = pseudo_terminal_index(terminal)
    return {
        "pid": facts.pid,
        "ppid": facts.ppid,
        "pgid": facts.pgid,
        "sid": facts.sid,
        "max_id": max(tids),
        "uid": facts.uid,
        "gid": facts.gid,
        "groups": list(facts.groups),
        "hostname": host.nodename,
        "ctty": ctty,
        "foreground": foreground and ctty,
        "tty_index": index if index is not None and index <= INDEX_LIMIT else None,
    }


def jail_spec(spec: GuestSpec, facts: dict[str, Any], work_dir: str, images_dir: str) -> JailSpec:
    """The jail this node builds for `facts`.  Raises msgspec.ValidationError, ValueError on absurd facts."""
    own: dict[str, Any] = {
        "mid": spec.migration_id,
        "work_dir": work_dir,
        "images_dir": images_dir,
        "root": spec.root,
    }
    built = msgspec.convert({name: facts[name] for name in _FROM_HOME if name in facts} | own, JailSpec)
    if spec.root == "local":
        built.tty_index = None
    built.check()
    if built.pid != spec.pid or built.uid != spec.uid:
        raise ValueError("the process is not the one that was offered")
    return built
