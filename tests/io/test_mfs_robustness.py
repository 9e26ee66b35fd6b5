"""MFS when a side dies, hangs or talks nonsense; and what a view shows."""

import contextlib
import os
import random
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrated.mfs import server, syscalls
from migrated.mfs.fuse_constants import Opcode
from migrated.mfs.fuse_structs import Header, WireError
from migrated.mfs.fuse_wire import notification, reply, request
from migrated.mfs.mount import detach, detach_stale, mount_fuse, open_device
from migrated.mfs.processes import pump_reason
from migrated.mfs.pump import PumpReason, pump
from migrated.mfs.server import Connection
from migrated.mfs.session import ServerOptions, Session
from migrated.mfs.view import View
from tests.support.mfs_lab import AWAY, HOME, USER, Lab, eventually, in_child, in_lab, mounted, wait_for

pytestmark = [pytest.mark.root, pytest.mark.fuse]


@contextlib.contextmanager
def waiting_reader(path: Path) -> Iterator[int]:
    """A process that reads `path` and is in the middle of that until the request is answered."""
    pid = os.fork()
    if pid == 0:
        try:
            path.read_bytes()
        except OSError as error:
            os._exit(error.errno or 1)
        finally:
            os._exit(0)
    yield pid
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def is_waiting(pid: int) -> bool:
    """Whether the process waits for an answer of a FUSE server."""
    where = Path(f"/proc/{pid}/wchan").read_text()
    return where == "0" or "request_wait_answer" in where


def test_killed_server_gives_errors_not_hanging_processes(tmp_path: Path) -> None:
    def work() -> None:
        (HOME / "file").write_text("x")
        lab = Lab()
        assert (AWAY / "file").read_text() == "x"
        os.kill(lab.server_pid, signal.SIGKILL)
        assert wait_for(lab.server_pid) == -signal.SIGKILL
        assert pump_reason(wait_for(lab.pump_pid)) is PumpReason.HOME_GONE
        with pytest.raises(OSError, match="not connected"):
            os.stat(AWAY / "other")
        assert detach_stale(AWAY) == 1
        assert os.listdir(AWAY) == []

    in_lab(tmp_path, work)


def test_hung_server_is_given_up_after_the_deadline(tmp_path: Path) -> None:
    def work() -> None:
        (HOME / "file").write_text("x")
        lab = Lab(stall_s=0.3)
        os.kill(lab.server_pid, signal.SIGSTOP)
        with waiting_reader(AWAY / "file") as reader:
            assert pump_reason(wait_for(lab.pump_pid)) is PumpReason.STALLED
            assert wait_for(reader) > 0
        os.kill(lab.server_pid, signal.SIGCONT)
        assert wait_for(lab.server_pid) == 0
        detach(AWAY)

    in_lab(tmp_path, work)


def test_killing_the_pump_frees_who_waits_for_a_hung_home(tmp_path: Path) -> None:
    def work() -> None:
        (HOME / "file").write_text("x")
        lab = Lab()
        os.stat(AWAY)
        os.kill(lab.server_pid, signal.SIGSTOP)
        with waiting_reader(AWAY / "file") as reader:
            eventually(lambda: is_waiting(reader), "the reader does not wait")
            os.kill(lab.pump_pid, signal.SIGKILL)
            assert wait_for(reader) > 0
        assert wait_for(lab.pump_pid) == -signal.SIGKILL
        os.kill(lab.server_pid, signal.SIGCONT)
        assert wait_for(lab.server_pid) == 0
        detach(AWAY)

    in_lab(tmp_path, work)


@pytest.mark.parametrize(
    ("opcode", "reason"), [(Opcode.LOOKUP, PumpReason.STALLED), (Opcode.FORGET, PumpReason.HOME_GONE)]
)
def test_only_an_answer_that_is_due_can_be_late(opcode: Opcode, reason: PumpReason) -> None:
    kernel, fuse_fd = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    home, guest = socket.socketpair()
    message = request(opcode, 5, 1, b"name\0\0\0\0")
    kernel.send(message)

    def at_home() -> None:
        home.settimeout(40)
        assert home.recv(len(message), socket.MSG_WAITALL) == message
        home.settimeout(0.4)
        with contextlib.suppress(TimeoutError):
            home.recv(1)
        if reason is PumpReason.HOME_GONE:
            home.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=at_home)
    thread.start()
    end = pump(fuse_fd.detach(), guest, stall_s=0.05)
    thread.join()
    assert end.reason is reason
    assert (end.requests, end.replies) == (1, 0)
    for item in (kernel, home, guest):
        item.close()


