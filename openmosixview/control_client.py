"""Asynchronous client of the daemon's control socket, for the view and the collector.

Owns connections, their number and their deadlines. Says what the daemon says and decides nothing: who may do
what is the daemon's business.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omprotocol.control import ANSWER_LIMIT_BYTES, PROTOCOL_VERSION
from omprotocol.errors import EXIT_FAILED, EXIT_NO_DAEMON, EXIT_REFUSED, EXIT_TIMEOUT, MosixError

AT_ONCE = 12
"""Connections of one view; the daemon accepts 32 of one user, who also wants to use commands."""
MOVES_AT_ONCE = 8
"""Connections for orders that take long, so that these never keep the live table waiting."""
ANSWER_S = 10.0


class ControlClient:
    """Asks the daemon behind `path`. Safe to use by many tasks at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places = asyncio.Semaphore(AT_ONCE)
        self._long_places = asyncio.Semaphore(MOVES_AT_ONCE)

    async def request(
        self,
        verb: str,
        args: Mapping[str, Any] | None = None,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        timeout_s: float = ANSWER_S,
    ) -> dict[str, Any]:
        """The daemon's result. `timeout_s` bounds the wait for each line. Raises MosixError as the sync client."""
        async with self._places if timeout_s <= ANSWER_S else self._long_places:
            reader, writer = await self._connect(timeout_s)
            try:
                line = json.dumps({"v": PROTOCOL_VERSION, "verb": verb, "args": dict(args or {})})
                writer.write(line.encode() + b"\n")
                return await self._answer(reader, verb, on_progress, timeout_s)
            except OSError:
                raise _ended(verb) from None
            finally:
                writer.transport.abort()

    async def _connect(self, timeout_s: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.open_unix_connection(str(self.path), limit=ANSWER_LIMIT_BYTES)
        except (FileNotFoundError, ConnectionRefusedError):
            message = f"No openMosix daemon runs on this machine ({self.path}): start omdiscd first."
            raise MosixError("no-daemon", message, EXIT_NO_DAEMON) from None
        except PermissionError:
            message = f"Permission denied on {self.path}: the daemon's directory is closed to you."
            raise MosixError("permission", message, EXIT_REFUSED) from None
        except (TimeoutError, BlockingIOError):
            message = f"The openMosix daemon is too busy to take a request ({self.path}): try again."
            raise MosixError("timeout", message, EXIT_TIMEOUT) from None
        except OSError as error:
            message = f"Cannot reach the openMosix daemon at {self.path}: {error.strerror or error}."
            raise MosixError("no-daemon", message, EXIT_NO_DAEMON) from None

    async def _answer(
        self,
        reader: asyncio.StreamReader,
        verb: str,
        on_progress: Callable[[dict[str, Any]], None] | None,
        timeout_s: float,
    ) -> dict[str, Any]:
        while True:
            try:
                async with asyncio.timeout(timeout_s):
                    line = await reader.readuntil(b"\n")
            except TimeoutError:
                message = f"The openMosix daemon did not answer '{verb}' within {timeout_s:g} s."
                raise MosixError("timeout", message, EXIT_TIMEOUT) from None
            except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                raise _ended(verb) from None
            answer = _parsed(line)
            if isinstance(answer.get("progress"), dict):
                if on_progress is not None:
                    on_progress(answer["progress"])
            elif answer.get("ok") is True and isinstance(answer.get("result"), dict):
                result: dict[str, Any] = answer["result"]
                return result
            else:
                raise MosixError.from_wire(answer.get("error"))


def _ended(verb: str) -> MosixError:
    message = f"The openMosix daemon ended the connection before it answered '{verb}': see its log."
    return MosixError("bad-answer", message, EXIT_FAILED)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise MosixError("bad-answer", "The openMosix daemon gave an answer that makes no sense: see its log.")
    return answer
