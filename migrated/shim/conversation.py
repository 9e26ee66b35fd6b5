"""The home shim's half of the talk with one guest shim: one reader, answers handed to whoever asked.

Relay bytes, leases and the body's events are dealt with at once, in order; everything else is an answer to the
step that is under way and waits in a short queue (a full queue makes TCP slow the other side down).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from migrated.shim.home_state import HomeState, now
from migrated.shim.link import Link, LinkLost
from migrated.shim.messages import (
    AnyMessage,
    BadMessage,
    BodyContinued,
    BodyEnded,
    BodyStopped,
    Broken,
    Data,
    EndOfInput,
    Failed,
    LeaseAsked,
    LeaseGranted,
    ModesChanged,
    Taken,
    Usage,
)
from omprotocol.errors import MosixError

_QUEUE_LENGTH = 16
_Answer = TypeVar("_Answer", bound=AnyMessage)
BodyEvent = BodyEnded | BodyStopped | BodyContinued | ModesChanged | EndOfInput | Broken


class GuestFailed(MosixError):
    """The guest's node could not do what was asked; the body is as it was before."""

    def __init__(self, why: str) -> None:
        super().__init__("guest-failed", why)


class Conversation:
    """Reads one link until it is lost; `lost` is set then.  `patience_s`: a silence as long counts as lost, too."""

    def __init__(self, shim: HomeState, link: Link, on_body: Callable[[BodyEvent], None]) -> None:
        self._shim = shim
        self._link = link
        self._on_body = on_body
        self._answers: asyncio.Queue[AnyMessage | None] = asyncio.Queue(_QUEUE_LENGTH)
        self.lost = asyncio.Event()
        self.why_lost = ""
        self.patience_s: float | None = None

    async def run(self) -> None:
        """Read until the link is lost.  Never raises for what the peer does."""
        try:
            while True:
                async with asyncio.timeout(self.patience_s):
                    message = await self._link.receive()
                await self._take(message)
        except TimeoutError:
            self.why_lost = f"no sign of life for {self.patience_s:g} s"
        except (LinkLost, BadMessage) as error:
            self.why_lost = str(error)
        finally:
            self.lost.set()
            if self._answers.full():
                self._answers.get_nowait()
            self._answers.put_nowait(None)

    async def answer(self, kind: type[_Answer], timeout_s: float) -> _Answer:
        """Wait for an answer of this kind.  Raises GuestFailed, LinkLost, TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while True:
                message = await self._answers.get()
                if message is None:
                    self._answers.put_nowait(None)
                    raise LinkLost(self.why_lost)
                if isinstance(message, kind):
                    return message
                if isinstance(message, Failed):
                    raise GuestFailed(message.why)

    async def next_answer(self, timeout_s: float) -> AnyMessage:
        """Wait for any answer.  Raises GuestFailed, LinkLost, TimeoutError."""
        async with asyncio.timeout(timeout_s):
            message = await self._answers.get()
        if message is None:
            self._answers.put_nowait(None)
            raise LinkLost(self.why_lost)
        if isinstance(message, Failed):
            raise GuestFailed(message.why)
        return message

    async def _take(self, message: AnyMessage) -> None:
        match message:
            case Data() | Taken() | EndOfInput() | Broken():
                self._shim.claim.effect()
                self._shim.relays.handle(message)
                if isinstance(message, EndOfInput | Broken):
                    self._on_body(message)
            case LeaseAsked(number=number):
                self._shim.lease.answered(now())
                if number:
                    self._link.post(LeaseGranted(number=number))
            case Usage(cpu_s=cpu_s, rss_bytes=rss_bytes, run_delay_s=run_delay_s):
                self._shim.cpu_s, self._shim.rss_bytes, self._shim.run_delay_s = cpu_s, rss_bytes, run_delay_s
            case BodyEnded() | BodyStopped() | BodyContinued() | ModesChanged():
                self._shim.claim.effect()
                self._on_body(message)
            case _:
                await self._answers.put(message)
