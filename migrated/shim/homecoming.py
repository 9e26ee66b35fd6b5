"""Coming home in place: the deputy is refilled with the body's memory and state, and is the process again.

The body stays stopped on its host until the original is complete; only then is HOME journaled, the original
released and the body killed.  Every failure before that hollows the original again and lets the body go on where
it is, under the same epoch.  There are no two generals here: decider and new owner are the same node.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from migrated.core.ledger import State
from migrated.deputy.refill import Refill
from migrated.deputy.snapshot import BodyState, decode_state
from migrated.shim.away_life import rightful_offset
from migrated.shim.conversation import Conversation
from migrated.shim.home_state import HomeState, MoveReport
from migrated.shim.inner_pipes import pair_inner_pipes
from migrated.shim.link import LinkLost
from migrated.shim.messages import Capture, Captured, Finish, Pages, PagesEnd, Resume, WantPages
from migrated.shim.terminal import push_input
from migrated.survey.descriptors import read_descriptors
from omprotocol.errors import MosixError

CAPTURE_TIMEOUT_S = 30.0
OUTPUT_TIMEOUT_S = 10.0
PAGE_TIMEOUT_S = 30.0
Progress = Callable[[dict[str, Any]], Awaitable[None]]


class NotInPlace(MosixError):
    """The body has become something the original cannot be refilled with; it goes on where it is."""

    def __init__(self, pid: int, reasons: list[str]) -> None:
        super().__init__(
            "not-in-place",
            f"Process #{pid} cannot come home in place: {', '.join(reasons)}. It goes on where it is.",
            255,
        )
        self.reasons = reasons


class Fed:
    """Input that the original reads from a pipe of ours now, because its first bytes were read at home already."""

    def __init__(self, source: int, sink: int, front: bytes) -> None:
        self.source = source
        self.sink = sink
        self.front = front


async def come_home(shim: HomeState, conversation: Conversation, progress: Progress) -> tuple[MoveReport, list[Fed]]:
    """Bring the body home.  On success the original runs and the state is HOME; what is returned must be fed.

    Raises NotInPlace or another MosixError with the body running on at its host.
    """
    residence = shim.residence
    assert residence is not None
    assert shim.hollow is not None
    began = time.monotonic()
    report = MoveReport(pid=shim.pid, origin=residence.destination.node, target=shim.spec.node)
    received = residence.link.bytes_received
    shim.step(State.RETURNING)
    shim.relays.pause_input()
    refill: Refill | None = None
    try:
        await progress({"phase": "freeze"})
        await shim.at("home-returning")
        await residence.link.send(Capture())
        captured = await conversation.answer(Captured, CAPTURE_TIMEOUT_S)
        state = _decoded(shim.pid, captured.state)
        keep_home_offsets(shim, state)
        refill = Refill(shim.pid, shim.hollow, state, _relays_at_home(shim, captured, state))
        reasons = refill.plan()
        if captured.companions:
            reasons.append(f"it has {captured.companions} child processes")
        if reasons:
            refill = None
            raise NotInPlace(shim.pid, reasons)
        if not await shim.relays.written(OUTPUT_TIMEOUT_S):
            raise NotInPlace(shim.pid, ["a reader of its output does not read"])
        await progress({"phase": "copy"})
        await shim.at("home-captured")
        refill.begin()
        await shim.at("home-refilling")
        await residence.link.send(WantPages())
        while not isinstance(part := await conversation.next_answer(PAGE_TIMEOUT_S), PagesEnd):
            if isinstance(part, Pages):
                refill.write_pages(part.address, part.data)
        fed = _put_back(shim, refill, captured)
        await shim.at("home-refilled")
        shim.step(State.HOME)
        await shim.at("home-home")
        refill.finish()
        await shim.at("home-finished")
    except BaseException as failure:
        await _stay_away(shim, refill)
        if isinstance(failure, TimeoutError):
            raise MosixError(
                "timeout", f"The guest's node took too long; process {shim.pid} goes on there.", 5
            ) from None
        raise
    report.frozen_ms = report.total_ms = (time.monotonic() - began) * 1e3
    report.bytes = residence.link.bytes_received - received
    report.fed = bool(fed)
    with contextlib.suppress(LinkLost):
        await residence.link.send(Finish())
    return report, fed


def _decoded(pid: int, raw: bytes) -> BodyState:
    try:
        return decode_state(raw)
    except msgspec.MsgspecError as error:
        raise NotInPlace(pid, [f"its state is unreadable ({error})"]) from None


def keep_home_offsets(shim: HomeState, state: BodyState) -> None:
    """Where others at home share a file's offset, theirs counts unless the body moved it (see `put_offsets`)."""
    assert shim.survey is not None
    departed = {entry.fd: entry for entry in shim.survey.files}
    present = {entry.fd: entry for entry in read_descriptors(shim.pid)}
    for file in state.files:
        then, now = departed.get(file.fd), present.get(file.fd)
        if then is not None and now is not None and file.link == now.target:
            file.offset = rightful_offset(then.position, now.position, file.offset)


def _relays_at_home(shim: HomeState, captured: Captured, state: BodyState) -> dict[str, int]:
    """What the body's descriptors show for each relay -> the original's descriptor for it."""
    by_number = {relay.number: relay.descriptor.fd for relay in shim.relays.relays}
    found = {link: by_number[number] for number, link in captured.links.items() if number in by_number}
    assert shim.survey is not None
    return found | pair_inner_pipes(shim.pid, shim.survey, state.files, set(found), set(captured.filled_pipes))


async def feed(fed: Fed) -> None:
    """Be the pipe's writer until the source ends or the process reads no more.  Owns both descriptors."""
    loop = asyncio.get_running_loop()
    data = fed.front
    try:
        while data:
            await loop.run_in_executor(None, _write_all, fed.sink, data)
            data = await loop.run_in_executor(None, os.read, fed.source, 65536)
    except OSError:
        return  # the process closed its end: nobody wants the rest
    finally:
        os.close(fed.sink)
        os.close(fed.source)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _put_back(shim: HomeState, refill: Refill, captured: Captured) -> list[Fed]:
    """Unread input goes back into a terminal, or into a pipe put before the original's own."""
    fed: list[Fed] = []
    for relay in shim.relays.relays:
        unread = captured.unread.get(relay.number, b"") + relay.front
        if not unread:
            continue
        if relay.is_terminal:
            push_input(relay.fd, unread)
            continue
        assert shim.survey is not None
        numbers = [entry.fd for entry in shim.survey.descriptors if entry.key == relay.descriptor.key]
        fed.append(Fed(os.dup(relay.fd), refill.put_pipe(numbers), unread))
    return fed


async def _stay_away(shim: HomeState, refill: Refill | None) -> None:
    """The homecoming failed: hollow again, and let the body run on."""
    assert shim.residence is not None
    if refill is not None:
        refill.abort()
    if shim.state is State.HOME:
        shim.record.state = State.RETURNING
    shim.settle(State.AWAY)
    with contextlib.suppress(LinkLost):
        await shim.residence.link.send(Resume())
    shim.relays.resume_input(terminal_input=shim.foreground)
