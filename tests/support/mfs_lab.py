"""A home tree and its MFS mount in a private mount namespace.

Everything happens in a child process of the test: it has the mount namespace, the file server, the pump and the
mount, and dies with the test. /mnt/home is the tree at home, /mnt/native a second one beside it, /mnt/away the mount.
"""

import contextlib
import datetime
import os
import select
import signal
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from migrated.mfs import syscalls
from migrated.mfs.mount import detach, mount_fuse, open_device
from migrated.mfs.processes import fork_pump, fork_server
from migrated.mfs.session import Credentials, ServerOptions
from migrated.mfs.view import View

HOME = Path("/mnt/home")
NATIVE = Path("/mnt/native")
AWAY = Path("/mnt/away")
DEADLINE_S = 100.0
USER = 12345
_nested: list[bool] = []
"""Filled in the children of in_child(): they stay in the process group of the first of them."""


def eventually(condition: Callable[[], bool], what: str, deadline_s: float = 40.0) -> None:
    """Wait until `condition` holds; AssertionError with `what` when it does not in time."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)


class Lab:
    """One connection: server, pump, mount at `away`. Lives in the child process."""

    def __init__(
        self,
        *,
        away: Path = AWAY,
        view: View | None = None,
        user: int = 0,
        tls: Path | None = None,
        options: ServerOptions | None = None,
        stall_s: float | None = None,
    ) -> None:
        self.away = away
        credentials = Credentials(user, user, (user,)) if user else None
        at_home, at_guest = _tls_pair(tls) if tls else _pair()
        self.server_pid = fork_server(at_home, view or View(root=str(HOME), credentials=credentials), options)
        at_home.close()
        fuse_fd = open_device()
        away.mkdir(exist_ok=True)
        mount_fuse(
            fuse_fd,
            away,
            fsname="mosix",
            subtype="mosix",
            max_read=(options or ServerOptions()).max_write,
        )
        self.pump_pid = fork_pump(fuse_fd, at_guest, stall_s=stall_s)
        os.close(fuse_fd)
        at_guest.close()

    def server_fds(self) -> int:
        return len(os.listdir(f"/proc/{self.server_pid}/fd"))

    def close(self, *, expect: tuple[int, int] = (0, 0)) -> None:
        """Unmount; server and pump must then end by themselves."""
        detach(self.away)
        assert wait_for(self.pump_pid) == expect[0], "the pump failed"
        assert wait_for(self.server_pid) == expect[1], "the server failed"


def wait_for(pid: int) -> int:
    """Exit code of a child, negative for a signal."""
    done: list[int] = []

    def ended() -> bool:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            done.append(os.waitstatus_to_exitcode(status))
        return bool(found)

    eventually(ended, f"process {pid} did not end")
    return done[0]


def as_user(uid: int, work: Callable[[], object]) -> None:
    """Run `work` in a child with this uid and gid; its failure becomes ours."""

    def dropped() -> None:
        os.setgroups([uid])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        work()

    in_child(dropped)


def in_child(work: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Run `work` in a forked process group; AssertionError with its traceback when it fails or does not end."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read_fd)
            if not _nested:
                os.setpgid(0, 0)
            _nested.append(True)
            work()
            status = 0
        except BaseException:
            os.write(write_fd, traceback.format_exc().encode()[-60000:])
        finally:
            os._exit(status)
    os.close(write_fd)
    text = b""
    end = time.monotonic() + deadline_s
    try:
        while True:
            ready, _, _ = select.select([read_fd], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise AssertionError("the child did not end in time")
            part = os.read(read_fd, 65536)
            if not part:
                break
            text += part
    finally:
        os.close(read_fd)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL) if _nested else os.killpg(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    assert status == 0 or not text, text.decode()
    assert os.waitstatus_to_exitcode(status) == 0 or os.waitstatus_to_exitcode(status) == -9, text.decode()
    assert not text, text.decode()


def in_lab(tmp_path: Path, work: Callable[[], object]) -> None:
    """Run `work` in a child with /mnt/home and /mnt/native of its own (on the disk of tmp_path)."""
    for name in ("home", "native"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)

    def inside() -> None:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
        syscalls.mount("none", "/mnt", "tmpfs", 0, "mode=755")
        for name in ("home", "native"):
            Path("/mnt", name).mkdir()
            syscalls.mount(str(tmp_path / name), f"/mnt/{name}", None, syscalls.MS_BIND)
        work()

    in_child(inside)


@contextlib.contextmanager
def mounted(**wishes: object) -> Iterator[Lab]:
    """A Lab that is closed in the end; only inside in_lab()."""
    lab = Lab(**wishes)  # type: ignore[arg-type]
    try:
        yield lab
    except BaseException:
        for pid in (lab.pump_pid, lab.server_pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        raise
    lab.close()


def _pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=20)
        server, _ = listener.accept()
    for end in (client, server):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return server, client


def _tls_pair(certificate: Path) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.minimum_version = ssl.TLSVersion.TLSv1_3
    server_context.load_cert_chain(certificate)
    client_context = ssl.create_default_context(cafile=str(certificate))
    client_context.minimum_version = ssl.TLSVersion.TLSv1_3
    server, client = _pair()
    wrapped: list[ssl.SSLSocket] = []
    server.settimeout(20)
    thread = threading.Thread(target=lambda: wrapped.append(server_context.wrap_socket(server, server_side=True)))
    thread.start()
    try:
        at_guest = client_context.wrap_socket(client, server_hostname="home.test")
    finally:
        thread.join()
    return wrapped[0], at_guest


def make_certificate(path: Path) -> Path:
    """A self-signed certificate for home.test with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "home.test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("home.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(pem)
    return path
