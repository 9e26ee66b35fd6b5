"""The one error that crosses process and node borders, and its exit statuses.

A `MosixError` carries a stable code for programs, one sentence for people and the exit status of a command
that ends with it. Never add fields that cannot be written as JSON.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_NOT_FOUND = 4
EXIT_TIMEOUT = 5
EXIT_NO_DAEMON = 6


class MosixError(Exception):
    """Something a user must be told: `code` (stable, kebab-case), `message` (one sentence), `exit_status`
    (0-255).
    """

    def __init__(self, code: str, message: str, exit_status: int = EXIT_FAILED) -> None:
        super().__init__(code, message, exit_status)
        self.code = code
        self.message = message
        self.exit_status = exit_status

    def __str__(self) -> str:
        return self.message

    def to_wire(self) -> dict[str, object]:
        """Return the `error` object of the control and peer protocols."""
        return {"code": self.code, "message": self.message, "exit": self.exit_status}

    @staticmethod
    def from_wire(error: object) -> MosixError:
        """Return the error another process sent; what is missing or ill-typed gets a plain default."""
        fields = error if isinstance(error, dict) else {}
        code, message, status = (fields.get(name) for name in ("code", "message", "exit"))
        return MosixError(
            code if isinstance(code, str) else "failed",
            message if isinstance(message, str) else "The other side failed without saying why.",
            status if isinstance(status, int) and 0 < status < 256 else EXIT_FAILED,
        )


class PeerUnreachable(MosixError):
    """The other node did not answer in time, or no connection to it could be made."""


class PeerRefused(MosixError):
    """The other node answered and refused, or could not prove that it belongs to this cluster."""
