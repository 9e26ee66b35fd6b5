"""The daemon's talk with a home shim: one JSON line asked, progress lines and one answer back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from omprotocol.errors import MosixError

_LINE_BYTES = 1 << 20
Progress = Callable[[dict[str, Any]], Awaitable[None]]


class Answer(msgspec.Struct):
    """What the shim said: a result or an error, and whether that was its last word."""

    result: dict[str, Any] | None = None
    error: Any = None
    over: bool = False

    def value(self) -> dict[str, Any]:
        """The result.  Raises the error as MosixError."""
        if self.result is None:
            raise MosixError.from_wire(self.error)
        return self.result


async def ask_shim(work_dir: Path, pid: int, request: dict[str, Any], progress: Progress | None) -> Answer | None:
    """Ask the shim of process `pid`; None when it went away without an answer.

    Raises MosixError no-such-process when there is none.  Waits as long as it lives.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(work_dir / "control", limit=_LINE_BYTES)
    except OSError:
        raise MosixError("no-such-process", f"No such process ({pid}).", 255) from None
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        while line := await _line(reader):
            answer = json.loads(line)
            if "progress" not in answer:
                return Answer(answer.get("result"), answer.get("error"), bool(answer.get("over")))
            if progress is not None:
                await progress(answer["progress"])
    finally:
        writer.close()
    return None


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except OSError:
        return b""
