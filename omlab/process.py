"""A program running in a virtual node, seen from outside.

Much like subprocess.Popen, but the program's parent is the node's PID 1 and its standard descriptors are
pipes or were opened inside the node, so that it can be migrated. Dropping the object lets it run on.
"""

import array
import json
import os
import select
import signal
import socket
import struct
import time
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from typing import IO, Any

from omlab.init import REQUEST_BYTES_MAX

PIPE = "pipe"
NULL = "/dev/null"
TERMINAL = "terminal"
_READ_BYTES = 1 << 16


class NodeProcess:
    """Start `argv` in the node behind `request_socket`.

    stdin, stdout, stderr: PIPE, TERMINAL, or a path inside the node (NULL by default; outputs append).
    `stderr="stdout"` joins it with standard output when that is a pipe. With TERMINAL anywhere a terminal
    of `terminal_size` (rows, columns) is made in the node, its other end is `terminal`. `tied`: the program
    gets SIGHUP when this object or its owner goes away. `pid` is its number in the node, `host_pid` on the
    machine. Raises OSError when the node is gone or cannot start it. Blocks until the program has
    taken over its process, not longer.
    """

    stdin: IO[bytes] | None = None
    stdout: IO[bytes] | None = None
    stderr: IO[bytes] | None = None

    def __init__(
        self,
        request_socket: Path,
        argv: list[str],
        *,
        user: str | None = None,
        directory: str | None = None,
        environment: dict[str, str] | None = None,
        stdin: str = NULL,
        stdout: str = NULL,
        stderr: str = NULL,
        terminal_size: tuple[int, int] = (24, 80),
        tied: bool = False,
    ) -> None:
        self.argv = argv
        self.returncode: int | None = None
        self.terminal: int | None = None
        taken_over, gate = os.pipe2(os.O_CLOEXEC)
        passed = [gate]
        places = []
        for name, place in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
            if place == PIPE:
                read_end, write_end = os.pipe2(os.O_CLOEXEC)
                mine, theirs = (write_end, read_end) if name == "stdin" else (read_end, write_end)
                setattr(self, name, os.fdopen(mine, "wb" if name == "stdin" else "rb", buffering=0))
                passed.append(theirs)
                places.append("passed")
            elif name == "stderr" and place == "stdout" and stdout == PIPE:
                passed.append(os.dup(passed[-1]))
                places.append("passed")
            else:
                places.append(stdout if place == "stdout" else place)
        request: dict[str, Any] = {
            "argv": argv,
            "user": user,
            "directory": directory,
            "environment": environment or {},
            "stdio": places,
            "tied": tied,
            "terminal": terminal_size if TERMINAL in places else None,
        }
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._socket.connect(str(request_socket))
            socket.send_fds(self._socket, [json.dumps(request).encode()], passed)
            while passed:
                os.close(passed.pop())
            self.pid, self.host_pid = self._started()
            # End of file: exec(2) has closed the program's copy.
            os.read(taken_over, 1)
        except OSError:
            self.close()
            raise
        finally:
            for descriptor in [taken_over, *passed]:
                os.close(descriptor)

    def _started(self) -> tuple[int, int]:
        room = socket.CMSG_SPACE(12) + socket.CMSG_SPACE(4)
        data, ancillary, _, _ = self._socket.recvmsg(REQUEST_BYTES_MAX, room, socket.MSG_CMSG_CLOEXEC)
        host_pid = 0
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                host_pid = struct.unpack("3i", content[:12])[0]
            elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self.terminal = array.array("i", content[:4])[0]
        answer = json.loads(data) if data else {"error": "the node has gone"}
        if "pid" not in answer:
            raise OSError(f"cannot start {self.argv[0]}: {answer['error']}")
        return int(answer["pid"]), host_pid

    def fileno(self) -> int:
        """Readable when the program has ended."""
        return self._socket.fileno()

    def poll(self) -> int | None:
        """Exit status (negative: signal), None while it runs. Never blocks."""
        if self.returncode is None and select.select([self._socket], [], [], 0)[0]:
            self._read_status()
        return self.returncode

    def wait(self, timeout_s: float = 60.0) -> int:
        """Exit status (negative: signal). Blocks; raises TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._socket], [], [], max(timeout_s, 0))[0]:
                raise TimeoutExpired(self.argv, timeout_s)
            self._read_status()
        assert self.returncode is not None
        return self.returncode

    def _read_status(self) -> None:
        try:
            data = self._socket.recv(4096)
        except OSError:
            data = b""
        # A node that was taken down killed everything in it.
        self.returncode = json.loads(data)["status"] if data else -signal.SIGKILL
        self._socket.close()

    def communicate(self, data: bytes = b"", timeout_s: float = 60.0) -> tuple[bytes, bytes]:
        """Feed stdin, read stdout and stderr to their ends, wait. Blocks; raises TimeoutExpired."""
        end = time.monotonic() + timeout_s
        outputs = {stream: bytearray() for stream in (self.stdout, self.stderr) if stream is not None}
        readers: list[IO[bytes]] = list(outputs)
        if self.stdin is not None and not data:
            self.stdin.close()
        writers = [self.stdin] if self.stdin is not None and data else []
        for stream in writers:
            os.set_blocking(stream.fileno(), False)
        while readers or writers:
            ready, writable, _ = select.select(readers, writers, [], max(end - time.monotonic(), 0))
            if not ready and not writable:
                raise TimeoutExpired(self.argv, timeout_s, b"".join(bytes(part) for part in outputs.values()))
            for stream in ready:
                part = os.read(stream.fileno(), _READ_BYTES)
                outputs[stream] += part
                if not part:
                    readers.remove(stream)
            for stream in writable:
                try:
                    data = data[os.write(stream.fileno(), data[:_READ_BYTES]) :]
                except BrokenPipeError:
                    data = b""
                if not data:
                    writers.remove(stream)
                    stream.close()
        self.wait(end - time.monotonic())
        first, second = (bytes(outputs[s]) if s is not None else b"" for s in (self.stdout, self.stderr))
        return first, second

    def send_signal(self, number: int) -> None:
        """Send a signal to the program; nothing happens when it has ended."""
        if self.poll() is None:
            try:
                os.kill(self.host_pid, number)
            except ProcessLookupError:
                pass

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Let go of the program: closes our ends of its pipes and terminal. It runs on unless tied."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        if self.terminal is not None:
            os.close(self.terminal)
            self.terminal = None
        self._socket.close()

    def __enter__(self) -> "NodeProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self.returncode is None:
            self.wait()
        self.close()

    def completed(self, stdout: bytes, stderr: bytes) -> "CompletedProcess[str]":
        """The finished program with its output as text."""
        assert self.returncode is not None
        texts = (part.decode(errors="replace") for part in (stdout, stderr))
        return CompletedProcess(self.argv, self.returncode, *texts)
