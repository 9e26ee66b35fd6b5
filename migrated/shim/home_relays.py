"""The home ends of everything a process left behind: its pipes and its terminal.

Holds a copy of each description of the original (pidfd_getfd) and, beside it, a non-blocking one of our own for
reading and writing, because flags on the original's description are shared with its shell.  Survives a change of
the guest's node: `detach` keeps what the last guest had not read in front of what comes next.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from migrated.jail.kernel import pidfd_getfd
from migrated.shim.messages import AnyMessage, Broken, Data, EndOfInput, RelaySpec, Taken
from migrated.shim.relay_ends import HomeTerminalSource, Post, Sink, Source, own_description
from migrated.survey.descriptors import Descriptor


@dataclass
class HomeRelay:
    """One description that stays at home; `front` was read here and not yet read by the body.

    `numbers`: the original's descriptors for it; `fd`: our copy, -1 once the body has closed its own.
    """

    number: int
    descriptor: Descriptor
    fd: int
    numbers: list[int] = field(default_factory=list)
    front: bytes = b""
    source: Source | None = None
    sink: Sink | None = None

    @property
    def is_terminal(self) -> bool:
        """True for a terminal, false for a pipe."""
        return self.descriptor.kind == "tty"

    @property
    def is_finished(self) -> bool:
        """Nothing will come through any more: written to the end, or without a reader."""
        ends = [end for end in (self.source, self.sink) if end is not None]
        return all(end.fd < 0 for end in ends)

    @property
    def inward(self) -> bool:
        """Bytes flow from home to the body."""
        return self.is_terminal or self.descriptor.access != os.O_WRONLY

    @property
    def outward(self) -> bool:
        """Bytes flow from the body to home."""
        return self.is_terminal or self.descriptor.access != os.O_RDONLY


@dataclass
class HomeRelays:
    """All relays of one process."""

    relays: list[HomeRelay] = field(default_factory=list)

    @classmethod
    def take(cls, pid: int, relayed: list[Descriptor], everything: list[Descriptor]) -> HomeRelays:
        """Copy the descriptions named by `relayed` out of `pid`, whose descriptors are `everything`.

        Raises OSError when it is gone.
        """
        taken = cls()
        pidfd = os.pidfd_open(pid)
        try:
            for number, descriptor in enumerate(relayed):
                same = [entry.fd for entry in everything if entry.key == descriptor.key]
                taken.relays.append(HomeRelay(number, descriptor, pidfd_getfd(pidfd, descriptor.fd), same))
        except OSError:
            taken.close()
            raise
        finally:
            os.close(pidfd)
        return taken

    @property
    def terminal(self) -> HomeRelay | None:
        """The relay of the terminal, if there is one."""
        return next((relay for relay in self.relays if relay.is_terminal), None)

    def specs(self, keys: dict[int, str] | None = None) -> list[RelaySpec]:
        """What a guest shim must build; `keys` are CRIU's names when the images come from another guest."""
        return [
            RelaySpec(
                relay=relay.number,
                key=(keys or {}).get(relay.number, relay.descriptor.key),
                kind=relay.descriptor.kind,
                inward=relay.inward,
                outward=relay.outward,
            )
            for relay in self.relays
        ]

    def attach(self, post: Post, in_foreground: Callable[[], bool]) -> None:
        """Begin to carry output; input waits for `resume_input`.  The terminal is read while `in_foreground`."""
        for relay in self.relays:
            if relay.fd < 0:
                continue
            if relay.outward:
                relay.sink = Sink(relay.number, own_description(relay.fd, os.O_WRONLY), post)
            if relay.is_terminal:
                fd = own_description(relay.fd, os.O_RDONLY)
                relay.source = HomeTerminalSource(relay.number, fd, post, in_foreground)
            elif relay.inward:
                relay.source = Source(relay.number, own_description(relay.fd, os.O_RDONLY), post, paused=True)

    def handle(self, message: AnyMessage) -> None:
        """Take a relay message of the guest; one about an unknown relay is ignored."""
        match message:
            case Data(relay=number, data=data):
                relay = self.find(number)
                if relay is not None and relay.sink is not None:
                    relay.sink.data(data)
            case Taken(relay=number, count=count):
                relay = self.find(number)
                if relay is not None and relay.source is not None:
                    relay.source.taken(count)
            case EndOfInput(relay=number):
                relay = self.find(number)
                if relay is not None and relay.sink is not None and not relay.is_terminal:
                    relay.sink.end()
            case Broken(relay=number):
                relay = self.find(number)
                if relay is not None and relay.source is not None and not relay.is_terminal:
                    relay.source.close()
            case _:
                return

    async def written(self, timeout_s: float | None) -> bool:
        """Wait until all output is at its place; False when a reader does not take it within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                for relay in self.relays:
                    if relay.sink is not None:
                        await relay.sink.written()
        except TimeoutError:
            return False
        return True

    def pause_input(self) -> None:
        """Read nothing more at home for now."""
        for relay in self.relays:
            if relay.source is not None:
                relay.source.pause()

    def resume_input(self, *, terminal_input: bool) -> None:
        """Read at home; `terminal_input` false leaves what is typed to the shell.  What is in front goes first."""
        for relay in self.relays:
            if relay.source is None:
                continue
            if relay.front:
                front, relay.front = relay.front, b""
                relay.source.put_in_front(front)
            if terminal_input or not relay.is_terminal:
                relay.source.resume()

    def detach(self, unread: dict[int, bytes]) -> None:
        """Stop carrying; `unread` came back from the guest and goes in front."""
        for relay in self.relays:
            for end in (relay.source, relay.sink):
                if end is not None:
                    end.close()
            relay.source = relay.sink = None
            relay.front = unread.get(relay.number, b"")

    def close(self) -> None:
        """Drop everything."""
        self.detach({})
        for relay in self.relays:
            if relay.fd >= 0:
                os.close(relay.fd)
        self.relays.clear()

    def release(self, relay: HomeRelay) -> list[int]:
        """Drop our copy of a finished relay; returns the original's descriptors for it, to be closed there."""
        if relay.fd >= 0:
            os.close(relay.fd)
            relay.fd = -1
        return relay.numbers

    def find(self, number: int) -> HomeRelay | None:
        """The relay of this number; a number of another node's making gives None."""
        return self.relays[number] if 0 <= number < len(self.relays) else None
