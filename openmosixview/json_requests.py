"""Reading what pages send and answering them: JSON in, JSON out, errors with their message.

Owns the checks of arguments that come from a browser. Errors of any kind become one sentence a page can show.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from omprotocol.errors import EXIT_NOT_FOUND, EXIT_REFUSED, EXIT_USAGE, MosixError

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn a MosixError into an answer with a fitting status."""
    try:
        return await handler(request)
    except MosixError as error:
        return web.json_response({"error": error.to_wire()}, status=_status(error))
    except web.HTTPException as error:
        if not request.path.startswith("/api/") or error.status < 400:
            raise
        return web.json_response({"error": {"code": "http", "message": error.reason}}, status=error.status)
    except (OSError, ValueError):
        log.exception("view.handler_failed")
        body = {"code": "internal", "message": "The view failed on this request: see its terminal."}
        return web.json_response({"error": body}, status=500)


async def body_of(request: web.Request) -> dict[str, Any]:
    """The object a page sent. Raises MosixError `bad-request`."""
    try:
        body = json.loads(await request.text())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise bad("An order is one JSON object.")
    return body


def whole(body: dict[str, Any], name: str, low: int, high: int) -> int:
    """A whole number of the body. Raises MosixError `bad-request`."""
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise bad(f"{name}: a whole number within {low}-{high} is expected.")
    return value


def word(body: dict[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    """One of some words. Raises MosixError `bad-request`."""
    value = body.get(name)
    if not isinstance(value, str) or value not in allowed:
        raise bad(f"{name}: one of {', '.join(allowed)} is expected.")
    return value


def path_number(request: web.Request, name: str, high: int) -> int:
    """A number in the address. Raises MosixError `bad-request`."""
    text = request.match_info[name]
    if not text.isascii() or not text.isdecimal() or len(text) > 10 or int(text) > high:
        raise bad(f"{name}: a number is expected.")
    return int(text)


def query_number(request: web.Request, name: str, default: float) -> float:
    """A finite number of the query. Raises MosixError `bad-request`."""
    try:
        value = float(request.query.get(name, default))
    except ValueError:
        raise bad(f"{name}: a number is expected.") from None
    if not -1e12 < value < 1e12:
        raise bad(f"{name}: a number is expected.")
    return value


def bad(message: str) -> MosixError:
    """The error for an order that makes no sense."""
    return MosixError("bad-request", message, EXIT_USAGE)


def _status(error: MosixError) -> int:
    if error.code == "permission" or error.exit_status == EXIT_REFUSED:
        return 403
    by_code = {"no-daemon": 503, "timeout": 504, "bad-request": 400, "improper-value": 400, "unknown-verb": 501}
    return by_code.get(error.code, 404 if error.exit_status == EXIT_NOT_FOUND else 409)
