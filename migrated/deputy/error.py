"""What can go wrong between the deputy room and a process.

All are MosixErrors: one sentence that says which process, what happened and where it is now.
"""

from __future__ import annotations

from omprotocol.errors import EXIT_FAILED, EXIT_NOT_FOUND, EXIT_TIMEOUT, MosixError


class ProcessGone(MosixError):
    """The process (or the thread) ended while it was looked at."""

    def __init__(self, pid: int) -> None:
        super().__init__("no-such-process", f"Process {pid} has ended.", EXIT_NOT_FOUND)
        self.pid = pid


class FreezeFailed(MosixError):
    """The process could not be frozen; it runs on."""

    def __init__(self, pid: int, why: str) -> None:
        super().__init__("freeze-failed", f"Process {pid} could not be frozen ({why}); it runs on.", EXIT_TIMEOUT)


class HollowFailed(MosixError):
    """The process could not be hollowed; it runs on at home with all of its memory."""

    def __init__(self, pid: int, why: str) -> None:
        super().__init__(
            "hollow-failed", f"Process {pid} could not be made a deputy ({why}); it runs on at home.", EXIT_FAILED
        )


class RefillFailed(MosixError):
    """The deputy could not be made the process again."""

    def __init__(self, pid: int, why: str) -> None:
        super().__init__("refill-failed", f"Process {pid} could not be refilled at home ({why}).", EXIT_FAILED)


class CaptureFailed(MosixError):
    """The body could not be read; it runs on where it is."""

    def __init__(self, pid: int, why: str) -> None:
        super().__init__("capture-failed", f"Process {pid} could not be captured ({why}); it runs on.", EXIT_FAILED)
