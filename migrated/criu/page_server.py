"""CRIU's page server, fed from a connected socket.

The receiving end of a streamed dump: writes pages-*.img and pagemap-*.img into the images directory (a
tmpfs) while the rest of the images comes another way. libcriu has no call for it, so the binary is run. It
ends by itself when the dump is complete, and with an error when the stream ends early.
"""

from __future__ import annotations

import os
import subprocess

from .error import failure, log_tail
from .place import CriuPlace, find_criu

_LOG_FILE = "page-server.log"


class RunningPageServer:
    """A page server under way."""

    def __init__(self, images_dir: str, process: subprocess.Popen[bytes]) -> None:
        self.images_dir = images_dir
        self._process = process

    @property
    def pid(self) -> int:
        """Its PID, for a pidfd."""
        return self._process.pid

    def wait(self, timeout_s: float) -> None:
        """Wait until all pages are in the images directory. CriuError when they are not; on timeout it is
        ended.
        """
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.stop()
            status = -1
        if status != 0:
            tail = log_tail(os.path.join(self.images_dir, _LOG_FILE))
            raise failure("receive the memory of a process", "page-server", status, 0, tail)

    def stop(self) -> None:
        """End it at once; nobody's process depends on it. Idempotent."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def start_page_server(images_dir: str, stream_fd: int, place: CriuPlace | None = None) -> RunningPageServer:
    """Start one on `stream_fd` (a connected AF_UNIX stream socket). The caller closes its copy of it
    afterwards.
    """
    place = place or find_criu()
    argv = place.command("page-server", "--ps-socket", str(stream_fd), "-D", images_dir, "-o", _LOG_FILE, "-v2")
    process = subprocess.Popen(
        argv,
        env=place.environment(),
        pass_fds=(stream_fd,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return RunningPageServer(images_dir, process)
