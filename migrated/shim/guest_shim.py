"""The guest shim: one process per guest, which outlives the daemon of its node.

Owns the jail, the guest ends of the relays and the lease.  Never decides that its copy runs: it waits at the gate
for home's GO and kills the copy when that does not come; it freezes the body when the lease lapses and kills it
after the grace time, or at once when the connection to home is gone.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import signal
import struct
from pathlib import Path
from typing import Any

from migrated.core.lease import GuestLease, Standing
from migrated.jail.jail import Jail
from migrated.known import write_guest
from migrated.shim.children import Child
from migrated.shim.fault_points import fault_point
from migrated.shim.guest_arrival import show_life, while_linked, write_images
from migrated.shim.guest_capture import GuestCapture
from migrated.shim.guest_departing import Departing, companions
from migrated.shim.guest_files import Files
from migrated.shim.guest_lease import LeaseKeeper
from migrated.shim.guest_relays import GuestRelays
from migrated.shim.guest_spec import GuestSpec, jail_spec
from migrated.shim.guest_usage import usage_of
from migrated.shim.home_state import now
from migrated.shim.link import Link, LinkLost
from migrated.shim.messages import (
    AnyMessage,
    AtGate,
    BadMessage,
    BodyContinued,
    BodyEnded,
    BodyStopped,
    Broken,
    Capture,
    Data,
    EndOfInput,
    Failed,
    Finish,
    Go,
    LeaseGranted,
    ModesChanged,
    Prepare,
    Refuse,
    Resume,
    Running,
    SendOn,
    Signal,
    Taken,
    TerminalSet,
    WantPages,
)
from migrated.shim.terminal import home_state, packet_mode, peer_of, read_state
from omprotocol.certificates import Identity
from omprotocol.errors import MosixError

_log = logging.getLogger(__name__)
PREPARE_TIMEOUT_S = 180.0
PAGES_TIMEOUT_S = 120.0
GATE_TIMEOUT_S = 30.0
_ABOUT_DUMPS = ("dumped", "dump-failed", "refused-op")
_PREPARING = ("init",)
_FAREWELL_S = 3.0
_SIGINFO_BYTES = 128
_SI_TKILL = -6


class GuestShim:
    """The life of one guest on this node."""

    def __init__(
        self, spec: GuestSpec, identity: Identity, directory: Path, link: Link, files: Files, pages: Child
    ) -> None:
        self._spec = spec
        self._identity = identity
        self._directory = directory
        self._link = link
        self._files = files
        self._pages = pages
        self._jail: Jail | None = None
        self._relays = GuestRelays()
        self._lease = GuestLease(valid_from_s=now())
        self._keeper: LeaseKeeper | None = None
        self._body = 0
        self._captured: GuestCapture | None = None
        self._departing: Departing | None = None
        self._orphaned = False
        self._dumps: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._last_modes: list[int] = []
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def run(self) -> None:
        """From the first message to the end of the guest.  Leaves nothing behind."""
        try:
            pulse = asyncio.create_task(show_life(self._link), name="signs of life")
            try:
                arrived = await self._arrive()
            finally:
                pulse.cancel()
            if arrived:
                await self._live()
        except (MosixError, OSError, TimeoutError) as error:
            _log.warning("guest.home_lost", extra={"pid": self._spec.pid, "home": self._spec.home, "why": str(error)})
        finally:
            self._clean_up()
            await self._link.finish(_FAREWELL_S)

    async def _arrive(self) -> bool:
        """Restore up to the gate and wait for the word; True when the body runs."""
        async with asyncio.timeout(PREPARE_TIMEOUT_S):
            prepare = await self._link.receive()
        if not isinstance(prepare, Prepare):
            raise LinkLost("home did not send the process")
        await self._at("guest-prepare")
        word = asyncio.create_task(self._link.receive(), name="the word of home")
        try:
            return await self._restore_and_go(prepare, word)
        finally:
            word.cancel()

    async def _restore_and_go(self, prepare: Prepare, word: asyncio.Task[AnyMessage]) -> bool:
        try:
            await while_linked(word, self._restore(prepare))
        except (MosixError, OSError, ValueError, TimeoutError) as error:
            await self._link.send(
                Failed(why=f"Node {self._spec.node} could not restore process {self._spec.pid}: {error}")
            )
            return False
        self._body = self._host_pid()
        await self._at("guest-gate")
        said_s = now()
        await self._link.send(AtGate())
        async with asyncio.timeout(GATE_TIMEOUT_S):
            go = await word
        if not isinstance(go, Go):
            return False
        await self._at("guest-go")
        self._lease = GuestLease(said_s, go.lease_s, go.grace_s)
        if self._lease.standing(now()) is not Standing.RUN:
            return False  # the order is too old: home may have given this copy up
        assert self._jail is not None
        write_guest(self._directory, self._spec, os.getpid(), self._body)
        (self._directory / "ran").touch()
        await self._at("guest-ran")
        self._jail.send("go")
        await self._expect("restored")
        self._relays.handed_over()
        await self._at("guest-running")
        await self._link.send(Running())
        return True

    async def _at(self, step: str) -> None:
        await fault_point(self._spec.run_dir, step)

    async def _restore(self, prepare: Prepare) -> None:
        images = self._directory / "images"
        write_images(images, prepare.images)
        if await self._pages.wait(PAGES_TIMEOUT_S) != 0:
            raise MosixError("pages-lost", "its memory did not arrive")
        spec = jail_spec(self._spec, prepare.jail, str(self._directory / "jail"), str(images))
        own_terminal = spec.tty_index is not None
        self._relays = GuestRelays.build(
            prepare.relays, prepare.terminal, self._link.post, self._modes_changed, terminal_in_jail=own_terminal
        )
        if prepare.terminal is not None:
            self._last_modes = prepare.terminal.modes
        slave = self._relays.slave if self._relays.slave >= 0 else None
        self._jail = Jail.start(spec, self._files.device, slave)
        self._files.close_device()
        asyncio.get_running_loop().add_reader(self._jail.fileno(), self._read_jail)
        await self._expect("ready")
        if own_terminal:
            self._adopt_terminal()
        pipes = self._relays.pipes
        self._jail.send(
            "restore",
            [fd for _, fd in pipes],
            keys=[key for key, _ in pipes],
            tty_keys=self._relays.terminals,
            track=prepare.tracked,
        )
        await self._expect("gate")
        if prepare.terminal is not None:
            self._relays.set_modes(prepare.terminal)

    def _adopt_terminal(self) -> None:
        """The jail has made a terminal with the number it has at home."""
        assert self._jail is not None
        master, self._jail.tty_master_fd = self._jail.tty_master_fd, None
        if master is None:
            raise MosixError("no-terminal", "its terminal could not be made")
        packet_mode(master)
        self._relays.adopt_terminal(master, peer_of(master))

    async def _expect(self, wanted: str) -> dict[str, Any]:
        async with asyncio.timeout(GATE_TIMEOUT_S * 2):
            while (event := await self._events.get())["ev"] in _PREPARING:
                pass
        if event["ev"] != wanted:
            raise MosixError("restore-failed", str(event.get("message") or event["ev"]))
        return event

    async def _live(self) -> None:
        self._keeper = LeaseKeeper(self._spec.pid, self._lease, self._link, self._hold, self._let_go)
        keeping = asyncio.create_task(self._keeper.run(self._tick), name="lease")
        reader = asyncio.create_task(self._link.receive(), name="from home")
        event = asyncio.create_task(self._events.get(), name="from the jail")
        try:
            while True:
                await asyncio.wait({reader, event}, return_when=asyncio.FIRST_COMPLETED)
                if event.done():
                    if await self._jail_event(event.result()):
                        return
                    event = asyncio.create_task(self._events.get(), name="from the jail")
                if reader.done():
                    if not await self._from_home(reader.result()):
                        return
                    reader = asyncio.create_task(self._link.receive(), name="from home")
        finally:
            for task in (keeping, reader, event):
                task.cancel()
            await asyncio.wait({keeping, reader, event})

    def _tick(self) -> bool:
        """Between two leases: tell what the body uses; false when it cannot go on."""
        if self._orphaned and self._jail is not None and not self._jail.family():
            return False
        if self._files.lost:
            _log.error("guest.files_lost", extra={"pid": self._spec.pid, "home": self._spec.home})
            return False
        self._link.post(usage_of(self._body))
        return True

    def _hold(self) -> None:
        assert self._jail is not None
        self._jail.hold()

    def _let_go(self) -> None:
        if self._jail is not None and self._departing is None:
            self._jail.thaw()

    def _read_jail(self) -> None:
        assert self._jail is not None
        while True:
            try:
                event, fds = self._jail.receive(timeout_s=0.0)
            except MosixError as error:
                if error.code != "timeout":
                    asyncio.get_running_loop().remove_reader(self._jail.fileno())
                    self._events.put_nowait({"ev": "gone", "message": error.message})
                    self._dumps.put_nowait({"ev": "gone", "message": error.message})
                break
            for fd in fds:
                os.close(fd)
            (self._dumps if event["ev"] in _ABOUT_DUMPS else self._events).put_nowait(event)
        if self._jail.mounted:
            self._files.mounted()

    async def _jail_event(self, event: dict[str, Any]) -> bool:
        """Report what happened to the body; True when that was its end."""
        match event["ev"]:
            case "stopped":
                self._relays.drain_output()
                await self._link.send(BodyStopped(signo=event["signo"]))
            case "continued":
                await self._link.send(BodyContinued())
            case "exit" | "signaled" as how:
                self._relays.drain_output()
                await self._link.send(
                    BodyEnded(
                        how="exit" if how == "exit" else "core" if event["core"] else "signal",
                        status=event["status"] if how == "exit" else event["signo"],
                        offsets=event["offsets"],
                        orphans=len(event["others"]),
                        user_s=event["user_s"],
                        system_s=event["system_s"],
                    )
                )
                self._orphaned = bool(event["others"])
                return not self._orphaned
            case "gone":
                self._relays.drain_output()
                await self._link.send(BodyEnded(how="signal", status=signal.SIGKILL, offsets={}))
                return True
        return False

    async def _from_home(self, message: AnyMessage) -> bool:
        """Do what home says; False when the guest is to end."""
        assert self._jail is not None
        match message:
            case Data() | Taken() | EndOfInput() | Broken():
                self._relays.handle(message)
            case LeaseGranted(number=number):
                if self._keeper is not None:
                    self._keeper.granted(number)
            case Signal(signo=signo, info=info):
                self._signal(signo, info)
            case TerminalSet(size=size, foreground=foreground):
                if size is not None:
                    self._relays.set_size(size)
                if foreground is not None:
                    self._jail.send("foreground", value=foreground)
            case Capture():
                await self._capture()
            case WantPages() if self._captured is not None:
                await self._captured.send_pages(self._link)
            case SendOn():
                await self._send_on(message)
            case Resume():
                self._release()
            case Finish() | Refuse():
                return False
            case _:
                raise BadMessage(f"{type(message).__name__} out of turn")
        return True

    def _signal(self, signo: int, info: bytes) -> None:
        """Pass a signal on: with its siginfo when a program sent it, plain when the kernel did."""
        assert self._jail is not None
        code = struct.unpack_from("i", info, 8)[0] if len(info) == _SIGINFO_BYTES else 0
        if code > 0 or code == _SI_TKILL or not info:
            self._jail.send("signal", signo=signo)
        else:
            self._jail.send("queue", siginfo=base64.b64encode(info).decode())

    def _host_pid(self) -> int:
        assert self._jail is not None
        pid = self._jail.host_pid(self._spec.pid)
        if pid is None:
            raise MosixError("guest-gone", f"The body of process {self._spec.pid} is gone.")
        return pid

    async def _capture(self) -> None:
        try:
            self._captured = GuestCapture.take(self._host_pid())
        except (MosixError, OSError, ValueError) as error:
            await self._link.send(Failed(why=f"The body of process {self._spec.pid} cannot be captured: {error}"))
            return
        await self._at("guest-captured")
        self._relays.drain_output()
        captured = self._captured.message(self._relays.take_unread(), self._relays.links)
        captured.companions = len(companions(self._body))
        await self._link.send(captured)

    async def _send_on(self, order: SendOn) -> None:
        assert self._jail is not None
        departing = Departing(self._jail, self._spec, self._relays, self._directory, self._dumps)
        try:
            answer = await departing.send(order, self._identity, self._body)
        except (MosixError, OSError, TimeoutError) as error:
            departing.undo()
            await self._link.send(Failed(why=f"Process {self._spec.pid} could not be sent on: {error}"))
            return
        self._departing = departing
        await self._link.send(answer)

    def _release(self) -> None:
        if self._departing is not None:
            self._departing.undo()
            self._departing = None
        if self._captured is not None:
            self._relays.give_back(self._captured.unread)
            self._captured.release()
            self._captured = None

    def _modes_changed(self) -> None:
        """The body set terminal modes: keep the relay's own, and tell home what the body meant."""
        if self._relays.slave < 0:
            return
        state = read_state(self._relays.slave)
        meant = home_state(state)
        if meant.modes == self._last_modes:
            return
        self._last_modes = meant.modes
        self._relays.set_modes(meant)
        with contextlib.suppress(LinkLost):
            self._link.post(ModesChanged(terminal=meant))

    def _clean_up(self) -> None:
        if self._captured is not None:
            self._captured.kill()
        if self._jail is not None:
            asyncio.get_running_loop().remove_reader(self._jail.fileno())
        self._files.end()
        if self._jail is not None:
            self._jail.kill()
        self._pages.kill()
        self._relays.close()
