"""The first move of a process away from home: freeze, dump, restore to the gate, commit, go, hollow.

Every failure before COMMIT thaws the original, which goes on as if nothing had been asked.  After COMMIT the
original stays frozen until the guest's node has said that the copy runs; if that word never comes, the epoch is
closed first (no effect of the copy can reach home any more) and the guest's node is asked what became of it.
Source: the commit protocol in docs/ARCHITECTURE.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

from migrated.core.lease import certain_after_s
from migrated.core.ledger import State
from migrated.criu.dump import DumpRequest, run_dump
from migrated.criu.images import pending_signals, signal_number
from migrated.deputy.channel import DeputyChannel
from migrated.deputy.error import ProcessGone
from migrated.deputy.freezer import Freezer
from migrated.deputy.hollow import hollow
from migrated.deputy.pending import PendingFilter
from migrated.shim.conversation import Conversation
from migrated.shim.fate import ask_fate
from migrated.shim.fault_points import fault_point_blocking
from migrated.shim.guest_spec import jail_facts
from migrated.shim.home_relays import HomeRelays
from migrated.shim.home_state import Destination, HomeState, MoveReport, Residence, now
from migrated.shim.link import LinkLost
from migrated.shim.messages import AtGate, Go, Prepare, Running, TerminalState
from migrated.shim.residence import (
    clear_directory,
    close_residence,
    open_residence,
    read_images,
    stream_pages,
)
from migrated.shim.terminal import read_state
from migrated.survey.survey import Survey, survey
from omprotocol.errors import MosixError

FREEZE_TIMEOUT_S = 5.0
PAGES_TIMEOUT_S = 120.0
GATE_TIMEOUT_S = 60.0
RUNNING_TIMEOUT_S = 10.0
PATIENCE_S = 10.0
DUMP_TIMEOUT_S = 10
Progress = Callable[[dict[str, Any]], Awaitable[None]]
Converse = Callable[[Residence], Conversation]


class CannotMove(MosixError):
    """The process has a reason to stay; it was not touched."""

    def __init__(self, pid: int, reasons: list[str]) -> None:
        super().__init__("unmovable", f"Process #{pid} is unmovable: {', '.join(reasons)}.", 255)
        self.reasons = reasons


class ProcessLost(MosixError):
    """The copy ran, was cut off and cannot be resumed; the original was ended with SIGKILL."""

    def __init__(self, pid: int, node: int) -> None:
        super().__init__("process-lost", f"Process {pid} was lost: node {node} ran it and was cut off.", 255)


async def depart(shim: HomeState, destination: Destination, converse: Converse, progress: Progress) -> MoveReport:
    """Move the process from home to `destination`.

    On success the state is AWAY and `shim.hollow`, `.channel`, `.relays`, `.residence` are set.  Raises CannotMove
    or another MosixError with the process running at home, ProcessLost when it is gone.
    """
    began = time.monotonic()
    shim.survey = _movable(shim.pid)
    await progress({"phase": "offer"})
    freezer = Freezer.create(shim.pid, f"{shim.pid}")
    residence: Residence | None = None
    try:
        shim.record.freezer = freezer.to_json()
        shim.record.node, shim.record.address = destination.node, destination.address
        shim.step(State.OFFERED)
        await shim.at("home-offered")
        residence = await open_residence(shim, destination)
        shim.record.migration_id = residence.migration_id
        await shim.at("home-accepted")
        conversation = converse(residence)
        conversation.patience_s = max(certain_after_s(shim.spec.lease_s), PATIENCE_S)
        report = await _copy_and_commit(shim, residence, freezer, conversation, progress)
    except BaseException as failure:
        if shim.state is State.COMMITTED:
            assert residence is not None
            await _after_commit(shim, residence, freezer, failure)
        _undo(shim, residence, freezer)
        if isinstance(failure, TimeoutError):
            raise MosixError(
                "timeout", f"Node {destination.node} took too long; process {shim.pid} goes on at home.", 5
            ) from None
        raise
    conversation.patience_s = None  # from now on it is the lease that counts
    shim.residence = residence
    report.total_ms = (time.monotonic() - began) * 1e3
    report.bytes += residence.link.bytes_sent
    return report


async def _copy_and_commit(
    shim: HomeState, residence: Residence, freezer: Freezer, conversation: Conversation, progress: Progress
) -> MoveReport:
    report = MoveReport(pid=shim.pid, origin=shim.spec.node, target=residence.destination.node)
    shim.step(State.FROZEN)
    frozen_at = time.monotonic()
    await progress({"phase": "freeze"})
    freezer.freeze(FREEZE_TIMEOUT_S)
    await shim.at("home-frozen")
    shim.survey = _movable(shim.pid)
    shim.relays = HomeRelays.take(shim.pid, shim.survey.relayed, shim.survey.descriptors)
    await progress({"phase": "copy"})
    prepare = await _dump(shim, residence, freezer, report)
    await shim.at("home-dumped")
    await residence.link.send(prepare)
    await progress({"phase": "restore"})
    await shim.at("home-prepared")
    await conversation.answer(AtGate, GATE_TIMEOUT_S)
    shim.step(State.READY)
    await shim.at("home-ready")
    shim.relays.attach(residence.link.post, shim.is_in_foreground)
    shim.lease.answered(now())
    shim.record.epoch += 1
    shim.claim.forget_effects()
    shim.step(State.COMMITTED)
    await shim.at("home-committed")
    await residence.link.send(Go(shim.record.epoch, shim.spec.lease_s, shim.spec.grace_s))
    await shim.at("home-gone")
    await until_running(shim, conversation)
    await shim.at("home-running")
    report.frozen_ms = (time.monotonic() - frozen_at) * 1e3
    _hollow_original(shim, freezer)
    await shim.at("home-away")
    await progress({"phase": "running"})
    return report


async def until_running(shim: HomeState, conversation: Conversation) -> None:
    """Wait for RUNNING, or for any effect of the copy, which says the same.  Raises MosixError, TimeoutError."""
    try:
        await conversation.answer(Running, min(RUNNING_TIMEOUT_S, certain_after_s(shim.spec.lease_s)))
    except TimeoutError:
        if not shim.claim.had_effect:
            raise


def _hollow_original(shim: HomeState, freezer: Freezer) -> None:
    shim.claim.effect()  # known to run: from here on the original is history, also for whoever finds it when we die

    def fault(step: str) -> None:
        fault_point_blocking(shim.spec.run_dir, f"home-hollow-{step}")

    shim.hollow = hollow(shim.pid, freezer, fault=fault)
    at_hollowing = zip(shim.hollow.pending, shim.hollow.pending_codes, strict=True)
    shim.pending = PendingFilter(shim.signals_in_image, at_hollowing)
    shim.record.freezer = None
    shim.record.hollow = shim.hollow.to_json()
    shim.record.moves += 1
    shim.settle(State.AWAY)
    shim.channel = DeputyChannel.open(shim.pid, shim.hollow)
    shim.relays.resume_input(terminal_input=shim.foreground)


async def _dump(shim: HomeState, residence: Residence, freezer: Freezer, report: MoveReport) -> Prepare:
    assert shim.survey is not None
    facts = shim.survey.facts
    images = shim.work_dir / "images"
    clear_directory(images)
    images.mkdir(mode=0o700, parents=True)
    ours, theirs = socket.socketpair()
    pages = stream_pages(shim, residence, theirs)
    try:
        request = DumpRequest(
            pid=shim.pid,
            images_dir=str(images),
            uid=facts.uid,
            gid=facts.gid,
            freeze_cgroup=str(freezer.path),
            external=[relay.descriptor.key for relay in shim.relays.relays if relay.is_terminal],
            page_server_fd=ours.fileno(),
            hold_fds=[shim.claim.fd],
            timeout_s=DUMP_TIMEOUT_S,
        )
        await asyncio.to_thread(run_dump, request)
        ours.close()
        if await pages.wait(PAGES_TIMEOUT_S) != 0:
            raise MosixError(
                "pages-lost",
                f"The memory of process {shim.pid} did not reach the other node; it goes on at home.",
            )
        report.bytes += facts.rss_bytes
        shim.signals_in_image = [signal_number(info) for info in pending_signals(str(images), shim.pid)]
        return _prepare(shim, read_images(images))
    finally:
        ours.close()
        pages.kill()
        clear_directory(images)


def _prepare(shim: HomeState, images: dict[str, bytes]) -> Prepare:
    assert shim.survey is not None
    facts = shim.survey.facts
    terminal: TerminalState | None = None
    if shim.relays.terminal is not None:
        terminal = read_state(shim.relays.terminal.fd)
        shim.foreground = facts.foreground_pgid == facts.pgid
    shim.controls_terminal = _is_controlling(shim)
    return Prepare(
        jail=jail_facts(shim.survey, ctty=shim.controls_terminal, foreground=shim.foreground),
        images=images,
        relays=shim.relays.specs(),
        tracked={str(entry.fd): entry.fd for entry in shim.survey.files},
        terminal=terminal,
        foreground=shim.foreground,
    )


def _is_controlling(shim: HomeState) -> bool:
    assert shim.survey is not None
    relay = shim.relays.terminal
    device = shim.survey.facts.tty_device
    return relay is not None and device == _kernel_device(relay.descriptor.special_device)


def _kernel_device(device: int) -> int:
    """The number /proc/PID/stat shows for a device (new_encode_dev)."""
    major, minor = os.major(device), os.minor(device)
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


def _movable(pid: int) -> Survey:
    found = survey(pid)
    if found.reasons:
        raise CannotMove(pid, found.reasons)
    return found


async def _after_commit(shim: HomeState, residence: Residence, freezer: Freezer, failure: BaseException) -> None:
    """COMMIT is journaled and the copy is not known to run: close the epoch, and wait until it certainly does not.

    Returns when nothing of the copy has had an effect at home: the original may go on as if there had been none.
    """
    close_residence(residence)
    if not shim.claim.had_effect:
        await ask_fate(shim, residence)
        return
    shim.relays.close()
    shim.settle(State.DEAD)
    _kill_original(shim, freezer)
    if isinstance(failure, ProcessGone):
        raise failure
    raise ProcessLost(shim.pid, residence.destination.node)


def _kill_original(shim: HomeState, freezer: Freezer) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(shim.pidfd, signal.SIGKILL)
    freezer.thaw()
    freezer.release()


def _undo(shim: HomeState, residence: Residence | None, freezer: Freezer) -> None:
    """Back to LOCAL: the original runs on, and the copy, if there was one, is fenced off."""
    if residence is not None:
        close_residence(residence)
    freezer.thaw()
    freezer.release()
    shim.relays.close()
    shim.record.freezer = None
    if shim.state is not State.LOCAL:
        shim.settle(State.LOCAL)


__all__ = ["CannotMove", "Converse", "LinkLost", "ProcessLost", "Progress", "depart"]
