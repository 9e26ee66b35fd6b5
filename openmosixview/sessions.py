"""Who may use this view: one-time tokens in the printed address, exchanged for session cookies.

Owns tokens and sessions in memory; both end with the process. A token works once and for an hour, so an address
left in a log or a history opens nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from hashlib import sha256

TOKEN_LIFE_S = 3600.0
MAX_TOKENS = 16
MAX_SESSIONS = 64
"""Browsers at once; the one that was not used for longest is forgotten first."""
TOKEN_BYTES = 32


class Sessions:
    """Tokens and sessions of one view; `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tokens: dict[bytes, float] = {}
        self._sessions: dict[bytes, float] = {}

    def new_token(self) -> str:
        """A fresh token for an address."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        while len(self._tokens) >= MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[_digest(token)] = self._clock() + TOKEN_LIFE_S
        return token

    def exchange(self, token: str) -> str | None:
        """The cookie of a new session, None for a token that is wrong, used or too old."""
        until = self._tokens.pop(_digest(token), None)
        if until is None or self._clock() >= until:
            return None
        cookie = secrets.token_urlsafe(TOKEN_BYTES)
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[min(self._sessions, key=self._sessions.__getitem__)]
        self._sessions[_digest(cookie)] = self._clock()
        return cookie

    def is_known(self, cookie: str) -> bool:
        """Whether the cookie belongs to a session."""
        key = _digest(cookie)
        if key not in self._sessions:
            return False
        self._sessions[key] = self._clock()
        return True

    def forget(self, cookie: str) -> None:
        """End a session."""
        self._sessions.pop(_digest(cookie), None)


def _digest(secret: str) -> bytes:
    # Looked up by digest: how long a comparison takes then says nothing about the secret.
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()
