"""The body, stopped and readable, while its original is refilled at home.

The body is held by ptrace from `take` until `release` (it goes on here) or `kill` (it lives at home now).
"""

from __future__ import annotations

from migrated.deputy.snapshot import BodySnapshot, encode_state
from migrated.shim.guest_departing import offsets_of
from migrated.shim.inner_pipes import filled_pipes
from migrated.shim.link import Link
from migrated.shim.messages import Captured, Pages, PagesEnd


class GuestCapture:
    """One stopped body."""

    def __init__(self, snapshot: BodySnapshot, host_pid: int) -> None:
        self._snapshot: BodySnapshot | None = snapshot
        self._host_pid = host_pid
        self.unread: dict[int, bytes] = {}

    @classmethod
    def take(cls, host_pid: int) -> GuestCapture:
        """Stop the body.  Raises MosixError, OSError with the body running on."""
        return cls(BodySnapshot(host_pid), host_pid)

    def message(self, unread: dict[int, bytes], links: dict[int, str]) -> Captured:
        """What home needs first.  `links`: the relays as the body's descriptors show them, by number."""
        assert self._snapshot is not None
        self.unread = unread
        return Captured(
            state=encode_state(self._snapshot.state),
            unread=unread,
            offsets=offsets_of(self._host_pid),
            links=links,
            filled_pipes=filled_pipes(self._host_pid),
        )

    async def send_pages(self, link: Link) -> None:
        """Send all of the memory.  Raises LinkLost."""
        assert self._snapshot is not None
        for address, data in self._snapshot.pages():
            await link.send(Pages(address=address, data=bytes(data)))
        await link.send(PagesEnd())

    def release(self) -> None:
        """Let the body go on."""
        if self._snapshot is not None:
            self._snapshot.release(kill=False)
            self._snapshot = None

    def kill(self) -> None:
        """End the body."""
        if self._snapshot is not None:
            self._snapshot.release(kill=True)
            self._snapshot = None
