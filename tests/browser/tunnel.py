"""A port of this machine that leads to a port inside a virtual node, as `ssh -L` would.

Owns the sockets and threads, which end with it. Each connection is made by a thread that enters the node's network
for it.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import Self


class Tunnel:
    """Listens on a free port of 127.0.0.1, `port`; `init_pid` is a process of the node."""

    def __init__(self, init_pid: int, inner_port: int) -> None:
        self._network = os.open(f"/proc/{init_pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._inner_port = inner_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)
        os.close(self._network)

    def _serve(self) -> None:
        while True:
            try:
                outer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(outer,), daemon=True).start()

    def _carry(self, outer: socket.socket) -> None:
        _enter_network(self._network)
        try:
            inner = socket.create_connection(("127.0.0.1", self._inner_port), timeout=30)
        except OSError:
            outer.close()
            return
        inner.settimeout(None)
        back = threading.Thread(target=_pump, args=(inner, outer), daemon=True)
        back.start()
        _pump(outer, inner)
        back.join()
        outer.close()
        inner.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end, how in ((sink, socket.SHUT_WR), (source, socket.SHUT_RD)):
        try:
            end.shutdown(how)
        except OSError:
            pass


def _enter_network(fd: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), "setns")
