"""A guest that goes on to another node: frozen, dumped from inside its jail, its pages sent straight there.

The body stays frozen here until home says Finish (it runs there) or Resume (it goes on here: `undo`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

from migrated.jail.jail import Jail
from migrated.shim.children import fork_child
from migrated.shim.guest_relays import GuestRelays
from migrated.shim.guest_spec import GuestSpec
from migrated.shim.messages import Dumped, Hello, SendOn
from migrated.shim.streams import dial, join
from omprotocol.certificates import Identity
from omprotocol.errors import MosixError

FREEZE_TIMEOUT_S = 10.0
DUMP_TIMEOUT_S = 120.0
PAGES_TIMEOUT_S = 60.0
_IMAGES = "onward"


class Departing:
    """One attempt to go on."""

    def __init__(
        self, jail: Jail, spec: GuestSpec, relays: GuestRelays, directory: Path, events: asyncio.Queue[dict[str, Any]]
    ) -> None:
        self._jail = jail
        self._spec = spec
        self._relays = relays
        self._images = directory / "jail" / _IMAGES
        self._events = events
        self._unread: dict[int, bytes] = {}

    async def send(self, order: SendOn, identity: Identity, body: int) -> Dumped:
        """Freeze, dump and send.  `body` is its PID on this machine.  Raises MosixError, OSError, TimeoutError."""
        self._jail.freeze(FREEZE_TIMEOUT_S)
        self._relays.drain_output()
        self._unread = self._relays.take_unread()
        pids = [self._spec.pid, *companions_inside(self._jail, body)]
        local, remote_end = socket.socketpair()
        hello = Hello(migration_id=order.migration_id, token=order.token)

        def carry() -> int:
            remote = dial(order.address, order.port, identity, order.node, hello)
            join(remote_end, remote)
            remote.close()
            return 0

        child = fork_child("pages", {remote_end.fileno()}, carry)
        remote_end.close()
        try:
            external = [key for key in self._relays.identities.values() if key.startswith("tty")]
            self._jail.send("dump", [local.fileno()], name=_IMAGES, external=external, leave_running=True)
            local.close()
            async with asyncio.timeout(DUMP_TIMEOUT_S):
                event = await self._events.get()
            if event["ev"] != "dumped":
                raise MosixError("dump-failed", str(event.get("message")))
            if await child.wait(PAGES_TIMEOUT_S) != 0:
                raise MosixError("pages-lost", "its memory did not reach the other node")
        finally:
            local.close()
            child.kill()
        return Dumped(
            images={path.name: path.read_bytes() for path in sorted(self._images.glob("*.img"))},
            keys=self._relays.identities,
            unread=self._unread,
            offsets=offsets_of(body),
            pids=pids,
        )

    def undo(self) -> None:
        """The body goes on here."""
        self._relays.give_back(self._unread)
        self._unread = {}
        self._jail.thaw()


def offsets_of(pid: int) -> dict[str, int]:
    """The position of every open descriptor, by number."""
    offsets: dict[str, int] = {}
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            offsets[entry.name] = int(entry.read_text().split("pos:")[1].split()[0])
    return offsets


def companions(pid: int) -> list[int]:
    """The children of the body, as this machine counts them."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in path.read_text().split()]
    return found


def companions_inside(jail: Jail, body: int) -> list[int]:
    """All descendants of the body, as the jail counts them."""
    outside = {host: inside for inside, host in jail.host_pids().items()}
    family, waiting = [], companions(body)
    while waiting:
        pid = waiting.pop()
        if pid in outside:
            family.append(outside[pid])
        waiting += companions(pid)
    return family
