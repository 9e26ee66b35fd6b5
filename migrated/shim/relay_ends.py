"""The two ends of a relay: a Source reads a description and sends Data, a Sink writes Data to a description.

Both shims use both: what flows inward has its Source at home and its Sink at the guest, what flows outward the
other way round.  At most WINDOW_BYTES of a relay are on their way; a Source reads on only when the Sink has written
(`Taken`).  Never sets O_NONBLOCK on a description of the process itself: callers hand in descriptions of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import termios
from collections import deque
from collections.abc import Callable

from migrated.shim.messages import AnyMessage, Broken, Data, EndOfInput, Taken

WINDOW_BYTES = 128 << 10
_READ_BYTES = 64 << 10
_EOF_POLL_S = 0.02
Post = Callable[[AnyMessage], None]


class Source:
    """Reads `fd` while the window is open and it is not paused.  Owns `fd`."""

    def __init__(self, relay: int, fd: int, post: Post, *, terminal: bool = False, paused: bool = False) -> None:
        self.relay = relay
        self.fd = fd
        self._post = post
        self._terminal = terminal
        self._in_flight = 0
        self._paused = paused
        self._watched = False
        self.ended = False
        self._loop = asyncio.get_running_loop()
        self._update()

    def taken(self, count: int) -> None:
        """The Sink wrote `count` bytes."""
        self._in_flight = max(0, self._in_flight - count)
        self._update()

    def pause(self) -> None:
        """Read no more until `resume`."""
        self._paused = True
        self._update()

    def resume(self) -> None:
        """Read again."""
        self._paused = False
        self._update()

    def put_in_front(self, data: bytes) -> None:
        """Send `data` before anything that is read."""
        self._deliver(data)
        self._update()

    def drain(self) -> None:
        """Read and post everything that is there now, whatever the window says (the writer is stopped)."""
        while not self.ended and self._read_once():
            pass

    def close(self) -> None:
        """Stop and close the description."""
        if self.fd < 0:
            return
        self.ended = True
        self._update()
        os.close(self.fd)
        self.fd = -1

    def _update(self) -> None:
        wanted = not (self._paused or self.ended) and self._in_flight < WINDOW_BYTES
        if wanted and not self._watched:
            self._loop.add_reader(self.fd, self._readable)
        elif self._watched and not wanted:
            self._loop.remove_reader(self.fd)
        self._watched = wanted

    def _readable(self) -> None:
        self._read_once()

    def _read_once(self) -> bool:
        try:
            data = os.read(self.fd, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno == errno.EIO and self._terminal:
                data = b""  # a hung-up terminal reads as its end
            else:
                raise
        if data:
            self._deliver(data)
        else:
            self._at_end()
        self._update()
        return bool(data)

    def _deliver(self, data: bytes) -> None:
        self._in_flight += len(data)
        self._post(Data(relay=self.relay, data=data))

    def _at_end(self) -> None:
        self.ended = True
        self._post(EndOfInput(relay=self.relay))


class Sink:
    """Writes what arrives to `fd`, acknowledging each byte written.  Owns `fd`."""

    def __init__(self, relay: int, fd: int, post: Post) -> None:
        self.relay = relay
        self.fd = fd
        self._post = post
        self._buffer: deque[bytes] = deque()
        self._end_wanted = False
        self._watched = False
        self._unacknowledged = 0
        self.broken = False
        self._loop = asyncio.get_running_loop()
        self._empty = asyncio.Event()
        self._empty.set()

    def data(self, data: bytes) -> None:
        """Queue bytes for the description; they are dropped when it is broken."""
        if self.broken or self.fd < 0:
            self._post(Taken(relay=self.relay, count=len(data)))
            return
        self._buffer.append(data)
        self._empty.clear()
        self._writable()

    def end(self) -> None:
        """The source is at its end: close the description when everything is written."""
        self._end_wanted = True
        self._finish_if_done()

    async def written(self) -> None:
        """Wait until everything queued is written, or cannot be."""
        await self._empty.wait()

    def unwritten(self) -> bytes:
        """What is queued and not yet written; the queue is emptied and counts as taken."""
        rest = b"".join(self._buffer)
        self._buffer.clear()
        if len(rest) > self._unacknowledged:
            self._post(Taken(relay=self.relay, count=len(rest) - self._unacknowledged))
        self._unacknowledged = 0
        self._watch(False)
        self._empty.set()
        return rest

    def give(self, data: bytes) -> None:
        """Queue bytes that were taken back before: they were acknowledged then and are not again."""
        self._unacknowledged += len(data)
        self.data(data)

    def close(self) -> None:
        """Forget what is queued and close the description."""
        if self.fd < 0:
            return
        self._watch(False)
        self._buffer.clear()
        self._empty.set()
        os.close(self.fd)
        self.fd = -1

    def break_off(self) -> None:
        """The description has no reader any more: say so once, and drop the rest."""
        if self.broken:
            return
        self.broken = True
        self._watch(False)
        self._buffer.clear()
        self._empty.set()
        self._post(Broken(relay=self.relay))

    def _writable(self) -> None:
        while self._buffer:
            try:
                count = os.write(self.fd, self._buffer[0])
            except (BlockingIOError, InterruptedError):
                self._watch(True)
                return
            except OSError:
                self.break_off()
                return
            silent = min(count, self._unacknowledged)
            self._unacknowledged -= silent
            if count > silent:
                self._post(Taken(relay=self.relay, count=count - silent))
            if count < len(self._buffer[0]):
                self._buffer[0] = self._buffer[0][count:]
            else:
                self._buffer.popleft()
        self._watch(False)
        self._empty.set()
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._end_wanted and not self._buffer:
            self.close()

    def _watch(self, wanted: bool) -> None:
        if wanted and not self._watched:
            self._loop.add_writer(self.fd, self._writable)
        elif self._watched and not wanted:
            self._loop.remove_writer(self.fd)
        self._watched = wanted


class HomeTerminalSource(Source):
    """The home terminal: an empty read is a Ctrl-D, after which the terminal goes on.

    What is typed belongs to the foreground group, so `in_foreground` is asked before every read; it pauses
    itself when the answer is no.
    """

    def __init__(self, relay: int, fd: int, post: Post, in_foreground: Callable[[], bool]) -> None:
        self._in_foreground = in_foreground
        super().__init__(relay, fd, post, terminal=True, paused=True)

    def _readable(self) -> None:
        if self._in_foreground():
            super()._readable()
        else:
            self.pause()

    def _at_end(self) -> None:
        if _hung_up(self.fd):
            super()._at_end()
            return
        end_of_file = termios.tcgetattr(self.fd)[6][termios.VEOF]
        self._deliver(end_of_file if isinstance(end_of_file, bytes) else bytes([end_of_file]))


class GuestTerminalSink(Sink):
    """The master of the relay terminal: a lone end-of-file character must be read alone to mean the end."""

    def __init__(self, relay: int, fd: int, slave: int, post: Post) -> None:
        super().__init__(relay, fd, post)
        self._slave = slave
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Forget what is queued and close the description."""
        if self._timer is not None:
            self._timer.cancel()
        super().close()

    def _writable(self) -> None:
        if self._buffer and len(self._buffer[0]) == 1 and self._input_waits() and self.fd >= 0:
            self._timer = self._loop.call_later(_EOF_POLL_S, self._writable)
            return
        super()._writable()

    def _input_waits(self) -> bool:
        return fcntl.ioctl(self._slave, termios.FIONREAD, b"\0" * 4) != b"\0" * 4


class GuestTerminalSource(Source):
    """The master of the relay terminal in packet mode: strips the control byte and reports mode changes."""

    def __init__(self, relay: int, fd: int, post: Post, modes_changed: Callable[[], None]) -> None:
        self._modes_changed = modes_changed
        super().__init__(relay, fd, post, terminal=True)

    def _deliver(self, data: bytes) -> None:
        if data[0]:
            self._modes_changed()
        elif len(data) > 1:
            super()._deliver(data[1:])


def own_description(fd: int, flags: int) -> int:
    """Open the pipe or terminal behind `fd` once more, non-blocking, as a description of our own."""
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def read_back(write_end: int) -> bytes:
    """Everything unread in the pipe whose writing end is `write_end`."""
    reader = own_description(write_end, os.O_RDONLY)
    parts = []
    try:
        with contextlib.suppress(BlockingIOError):
            while part := os.read(reader, _READ_BYTES):
                parts.append(part)
    finally:
        os.close(reader)
    return b"".join(parts)


def _hung_up(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return any(event & select.POLLHUP for _, event in poll.poll(0))
