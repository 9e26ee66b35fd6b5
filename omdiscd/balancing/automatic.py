"""Which processes the balancer may move by itself: those of login sessions and of ordinary users, never services.

Pure.  The lock, the cluster mask and `cantmove` are somebody else's; an explicit `migrate` asks none of this.
"""

from __future__ import annotations

from omdiscd.balancing.sampler import Seen

FIRST_ORDINARY_UID = 1000
"""Debian's UID_MIN: accounts below it are the system's."""
SHELLS = frozenset({"bash", "sh", "dash", "zsh", "fish", "ksh", "csh", "tcsh", "login", "su", "sudo", "tmux", "screen"})


def exempt_reason(seen: Seen, control_group: str) -> str:
    """Why the balancer leaves this process alone; empty when it may move it.  `control_group`: its cgroup path."""
    if "/system.slice/" in control_group or control_group.startswith("/init.scope"):
        return "it is a system service"
    if seen.command in SHELLS and seen.terminal:
        return "it is a shell on a terminal"
    if seen.session == seen.pid and seen.terminal:
        return "it leads a login session"
    if seen.uid >= FIRST_ORDINARY_UID or "/user.slice/" in control_group or seen.terminal:
        return ""
    return "it belongs to the system"
