"""A process's life while its body is away, seen from home.

Carries signals from the deputy to the body, the body's stops and its end to the deputy, the terminal's size and
foreground to the guest, and answers leases.  Ends when the body has ended, when the original was killed, when the
guest is certainly gone, or when a homecoming has finished.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal

from migrated.core.ledger import State
from migrated.deputy.closing import close_descriptors
from migrated.jail.kernel import pidfd_getfd
from migrated.journal import Ending
from migrated.shim.conversation import BodyEvent, Conversation
from migrated.shim.home_state import HomeState, now
from migrated.shim.link import LinkLost
from migrated.shim.messages import (
    BodyContinued,
    BodyEnded,
    BodyStopped,
    Broken,
    EndOfInput,
    Finish,
    ModesChanged,
    Signal,
    TerminalSet,
)
from migrated.shim.terminal import read_size, write_modes
from migrated.survey.facts import ProcessVanished, read_facts
from omprotocol.errors import MosixError

_log = logging.getLogger(__name__)
_WATCH_S = 0.25
_LAST_OUTPUT_S = 2.0
_DEPUTY_EXIT_S = 10.0
_SI_KERNEL = 0x80


class AwayLife:
    """One per process away; `ended` is set when there is nothing left to look after."""

    def __init__(self, shim: HomeState) -> None:
        self._shim = shim
        self._events: asyncio.Queue[BodyEvent] = asyncio.Queue()
        self._killed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._pidfd = -1
        self._seen_stopped = False
        self._closed: set[int] = set()
        self.ended = asyncio.Event()

    def on_body(self, event: BodyEvent) -> None:
        """Take an event of the body (called by the conversation's reader)."""
        self._events.put_nowait(event)

    async def run(self, conversation: Conversation) -> None:
        """Look after the process at this residence until it ends or leaves it; cancel to stop looking after it."""
        assert self._shim.channel is not None
        self._pidfd = os.dup(self._shim.pidfd)
        self._loop.add_reader(self._pidfd, self._killed.set)
        self._loop.add_reader(self._shim.channel.fileno(), self._signals)
        self._signals()
        try:
            await self._until_over(conversation)
        finally:
            self._loop.remove_reader(self._pidfd)
            self._loop.remove_reader(self._shim.channel.fileno())
            os.close(self._pidfd)

    async def _until_over(self, conversation: Conversation) -> None:
        lost = asyncio.create_task(conversation.lost.wait(), name="link lost")
        killed = asyncio.create_task(self._killed.wait(), name="original killed")
        event: asyncio.Task[BodyEvent] | None = None
        try:
            while True:
                event = event or asyncio.create_task(self._events.get(), name="body event")
                await asyncio.wait({lost, killed, event}, timeout=_WATCH_S, return_when=asyncio.FIRST_COMPLETED)
                if killed.done():
                    return await self._original_killed()
                if event.done():
                    if await self._body_event(event.result(), conversation):
                        return None
                    event = None
                elif lost.done() or self._shim.lease.certainly_gone(now()):
                    return await self._guest_lost(conversation.why_lost)
                await self._watch_original()
                self._close_what_the_body_closed()
        finally:
            for task in (lost, killed, event):
                if task is not None:
                    task.cancel()

    def _signals(self) -> None:
        channel, residence = self._shim.channel, self._shim.residence
        if channel is None or residence is None:
            return
        for forwarded in channel.receive():
            if not self._shim.pending.passes(forwarded.signo, forwarded.code):
                continue
            is_resize = forwarded.signo == signal.SIGWINCH and forwarded.code == _SI_KERNEL
            with contextlib.suppress(LinkLost):
                if is_resize and self._shim.relays.terminal is not None:
                    residence.link.post(TerminalSet(size=read_size(self._shim.relays.terminal.fd)))
                    continue
                if forwarded.signo == signal.SIGCONT:
                    self._seen_stopped = False
                    self._shim.body_stopped = False
                    self._check_foreground()
                residence.link.post(Signal(signo=forwarded.signo, info=forwarded.raw))

    async def _body_event(self, event: BodyEvent, conversation: Conversation) -> bool:
        match event:
            case BodyEnded():
                await self._body_ended(event, conversation)
                return True
            case BodyStopped(signo=signo):
                self._shim.body_stopped = True
                await self._shim.relays.written(_LAST_OUTPUT_S)
                if self._state_of_original() != "T" and self._shim.channel is not None:
                    self._seen_stopped = True
                    self._shim.channel.stop(signo)
            case BodyContinued():
                self._shim.body_stopped = False
            case EndOfInput(relay=number) | Broken(relay=number):
                self._closed.add(number)
            case ModesChanged(terminal=terminal):
                relay = self._shim.relays.terminal
                if relay is not None and self._shim.foreground:
                    await self._shim.relays.written(_LAST_OUTPUT_S)
                    with contextlib.suppress(OSError, MosixError):
                        write_modes(relay.fd, terminal)
        return False

    async def _body_ended(self, event: BodyEnded, conversation: Conversation) -> None:
        writing = asyncio.create_task(self._shim.relays.written(None), name="last output")
        killed = asyncio.create_task(self._killed.wait(), name="original killed")
        await asyncio.wait({writing, killed}, return_when=asyncio.FIRST_COMPLETED)
        writing.cancel()
        killed.cancel()
        put_offsets(self._shim, event.offsets)
        self._shim.record.ending = Ending(event.how == "exit", event.status)
        self._shim.settle(State.DEAD)
        channel = self._shim.channel
        assert channel is not None
        if not event.orphans:
            self._shim.relays.close()
        if event.how == "exit":
            channel.exit(event.status & 0xFF)
        else:
            channel.die(event.status if 0 < event.status < 65 else signal.SIGKILL)
        await self._wait_for_original()
        if event.orphans:
            await self._serve_orphans(conversation)
        self.ended.set()

    async def _serve_orphans(self, conversation: Conversation) -> None:
        """What the process left running over there keeps its pipes and files here until it has ended."""
        self._shim.journal.remove(self._shim.pid)
        while not (conversation.lost.is_set() or self._shim.lease.certainly_gone(now())):
            await asyncio.sleep(_WATCH_S)
        await self._shim.relays.written(_LAST_OUTPUT_S)

    async def _original_killed(self) -> None:
        self._shim.settle(State.DEAD)
        if self._shim.residence is not None:
            with contextlib.suppress(LinkLost):
                await self._shim.residence.link.send(Finish())
        self.ended.set()

    async def _guest_lost(self, why: str) -> None:
        residence, channel = self._shim.residence, self._shim.channel
        assert residence is not None
        assert channel is not None
        _log.error(
            "process.lost",
            extra={
                "pid": self._shim.pid,
                "node": residence.destination.node,
                "why": why or "no sign of life",
            },
        )
        await self._shim.relays.written(_LAST_OUTPUT_S)
        self._shim.settle(State.DEAD)
        if residence.file_server is not None:
            residence.file_server.kill()
        self._shim.relays.close()
        channel.die(signal.SIGKILL)
        await self._wait_for_original()
        self.ended.set()

    async def _wait_for_original(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DEPUTY_EXIT_S):
                await self._killed.wait()

    def _close_what_the_body_closed(self) -> None:
        """The other end of a pipe at home waits for the last writer, or reader, to be gone: that is the deputy."""
        assert self._shim.hollow is not None
        for number in sorted(self._closed):
            relay = self._shim.relays.find(number)
            if relay is None or relay.is_terminal:
                self._closed.discard(number)
            elif relay.is_finished:
                self._closed.discard(number)
                close_descriptors(self._shim.pid, self._shim.hollow, self._shim.relays.release(relay))

    async def _watch_original(self) -> None:
        """A SIGSTOP cannot be forwarded by the deputy, nor a change of the foreground: look for them."""
        residence = self._shim.residence
        stopped = self._state_of_original() == "T"
        if stopped and not self._seen_stopped and residence is not None:
            with contextlib.suppress(LinkLost):
                residence.link.post(Signal(signo=signal.SIGSTOP, info=b""))
        self._seen_stopped = stopped
        self._check_foreground()

    def _check_foreground(self) -> None:
        relay, residence = self._shim.relays.terminal, self._shim.residence
        if relay is None or residence is None or relay.source is None:
            return
        foreground = self._shim.is_in_foreground()
        if foreground != self._shim.foreground:
            self._shim.foreground = foreground
            with contextlib.suppress(LinkLost):
                residence.link.post(TerminalSet(foreground=foreground))
        (relay.source.resume if foreground else relay.source.pause)()

    def _state_of_original(self) -> str:
        try:
            return read_facts(self._shim.pid).state
        except ProcessVanished:
            return "X"


def rightful_offset(departed: int, home: int, body: int) -> int:
    """The offset of a file that home and the body may both have moved since the departure.

    The side that moved it is right; where both did, the later place counts, so that nothing is overwritten.
    """
    if body == departed:
        return home
    return body if home == departed else max(home, body)


def put_offsets(shim: HomeState, offsets: dict[str, int]) -> None:
    """Set the offsets of the original's files, which others at home may share, to where they belong now."""
    assert shim.survey is not None
    moved = {
        entry.fd: (entry.position, offsets[str(entry.fd)])
        for entry in shim.survey.files
        if offsets.get(str(entry.fd), entry.position) != entry.position
    }
    if not moved:
        return
    for number, fd in copies_of(shim.pid, list(moved)).items():
        try:
            departed, body = moved[number]
            os.lseek(fd, rightful_offset(departed, os.lseek(fd, 0, os.SEEK_CUR), body), os.SEEK_SET)
        finally:
            os.close(fd)


def copies_of(pid: int, numbers: list[int]) -> dict[int, int]:
    """Our descriptors for the descriptions behind `numbers` of `pid`; those that are gone are left out."""
    copies: dict[int, int] = {}
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return copies
    try:
        for number in numbers:
            with contextlib.suppress(OSError):
                copies[number] = pidfd_getfd(pidfd, number)
    finally:
        os.close(pidfd)
    return copies
