"""Who runs this view, and why some things are not for them.

Owns the question only to show it: the daemon judges every order by itself.
"""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from functools import lru_cache

ADMIN_GROUP = "openmosix"


@dataclass(frozen=True)
class User:
    """The user of this process; `why_not` is empty for an administrator of the cluster."""

    uid: int
    name: str
    is_admin: bool
    why_not: str

    def why_not_process(self, uid: int) -> str:
        """Why the user may not act on a process of `uid`; empty when they may."""
        if self.is_admin or self.uid == uid:
            return ""
        return f"It belongs to {user_name(uid)}; you are {self.name}."


def current_user() -> User:
    """The user of this process. May block on the name service."""
    uid = os.geteuid()
    try:
        admin_gid = grp.getgrnam(ADMIN_GROUP).gr_gid
    except KeyError:
        admin_gid = None
    is_admin = uid == 0 or (admin_gid is not None and admin_gid in {os.getegid(), *os.getgroups()})
    name = user_name(uid)
    why_not = "" if is_admin else f"This needs root or the group {ADMIN_GROUP}; you are {name}."
    return User(uid, name, is_admin, why_not)


@lru_cache(maxsize=4096)
def user_name(uid: int) -> str:
    """Name of a user, the number where there is no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
