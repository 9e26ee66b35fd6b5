"""What is found out about real processes before they are frozen: reasons to stay, and no reason where there is none."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrated.survey.survey import survey
from migrated.survey.unix_sockets import messages, parse_socket, unix_peers

SEMAPHORE = """
import ctypes
libc = ctypes.CDLL(None)
identifier = libc.semget(0, 1, 0o600)
"""


@contextlib.contextmanager
def program(text: str, *prefix: str, pass_fds: tuple[int, ...] = (), at_end: str = "") -> Iterator[int]:
    """The PID of a Python program that has done `text` and waits; `at_end` is done before it ends."""
    code = f"import os, socket\n{text}\nprint(flush=True)\ninput()\n{at_end}"
    with subprocess.Popen(
        [*prefix, sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=pass_fds
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"\n"
            yield process.pid
        finally:
            process.stdin.write(b"\n")
            process.stdin.close()


def test_a_socketpair_of_its_own_travels_and_a_shared_one_stays() -> None:
    with program("a, b = socket.socketpair()") as pid:
        assert survey(pid).reasons == []
    left, right = socket.socketpair()
    with left, right:
        with program("pass", pass_fds=(left.fileno(),)) as pid:
            assert survey(pid).reasons == ["socket"]
        with program("pass", pass_fds=(left.fileno(), right.fileno())) as pid:
            assert survey(pid).reasons == ["holds both ends of a socketpair that others hold too"]
    with program("a = socket.socket()") as pid:
        assert survey(pid).reasons == ["socket"]


def test_the_kernel_names_the_peer() -> None:
    left, right = socket.socketpair()
    with left, right:
        numbers = os.fstat(left.fileno()).st_ino, os.fstat(right.fileno()).st_ino
        peers = unix_peers()
        assert (peers[numbers[0]], peers[numbers[1]]) == (numbers[1], numbers[0])


def test_malformed_answers_are_no_sockets() -> None:
    assert list(messages(struct.pack("=IHHII", 4000, 20, 0, 1, 0))) == []
    head = struct.pack("=BBBBIII", 1, 1, 1, 0, 77, 0, 0)
    assert parse_socket(head + struct.pack("=HH", 2, 2)) == (77, 0)
    assert parse_socket(head + struct.pack("=HHI", 8, 2, 78)) == (77, 78)


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("os.open('/', os.O_PATH)", []),
        ("os.pipe()", []),
        ("os.pipe2(os.O_DIRECT)", ["descriptor 4 is a pipe of packets"]),
        ("import ctypes; ctypes.CDLL(None).personality(0x40000)", ["personality 0x40000"]),
    ],
)
def test_reasons(text: str, reasons: list[str]) -> None:
    with program(text) as pid:
        assert survey(pid).reasons == reasons


@pytest.mark.parametrize("mapped", ["-1", "memory"], ids=["anonymous", "memfd"])
def test_memory_shared_with_nobody_travels(mapped: str) -> None:
    made = "import mmap\nmemory = os.memfd_create('x')\nos.ftruncate(memory, 4096)\n"
    shared = f"{made}mapped = mmap.mmap({mapped}, 4096)\n"
    with program(made):
        with program(shared) as pid:
            assert survey(pid).reasons == []
    fork = "child = os.fork()\nif child == 0: import signal; signal.pause()\n"
    with program(shared + fork, at_end="os.kill(child, 9); os.wait()") as pid:
        assert survey(pid).reasons[-1] == "monkey"


def test_a_path_descriptor_has_no_offset() -> None:
    with program(f"os.open({__file__!r}, os.O_PATH); os.open({__file__!r}, os.O_RDONLY)") as pid:
        assert [entry.fd for entry in survey(pid).files] == [4]


def test_system_v_semaphores_of_its_own() -> None:
    with program(SEMAPHORE, at_end="libc.semctl(identifier, 0, 0)") as pid:
        assert survey(pid).reasons == ["System V semaphores"]
    with program("pass") as pid:
        assert survey(pid).reasons == []


@pytest.mark.root
def test_a_file_its_user_may_not_open_again(tmp_path: Path) -> None:
    (tmp_path / "private").touch(0o600)
    opened = f"os.open({str(tmp_path / 'private')!r}, os.O_RDONLY)\n"
    dropped = "os.setgroups([]); os.setresgid(1000, 1000, 1000); os.setresuid(1000, 1000, 1000)"
    with program(opened + dropped) as pid:
        assert survey(pid).reasons == ["its user may not open descriptor 3 any more"]