def test_replies_pass_whole_and_unsolicited_messages_do_not() -> None:
    kernel, fuse_fd = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    home, guest = socket.socketpair()
    kernel.send(request(Opcode.READ, 5, 1, bytes(40)))
    kernel.send(request(Opcode.READ, 6, 1, bytes(40)))
    answers = [reply(5, b"x" * 100_000), notification(2, bytes(24)), reply(6, b"")]

    def at_home() -> None:
        data = b"".join(answers)
        for start in range(0, len(data), 33_333):
            home.sendall(data[start : start + 33_333])

    def at_kernel() -> None:
        kernel.settimeout(40)
        found.append(kernel.recv(1 << 20))
        found.append(kernel.recv(1 << 20))
        home.shutdown(socket.SHUT_RDWR)

    found: list[bytes] = []
    threads = [threading.Thread(target=at_home), threading.Thread(target=at_kernel)]
    for thread in threads:
        thread.start()
    end = pump(fuse_fd.detach(), guest)
    for thread in threads:
        thread.join()
    assert found == [answers[0], answers[2]]
    assert (end.reason, end.requests, end.replies) == (PumpReason.HOME_GONE, 2, 2)
    for item in (kernel, home, guest):
        item.close()


@pytest.mark.parametrize(
    ("last_words", "reason"),
    [
        (b"\xff" * 64, PumpReason.BROKEN),
        (b"\x03\0\0\0" + bytes(60), PumpReason.BROKEN),
        (None, PumpReason.HOME_GONE),
        (b"stop", PumpReason.STOPPED),
    ],
)
def test_ends_of_a_pump(tmp_path: Path, last_words: bytes | None, reason: PumpReason) -> None:
    def work() -> None:
        AWAY.mkdir()
        fuse_fd = open_device()
        mount_fuse(fuse_fd, AWAY, fsname="mosix", subtype="mosix")
        home, guest = socket.socketpair()
        stop_read, stop_write = os.pipe()
        if last_words == b"stop":
            os.write(stop_write, b"x")
        elif last_words is not None:
            home.sendall(last_words)
        else:
            home.shutdown(socket.SHUT_RDWR)
        end = pump(fuse_fd, guest, stop_read)
        assert end.reason is reason
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fuse_fd)
        with pytest.raises(OSError, match="not connected"):
            os.stat(AWAY)
        detach(AWAY)
        for item in (home, guest):
            item.close()
        os.close(stop_read)
        os.close(stop_write)

    in_lab(tmp_path, work)


