"""The processes of a jail before the guest is in it, so that PID, PPID, PGID and SID can be as at home.

    top (host's PID namespace) -> 1: own init -> session leader, PID = SID -> shepherd, PID = PPID -> the
    guest

Leader and shepherd are one where SID = PPID; without a leader the guest makes its own session; where the
parent at home was init, PID 1 is the shepherd itself and the guest is handed over to it (`launcher`). Init
reaps everything and ends, and the whole namespace with it, when the shepherd does; it ends with `top`, and
that with the supervisor.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import sys
import termios
from collections.abc import Callable

from . import kernel, root, wire
from .pids import fork_as
from .spec import JailSpec
from .terminal import make_terminal

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_QUIET = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGHUP)


class Chain:
    """What the shepherd must know of its surroundings."""

    def __init__(self, spec: JailSpec, sock: socket.socket, tty_fd: int | None) -> None:
        self.spec = spec
        self.sock = sock
        self.tty_fd = tty_fd
        self.tty_master: int | None = None  # of a terminal of the jail's own; the shepherd hands it out
        self.is_init = False

    def leave(self) -> None:
        """The caller is not the shepherd: give up what only that may hold."""
        self.sock.close()
        if self.tty_master is not None:
            os.close(self.tty_master)
            self.tty_master = None

    @property
    def needs_launcher(self) -> bool:
        """Whether the guest belongs to a session that PID 1, its parent, is not in."""
        return self.is_init and self.spec.sid not in (0, 1, self.spec.pid)


def run_top(
    spec: JailSpec,
    sock: socket.socket,
    fuse_fd: int | None,
    tty_fd: int | None,
    runtime_dir: str | None,
    supervisor: int,
    shepherd: Callable[[Chain], None],
) -> None:
    """The life of the top process; never returns. Errors before the guest is there are sent as "failed"."""
    try:
        _die_with(supervisor)
        os.chdir("/")
        os.umask(0o022)
        kernel.unshare(kernel.CLONE_NEWPID)
        held, hold = os.pipe()
        init = os.fork()
        if init == 0:
            try:
                os.close(hold)
                os.read(held, 1)  # its PID is told before anything that it does
                os.close(held)
                _run_init(Chain(spec, sock, tty_fd), fuse_fd, runtime_dir, shepherd)
            except BaseException as error:
                _report(sock, error)
            finally:
                os._exit(1)
        wire.send(sock, {"ev": "init", "pid": init})
        os.close(hold)
        kernel.close_descriptors_except({0, 1, 2})
        os.waitpid(init, 0)
        os._exit(0)
    except BaseException as error:
        _report(sock, error)
    finally:
        os._exit(1)


def _run_init(chain: Chain, fuse_fd: int | None, runtime_dir: str | None, shepherd: Callable[[Chain], None]) -> None:
    spec = chain.spec
    _die_with(0)  # the parent's PID is not visible in here
    # Not before the fork: pivot_root would move top, which must stay outside, as well.
    kernel.unshare(kernel.CLONE_NEWNS)
    if spec.root != "local":
        kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS)
    if spec.sid != 0:
        os.setsid()
    for signo in _QUIET:
        signal.signal(signo, signal.SIG_IGN)
    root.build(spec, fuse_fd, runtime_dir, lambda: wire.send(chain.sock, {"ev": "mounted"}))
    if fuse_fd is not None:
        os.close(fuse_fd)
    if spec.root != "local":
        if spec.tty_index is not None:
            chain.tty_master, chain.tty_fd = make_terminal(spec.tty_index, spec.uid)
        _forget_host_python()
        _loopback_up()
        if spec.hostname:
            socket.sethostname(spec.hostname)
        if spec.domainname:
            with open("/proc/sys/kernel/domainname", "w", encoding="utf-8") as file:
                file.write(spec.domainname)
    if spec.ppid <= 1:
        chain.is_init = True
        if spec.sid == 1:
            _take_terminal(chain)
        shepherd(chain)
        return
    child = _fork_leader_or_shepherd(chain, shepherd)
    chain.leave()
    reap_until(child)
    os._exit(0)


def _fork_leader_or_shepherd(chain: Chain, shepherd: Callable[[Chain], None]) -> int:
    spec = chain.spec
    leads = spec.sid not in (0, 1, spec.pid)
    first = spec.sid if leads else spec.ppid
    child = fork_as(first)
    if child:
        return child
    try:
        if leads:
            os.setsid()
            _take_terminal(chain)
        if first == spec.ppid:
            _run_shepherd(chain, shepherd)
        else:
            own = fork_as(spec.ppid)
            if own == 0:
                _run_shepherd(chain, shepherd)
            chain.leave()
            reap_until(own)
    except BaseException as error:
        _report(chain.sock, error)
    finally:
        os._exit(1)


def _run_shepherd(chain: Chain, shepherd: Callable[[Chain], None]) -> None:
    spec = chain.spec
    try:
        if spec.sid == spec.pid or (spec.pgid == spec.ppid != spec.sid):
            os.setpgid(0, 0)
        shepherd(chain)
    except BaseException as error:
        _report(chain.sock, error)
    finally:
        os._exit(1)


def start_session(chain: Chain) -> None:
    """Make the caller, whose PID is the SID, what the session leader was: used by the launcher of PID 1."""
    os.setsid()
    _take_terminal(chain)


def hold_group(pgid: int) -> int:
    """Fork a process that leads group `pgid` in the caller's session, until it is killed. Returns its PID."""
    holder = fork_as(pgid)
    if holder == 0:
        try:
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            kernel.close_descriptors_except({0, 1, 2})
            while True:
                signal.pause()
        finally:
            os._exit(1)
    os.setpgid(holder, holder)
    return holder


def reap_until(child: int) -> None:
    """Reap whatever ends, until `child` has."""
    while True:
        try:
            pid, _ = os.wait()
        except ChildProcessError:
            return
        if pid == child:
            return


def _die_with(supervisor: int) -> None:
    kernel.set_parent_death_signal(signal.SIGKILL)
    if supervisor and os.getppid() != supervisor:
        os._exit(1)


def _take_terminal(chain: Chain) -> None:
    if chain.spec.ctty and chain.tty_fd is not None:
        fcntl.ioctl(chain.tty_fd, termios.TIOCSCTTY, 1)


def _forget_host_python() -> None:
    """From here on a file of the root is home's: nothing may be imported from it."""
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack_from("16xH", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _report(sock: socket.socket, error: BaseException) -> None:
    if isinstance(error, SystemExit):
        return
    try:
        wire.send(sock, {"ev": "failed", "message": f"{type(error).__name__}: {error}"})
    except OSError:
        pass
