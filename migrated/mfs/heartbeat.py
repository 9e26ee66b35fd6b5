"""Signs of life of a file server whose one request takes long (a slow disk, a large fsync).

Owns: a thread that sends an empty unsolicited message while the server is inside one request for longer than the
interval. The server holds `stream_lock` whenever it uses the stream itself, so the two never use it at once.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import Final

from migrated.mfs.fuse_wire import notification

BUSY_LIMIT_S: Final = 600.0
"""After so long in one request this node counts as hung, whatever the reason, and is silent."""
_ALIVE: Final = notification(0)


class Heartbeat:
    """Context manager around the server's loop; `stream_lock` is held by the server on entry."""

    def __init__(self, stream: socket.socket | ssl.SSLSocket, interval_s: float) -> None:
        self.stream_lock = threading.Lock()
        self.served = 0
        self._stream = stream
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self.stream_lock.acquire()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.stream_lock.release()
        self._thread.join()

    def _run(self) -> None:
        seen, since = -1, time.monotonic()
        while not self._stop.wait(self._interval_s):
            if self.served != seen:
                seen, since = self.served, time.monotonic()
            elif time.monotonic() - since < BUSY_LIMIT_S and self.stream_lock.acquire(blocking=False):
                try:
                    if not self._stop.is_set():
                        self._stream.sendall(_ALIVE)
                except OSError:
                    return
                finally:
                    self.stream_lock.release()
