"""The guest ends of what the body's home keeps: fresh pipes and a pseudo terminal, in place of home's.

The body gets one end of each by CRIU's inherit-fd; this shim keeps the other and carries bytes.  A pipe's body end
is closed here once the body has it, so that an end or a missing reader is seen.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass

from migrated.shim.messages import AnyMessage, Broken, Data, EndOfInput, RelaySpec, Taken, TerminalState
from migrated.shim.relay_ends import (
    GuestTerminalSink,
    GuestTerminalSource,
    Post,
    Sink,
    Source,
    read_back,
)
from migrated.shim.terminal import as_relay, open_relay, take_input, write_modes, write_size


@dataclass
class GuestRelay:
    """One relay at the guest; `body_fd` is the body's end until it is handed over."""

    spec: RelaySpec
    body_fd: int
    identity: str
    source: Source | None = None
    sink: Sink | None = None


class GuestRelays:
    """All relays of one guest."""

    def __init__(self) -> None:
        self._relays: dict[int, GuestRelay] = {}
        self._terminal: tuple[RelaySpec, TerminalState | None, Post, Callable[[], None]] | None = None
        self.slave = -1
        self.master = -1

    @classmethod
    def build(
        cls,
        specs: list[RelaySpec],
        terminal: TerminalState | None,
        post: Post,
        modes_changed: Callable[[], None],
        *,
        terminal_in_jail: bool,
    ) -> GuestRelays:
        """Make the ends; with `terminal_in_jail` the terminal comes later, by `adopt_terminal`.

        Raises OSError; ValueError for a kind that is not relayed.
        """
        made = cls()
        for spec in specs:
            if spec.kind == "tty":
                made._terminal = (spec, terminal, post, modes_changed)
                if not terminal_in_jail:
                    made.adopt_terminal(*open_relay())
            elif spec.kind == "pipe":
                made._add_pipe(spec, post)
            else:
                raise ValueError(f"no relay for a {spec.kind}")
        return made

    @property
    def pipes(self) -> list[tuple[str, int]]:
        """CRIU's key and the body's end of each pipe."""
        return [(relay.spec.key, relay.body_fd) for relay in self._relays.values() if relay.spec.kind == "pipe"]

    @property
    def terminals(self) -> list[str]:
        """CRIU's keys of the terminal."""
        return [relay.spec.key for relay in self._relays.values() if relay.spec.kind == "tty"]

    @property
    def identities(self) -> dict[int, str]:
        """CRIU's name of each relay as the body has it here, by relay number."""
        return {number: relay.identity for number, relay in self._relays.items()}

    @property
    def links(self) -> dict[int, str]:
        """What the body's /proc/PID/fd shows for each relay, by relay number."""
        return {
            number: os.readlink(f"/proc/self/fd/{self.slave}") if relay.spec.kind == "tty" else relay.identity
            for number, relay in self._relays.items()
        }

    def adopt_terminal(self, master: int, slave: int) -> None:
        """Use this pseudo terminal, in packet mode, for the terminal's relay.  Owns both descriptors."""
        if self._terminal is None:
            os.close(master)
            os.close(slave)
            return
        spec, terminal, post, modes_changed = self._terminal
        self.master, self.slave = master, slave
        info = os.fstat(slave)
        relay = GuestRelay(spec, slave, f"tty[{info.st_rdev:x}:{info.st_dev:x}]")
        if terminal is not None:
            with contextlib.suppress(OSError):
                write_size(master, terminal.size)
            self.set_modes(terminal)
        relay.source = GuestTerminalSource(spec.relay, master, post, modes_changed)
        relay.sink = GuestTerminalSink(spec.relay, os.dup(master), slave, post)
        self._relays[spec.relay] = relay

    def handed_over(self) -> None:
        """The body has its ends: close ours of the pipes."""
        for relay in self._relays.values():
            if relay.spec.kind == "pipe" and relay.body_fd >= 0:
                os.close(relay.body_fd)
                relay.body_fd = -1

    def handle(self, message: AnyMessage) -> None:
        """Take a relay message of home."""
        match message:
            case Data(relay=number, data=data):
                relay = self._relays.get(number)
                if relay is not None and relay.sink is not None:
                    relay.sink.data(data)
            case Taken(relay=number, count=count):
                relay = self._relays.get(number)
                if relay is not None and relay.source is not None:
                    relay.source.taken(count)
            case EndOfInput(relay=number):
                relay = self._relays.get(number)
                if relay is not None and relay.sink is not None:
                    relay.sink.end()
            case Broken(relay=number):
                relay = self._relays.get(number)
                if relay is not None and relay.source is not None:
                    relay.source.close()
            case _:
                return

    def set_modes(self, state: TerminalState) -> None:
        """Give the relay terminal the modes that go with `state` at home."""
        write_modes(self.slave, as_relay(state))

    def set_size(self, size: list[int]) -> None:
        """Give the relay terminal a new size."""
        if self.master >= 0:
            write_size(self.master, size)

    def drain_output(self) -> None:
        """Post all that the (stopped or ended) body has written."""
        for relay in self._relays.values():
            if relay.source is not None:
                relay.source.drain()

    def take_unread(self) -> dict[int, bytes]:
        """Take back all input that the (stopped) body has not read, by relay."""
        unread: dict[int, bytes] = {}
        for number, relay in self._relays.items():
            if relay.sink is None or relay.sink.fd < 0:
                continue
            waiting = relay.sink.unwritten()
            in_kernel = take_input(self.slave) if relay.spec.kind == "tty" else read_back(relay.sink.fd)
            if in_kernel + waiting:
                unread[number] = in_kernel + waiting
        return unread

    def give_back(self, unread: dict[int, bytes]) -> None:
        """Put back what `take_unread` took: the body goes on here."""
        for number, data in unread.items():
            relay = self._relays[number]
            if relay.sink is not None:
                relay.sink.give(data)

    def close(self) -> None:
        """Drop every end."""
        for relay in self._relays.values():
            for end in (relay.source, relay.sink):
                if end is not None:
                    end.close()
            if relay.body_fd >= 0:
                os.close(relay.body_fd)
        self._relays.clear()
        self.slave = self.master = -1

    def _add_pipe(self, spec: RelaySpec, post: Post) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        if spec.inward:
            os.set_blocking(writer, False)
            relay = GuestRelay(spec, reader, f"pipe:[{os.fstat(reader).st_ino}]")
            relay.sink = Sink(spec.relay, writer, post)
        else:
            os.set_blocking(reader, False)
            relay = GuestRelay(spec, writer, f"pipe:[{os.fstat(writer).st_ino}]")
            relay.source = Source(spec.relay, reader, post)
        self._relays[spec.relay] = relay
