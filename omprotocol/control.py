"""Client of the control socket, for commands.

Owns the client half of the control protocol: JSON lines over the Unix stream socket of `Paths`. Blocking,
standard library only, and quick to import, because every command starts with it. Never decides what a
caller may do: the daemon judges by the credentials of the socket.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

from omprotocol.errors import EXIT_FAILED, EXIT_NO_DAEMON, EXIT_REFUSED, EXIT_TIMEOUT, MosixError
from omprotocol.paths import Paths

PROTOCOL_VERSION = 1
ANSWER_LIMIT_BYTES = 64 << 20
"""Longest answer line a command accepts; a map of 65535 nodes is below 16 MiB."""


def request(
    verb: str,
    args: Mapping[str, Any] | None = None,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    timeout_s: float = 30.0,
    paths: Paths | None = None,
) -> dict[str, Any]:
    """Ask the daemon of this machine and return its result. Blocks.

    `timeout_s` bounds the wait for each line, so a verb that reports progress may take longer in all. Raises
    MosixError: what the daemon answered, `no-daemon` (exit status 6), `timeout` (5) or `bad-answer` (1).
    """
    where = (paths or Paths.from_environment()).control_socket
    line = json.dumps({"v": PROTOCOL_VERSION, "verb": verb, "args": dict(args or {})}).encode() + b"\n"
    with _connect(str(where), timeout_s) as connection:
        try:
            connection.sendall(line)
        except TimeoutError:
            raise _timed_out(verb, timeout_s) from None
        except OSError:
            pass  # the daemon may have refused the connection already; its last words are still to be read
        return _read_answer(connection, verb, on_progress, timeout_s)


def _connect(where: str, timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(where)
    except OSError as error:
        connection.close()
        if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
            message = f"No openMosix daemon runs on this machine ({where}): start omdiscd first."
            raise MosixError("no-daemon", message, EXIT_NO_DAEMON) from None
        if isinstance(error, PermissionError):
            message = f"Permission denied on {where}: the daemon's directory is closed to you."
            raise MosixError("permission", message, EXIT_REFUSED) from None
        if isinstance(error, (TimeoutError, BlockingIOError)):
            message = f"The openMosix daemon is too busy to take a request ({where}): try again."
            raise MosixError("timeout", message, EXIT_TIMEOUT) from None
        message = f"Cannot reach the openMosix daemon at {where}: {error.strerror or error}."
        raise MosixError("no-daemon", message, EXIT_NO_DAEMON) from None
    return connection


def _read_answer(
    connection: socket.socket,
    verb: str,
    on_progress: Callable[[dict[str, Any]], None] | None,
    timeout_s: float,
) -> dict[str, Any]:
    with connection.makefile("rb") as lines:
        while True:
            try:
                line = lines.readline(ANSWER_LIMIT_BYTES)
            except TimeoutError:
                raise _timed_out(verb, timeout_s) from None
            except OSError:
                line = b""
            if not line.endswith(b"\n"):
                message = f"The openMosix daemon ended the connection before it answered '{verb}': see its log."
                raise MosixError("bad-answer", message, EXIT_FAILED)
            answer = _parsed(line)
            if "progress" in answer:
                if on_progress is not None and isinstance(answer["progress"], dict):
                    on_progress(answer["progress"])
            elif answer.get("ok") is True and isinstance(answer.get("result"), dict):
                result: dict[str, Any] = answer["result"]
                return result
            else:
                raise MosixError.from_wire(answer.get("error"))


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise MosixError("bad-answer", "The openMosix daemon gave an answer that makes no sense: see its log.")
    return answer


def _timed_out(verb: str, timeout_s: float) -> MosixError:
    message = f"The openMosix daemon did not answer '{verb}' within {timeout_s:g} s."
    return MosixError("timeout", message, EXIT_TIMEOUT)
