"""Verbs of the control socket and who may say them.

Owns the table from verb to handler and the one place where access is judged. Handlers of access "owner" are
open to everybody and must compare `caller.uid` with the owner of what they act on. Never knows what a verb
does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from omprotocol.errors import EXIT_FAILED, EXIT_REFUSED, MosixError

Access = Literal["anyone", "owner", "admin"]
Progress = Callable[[dict[str, Any]], Awaitable[None]]


async def _nobody_listens(_body: dict[str, Any]) -> None:
    return None


@dataclass
class Caller:
    """Who asks: the credentials the kernel gave for the socket, and a way to report progress to them."""

    uid: int
    gid: int
    pid: int
    groups: frozenset[int] = frozenset()
    is_admin: bool = False
    report: Progress = field(default=_nobody_listens, repr=False)
    is_gone: bool = False
    """True once the caller has hung up; a handler that only feeds the caller should end then."""

    async def progress(self, body: dict[str, Any]) -> None:
        """Send one progress line; waits while the caller is slow to read, and drops it once the caller is
        gone.
        """
        await self.report(body)

    def may_act_for(self, uid: int) -> bool:
        """Whether the caller may act on a process of `uid`: administrators always, others on their own."""
        return self.is_admin or self.uid == uid


Handler = Callable[[Caller, dict[str, Any]], Awaitable[dict[str, Any]]]


class Registry:
    """The verbs of one daemon."""

    def __init__(self) -> None:
        self._verbs: dict[str, tuple[Handler, Access]] = {}

    def add(self, verb: str, handler: Handler, access: Access) -> None:
        """Register `verb`. Raises ValueError when it is registered already."""
        if verb in self._verbs:
            raise ValueError(f"the verb {verb!r} is registered twice")
        self._verbs[verb] = (handler, access)

    def verbs(self) -> dict[str, Access]:
        """Return every verb with its access, sorted by name."""
        return {verb: access for verb, (_handler, access) in sorted(self._verbs.items())}

    async def handle(self, caller: Caller, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        """Run the handler of `verb` for `caller`. Raises MosixError `unknown-verb`, `permission`, or the
        handler's.
        """
        entry = self._verbs.get(verb)
        if entry is None:
            raise MosixError("unknown-verb", f"The daemon knows no request '{verb[:40]}'.", EXIT_FAILED)
        handler, access = entry
        if access == "admin" and not caller.is_admin:
            message = "Permission denied: this needs root or membership of the group openmosix."
            raise MosixError("permission", message, EXIT_REFUSED)
        return await handler(caller, args)