def test_nonsense_from_the_guest_never_breaks_the_server(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    def work() -> None:
        root_fd = os.open(tmp_path, os.O_PATH)
        os.chdir("/proc/self/fd")
        session = Session(root_fd, ServerOptions(max_write=4096), flush=True)
        connection = Connection(session)
        rng = random.Random(7)
        for number in range(20_000):
            body = rng.randbytes(rng.choice([0, 4, 8, 16, 40, 88, 200]))
            if rng.random() < 0.5:
                body = bytes(byte & rng.choice([0, 1, 255]) for byte in body) + b"file\0file\0"
            # Everything but deleting: the tree must survive to be of use.
            opcode = rng.choice([n for n in range(60) if n not in (5, 10, 11, 12, 38, 45)])
            message = bytearray(request(opcode, number + 1, rng.choice([0, 1, 2, 1 << 60]), body))
            if rng.random() < 0.1:
                message[36] = rng.randrange(256)
            with contextlib.suppress(WireError):
                connection.answer(memoryview(message))
            if connection.full:
                connection.take()
        assert connection.refused > 0
        session.close()

    in_child(work)
    assert (tmp_path / "file").exists()


def test_slow_request_does_not_look_like_a_hung_home(tmp_path: Path) -> None:
    def slow(session: Session, header: Header, body: memoryview) -> bytes:
        eventually(lambda: (HOME / "go").exists(), "no word to go on")
        return b""

    def in_server(at_home: socket.socket) -> None:
        server._OPERATIONS[Opcode.FSYNC] = slow
        server.serve(at_home, View(), ServerOptions(heartbeat_s=0.01))

    def work() -> None:
        at_home, at_guest = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            try:
                at_guest.close()
                in_server(at_home)
            finally:
                os._exit(0)
        at_home.close()
        at_guest.settimeout(40)
        at_guest.sendall(request(Opcode.FSYNC, 77, 1, bytes(16)))
        assert at_guest.recv(16, socket.MSG_WAITALL) == notification(0)
        (HOME / "go").touch()
        while (message := at_guest.recv(16, socket.MSG_WAITALL)) == notification(0):
            pass
        assert message == reply(77)
        at_guest.close()
        assert wait_for(pid) == 0

    in_lab(tmp_path, work)


def test_each_arrival_has_a_fresh_connection(tmp_path: Path) -> None:
    def work() -> None:
        (HOME / "file").write_text("first")
        with mounted():
            assert (AWAY / "file").read_text() == "first"
        (HOME / "file").write_text("other")
        with mounted():
            assert (AWAY / "file").read_text() == "other"

    in_lab(tmp_path, work)


def test_view_is_what_the_process_sees_without_kernel_file_systems(tmp_path: Path) -> None:
    def work() -> None:
        ready_read, ready_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                _become_chrooted(ready_write)
            finally:
                os._exit(1)
        os.close(ready_write)
        assert os.read(ready_read, 5) == b"ready"
        try:
            with mounted(view=View(pid=pid)):
                assert sorted(os.listdir(AWAY)) == ["disk", "file", "proc", "sys", "tmp dir"]
                assert os.listdir(AWAY / "proc") == []
                assert os.listdir(AWAY / "sys") == []
                assert (AWAY / "tmp dir" / "inside").read_text() == "tmpfs"
                inner = os.stat(AWAY / "tmp dir")
                assert inner.st_ino != os.stat(AWAY).st_ino
                names = {entry.name: entry.inode() for entry in os.scandir(AWAY / "tmp dir")}
                assert names["sub"] == os.stat(AWAY / "tmp dir" / "sub").st_ino
                (AWAY / "tmp dir" / "new").write_text("x")
                with contextlib.suppress(OSError):
                    os.symlink("/../../file", AWAY / "up")
                assert (AWAY / ".." / "away" / "file").read_text() == "in the chroot"
            assert Path(f"/proc/{pid}/root/tmp dir/new").read_text() == "x"
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(ready_read)

    in_lab(tmp_path, work)


def _become_chrooted(ready_fd: int) -> None:
    syscalls.unshare(syscalls.CLONE_NEWNS)
    for name in ("disk", "proc", "sys", "tmp dir"):
        (HOME / name).mkdir()
    (HOME / "file").write_text("in the chroot")
    syscalls.mount("none", str(HOME / "proc"), "proc", 0)
    syscalls.mount("none", str(HOME / "sys"), "sysfs", 0)
    syscalls.mount("none", str(HOME / "tmp dir"), "tmpfs", 0)
    (HOME / "tmp dir" / "inside").write_text("tmpfs")
    (HOME / "tmp dir" / "sub").mkdir()
    os.chroot(HOME)
    os.chdir("/")
    os.write(ready_fd, b"ready")
    signal.pause()


def test_set_user_id_bits_fall_at_a_write_by_a_user(tmp_path: Path) -> None:
    def work() -> None:
        (HOME / "program").write_text("x")
        os.chown(HOME / "program", USER, USER)
        (HOME / "program").chmod(0o6777)
        with mounted():

            def overwrite() -> None:
                os.setgroups([])
                os.setresgid(USER + 1, USER + 1, USER + 1)
                os.setresuid(USER + 1, USER + 1, USER + 1)
                (AWAY / "program").write_text("y")

            in_child(overwrite)
        assert stat.S_IMODE((HOME / "program").stat().st_mode) == 0o777

    in_lab(tmp_path, work)


def test_files_of_other_users_under_a_server_of_root(tmp_path: Path) -> None:
    def work() -> None:
        (HOME / "shared").mkdir()
        os.chown(HOME / "shared", 0, 4321)
        (HOME / "shared").chmod(0o2777)
        with mounted():

            def make() -> None:
                os.umask(0o002)
                os.setresgid(USER, USER, USER)
                os.setresuid(USER, USER, USER)
                (AWAY / "shared" / "file").touch(mode=0o666)
                os.mkdir(AWAY / "shared" / "dir")
                os.symlink("x", AWAY / "link")

            in_child(make)
            (AWAY / "shared" / "roots").touch()
        file, directory = (HOME / "shared" / "file").stat(), (HOME / "shared" / "dir").stat()
        assert (file.st_uid, file.st_gid, stat.S_IMODE(file.st_mode)) == (USER, 4321, 0o664)
        assert (directory.st_uid, directory.st_gid) == (USER, 4321)
        assert stat.S_IMODE(directory.st_mode) == 0o2775
        assert (HOME / "shared" / "roots").stat().st_uid == 0

    in_lab(tmp_path, work)
