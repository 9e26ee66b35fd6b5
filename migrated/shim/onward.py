"""From guest to guest without passing through home, and home behind the deputy.

The body is frozen and dumped on its host, its memory goes straight to the next one; home decides, journals and
carries only the small images.  Until AWAY is journaled for the new host the old one holds the body and goes on
when told; afterwards the old one kills it.  The deputy, the terminal and the pipes at home notice nothing but the
change of the relay's other end.
A family cannot be refilled into its deputy: it comes home the same way, with this node's own root.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from migrated.core.ledger import State
from migrated.shim.conversation import Conversation
from migrated.shim.departure import GATE_TIMEOUT_S, PAGES_TIMEOUT_S, ProcessLost, until_running
from migrated.shim.fate import ask_fate
from migrated.shim.guest_spec import jail_facts
from migrated.shim.home_state import Destination, HomeState, MoveReport, Residence, now
from migrated.shim.link import LinkLost
from migrated.shim.messages import AtGate, Dumped, Finish, Go, Prepare, Resume, SendOn
from migrated.shim.residence import close_residence, open_residence
from migrated.shim.terminal import read_state
from omprotocol.errors import MosixError

OUTPUT_TIMEOUT_S = 10.0
Progress = Callable[[dict[str, Any]], Awaitable[None]]
Converse = Callable[[Residence], Conversation]


class StaysThere(MosixError):
    """The body could not go on and runs where it was."""

    def __init__(self, pid: int, node: int, why: str) -> None:
        super().__init__("stays", f"Process {pid} goes on at node {node}: {why}.", 255)


async def move_on(
    shim: HomeState,
    destination: Destination,
    old: Conversation,
    converse: Converse,
    progress: Progress,
    *,
    root: str = "mfs",
) -> MoveReport:
    """Move the body from where it is to `destination`; `root` "local" is this node itself, behind the deputy.

    On success the state is AWAY and `shim.residence` the new one.  Raises MosixError with the body running where
    it was, ProcessLost when it is gone.
    """
    origin = shim.residence
    assert origin is not None
    began = time.monotonic()
    report = MoveReport(pid=shim.pid, origin=origin.destination.node, target=destination.node, in_place=False)
    await progress({"phase": "offer"})
    residence = await open_residence(shim, destination, root, origin.destination.node)
    shim.step(State.ONWARD)
    shim.relays.pause_input()
    try:
        conversation = converse(residence)
        dumped = await _transfer(shim, origin, old, residence, conversation, progress)
    except BaseException as failure:
        close_residence(residence)
        await _go_on_there(shim, origin)
        if isinstance(failure, TimeoutError):
            raise StaysThere(shim.pid, report.origin, "the move took too long") from None
        raise
    await _commit(shim, origin, residence, conversation, dumped)
    report.frozen_ms = (time.monotonic() - began) * 1e3
    shim.record.moves += 1
    shim.journal.write(shim.record)
    report.total_ms = (time.monotonic() - began) * 1e3
    report.bytes = sum(len(image) for image in dumped.images.values()) + shim.rss_bytes
    return report


async def _transfer(
    shim: HomeState,
    origin: Residence,
    old: Conversation,
    residence: Residence,
    conversation: Conversation,
    progress: Progress,
) -> Dumped:
    """Everything up to the gate; nothing is decided yet."""
    await progress({"phase": "copy"})
    target = residence.destination
    await origin.link.send(
        SendOn(
            address=target.address,
            port=residence.pages_port,
            node=target.node,
            migration_id=residence.migration_id,
            token=residence.token,
        )
    )
    dumped = await old.answer(Dumped, PAGES_TIMEOUT_S)
    if not await shim.relays.written(OUTPUT_TIMEOUT_S):
        raise StaysThere(shim.pid, origin.destination.node, "a reader of its output does not read")
    await progress({"phase": "restore"})
    await residence.link.send(_prepare(shim, dumped))
    await conversation.answer(AtGate, GATE_TIMEOUT_S)
    await shim.at("home-onward-ready")
    return dumped


def _prepare(shim: HomeState, dumped: Dumped) -> Prepare:
    assert shim.survey is not None
    relay = shim.relays.terminal
    shim.foreground = shim.is_in_foreground()
    return Prepare(
        jail=jail_facts(shim.survey, ctty=shim.controls_terminal, foreground=shim.foreground)
        | {"max_id": max(dumped.pids, default=shim.pid)},
        images=dumped.images,
        relays=shim.relays.specs(dumped.keys),
        tracked={str(entry.fd): entry.fd for entry in shim.survey.files if str(entry.fd) in dumped.offsets},
        terminal=read_state(relay.fd) if relay is not None else None,
        foreground=shim.foreground,
    )


async def _commit(
    shim: HomeState, origin: Residence, residence: Residence, conversation: Conversation, dumped: Dumped
) -> None:
    """From here on the new copy is the body; only a node that says it never ran gives it back to the old one."""
    shim.claim.forget_effects()
    _settle(shim, residence)
    await shim.at("home-onward-committed")
    shim.relays.detach(dumped.unread)
    shim.relays.attach(residence.link.post, shim.is_in_foreground)
    try:
        await residence.link.send(Go(shim.record.epoch, shim.spec.lease_s, shim.spec.grace_s))
        await until_running(shim, conversation)
    except (MosixError, TimeoutError):
        close_residence(residence)
        if shim.claim.had_effect:
            close_residence(origin)  # whoever looks after the process sees that no body is left
            raise ProcessLost(shim.pid, residence.destination.node) from None
        await ask_fate(shim, residence)
        _settle(shim, origin)
        shim.relays.detach({})
        shim.relays.attach(origin.link.post, shim.is_in_foreground)
        await _go_on_there(shim, origin)
        raise StaysThere(shim.pid, origin.destination.node, "the other node did not start it") from None
    shim.residence = residence
    shim.relays.resume_input(terminal_input=shim.foreground)
    try:
        await origin.link.send(Finish())
        await origin.link.finish(OUTPUT_TIMEOUT_S)
    except LinkLost:
        pass  # the old host kills what it holds when the connection is gone
    close_residence(origin)


def _settle(shim: HomeState, residence: Residence) -> None:
    """Journal where the body lives now."""
    shim.lease.answered(now())
    shim.record.epoch += 1
    shim.record.node = residence.destination.node
    shim.record.address = residence.destination.address
    shim.record.migration_id = residence.migration_id
    if shim.state is State.ONWARD:
        shim.step(State.AWAY)
    else:
        shim.journal.write(shim.record)


async def _go_on_there(shim: HomeState, origin: Residence) -> None:
    if shim.state is State.ONWARD:
        shim.settle(State.AWAY)
    try:
        await origin.link.send(Resume())
    except LinkLost:
        return  # whoever looks after the process sees that the guest is lost
    shim.relays.resume_input(terminal_input=shim.foreground)
