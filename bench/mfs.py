"""MFS beside the native file system and beside sshfs over the same link.

    python -m bench.mfs [--rounds N] [--row TEXT] [--no-sshfs] [--bytes N]

Needs root, /dev/fuse and, for the comparison, Debian's packages sshfs and openssh-server. Everything happens in a
mount and a network namespace of its own: the "link" is that namespace's loopback, MFS goes over TLS 1.3, sshfs over
its default cipher. "cold" means a fresh mount (the guest's kernel knows nothing), home's cache is warm in every
column. Each figure is the median of the rounds; a ratio above 1 means that MFS is faster.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from migrated.mfs import syscalls
from migrated.mfs.view import View
from tests.support.mfs_lab import Lab, make_certificate

CLONE_NEWNET = 0x40000000
FILES = 2000
SSH_PORT = 2222
HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n'


@dataclass(frozen=True)
class Row:
    """One line of the table: `run(root, dir)` returns seconds; `amount` per second is shown unless it is 0 (then ms).

    root is where the whole home tree is seen, dir the working directory of the benchmark below it.
    """

    name: str
    run: Callable[[Path, Path], float]
    amount: float
    unit: str
    cold: bool


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def stat_all(root: Path, where: Path) -> float:
    paths = [f"{where}/tree/d{n % 20}/f{n}" for n in range(FILES)]
    return timed(lambda: [os.stat(path) for path in paths])


def stat_again(root: Path, where: Path) -> float:
    stat_all(root, where)
    return stat_all(root, where)


def stat_missing(root: Path, where: Path) -> float:
    def work() -> None:
        for number in range(FILES):
            with contextlib.suppress(FileNotFoundError):
                os.stat(f"{where}/tree/no{number}")

    return timed(work)


def open_read_close(root: Path, where: Path) -> float:
    def work() -> None:
        for number in range(FILES):
            fd = os.open(f"{where}/tree/d{number % 20}/f{number}", os.O_RDONLY)
            os.read(fd, 4096)
            os.close(fd)

    return timed(work)


def create(root: Path, where: Path) -> float:
    (where / "new").mkdir()

    def work() -> None:
        for number in range(1000):
            fd = os.open(f"{where}/new/{number}", os.O_CREAT | os.O_WRONLY)
            os.write(fd, b"x" * 100)
            os.close(fd)

    taken = timed(work)
    shutil.rmtree(where / "new")
    return taken


def unlink(root: Path, where: Path) -> float:
    (where / "new").mkdir()
    for number in range(1000):
        os.close(os.open(f"{where}/new/{number}", os.O_CREAT | os.O_WRONLY))

    def work() -> None:
        for number in range(1000):
            os.unlink(f"{where}/new/{number}")

    taken = timed(work)
    (where / "new").rmdir()
    return taken


def list_long(root: Path, where: Path) -> float:
    def work() -> None:
        for number in range(20):
            with os.scandir(where / "tree" / f"d{number}") as entries:
                for entry in entries:
                    entry.stat(follow_symlinks=False)

    return timed(work)


def write_chunks(size: int, chunk: int) -> Callable[[Path, Path], float]:
    def run(root: Path, where: Path) -> float:
        data = os.urandom(chunk)

        def work() -> None:
            fd = os.open(where / "written", os.O_CREAT | os.O_WRONLY)
            for _ in range(size // chunk):
                os.write(fd, data)
            os.close(fd)

        taken = timed(work)
        os.unlink(where / "written")
        return taken

    return run


def read_big(root: Path, where: Path) -> float:
    def work() -> None:
        fd = os.open(where / "big", os.O_RDONLY)
        while os.read(fd, 1 << 20):
            pass
        os.close(fd)

    return timed(work)


def read_again(root: Path, where: Path) -> float:
    read_big(root, where)
    return read_big(root, where)


def read_random(root: Path, where: Path) -> float:
    rng = random.Random(1)
    size = (where / "big").stat().st_size
    offsets = [rng.randrange(size // 4096) * 4096 for _ in range(FILES)]

    def work() -> None:
        fd = os.open(where / "big", os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        for offset in offsets:
            os.pread(fd, 4096, offset)
        os.close(fd)

    return timed(work)


def command(*words: str, warm: bool) -> Callable[[Path, Path], float]:
    def run(root: Path, where: Path) -> float:
        inside = "/" + str(where.relative_to(root))
        argv = ["/usr/sbin/chroot", str(root), *[word.replace("DIR", inside) for word in words]]

        def work() -> None:
            subprocess.run(argv, check=True, env={"PATH": "/usr/bin:/bin"}, stdout=subprocess.DEVNULL)

        if warm:
            work()
            work()
        return timed(work)

    return run


def rows(size: int) -> list[Row]:
    mib = size / (1 << 20)
    python, gcc = ("/usr/bin/python3", "-c", "pass"), ("/usr/bin/gcc", "DIR/hello.c", "-o", "DIR/hello")
    return [
        Row("stat, cold", stat_all, FILES, "/s", True),
        Row("stat, again", stat_again, FILES, "/s", True),
        Row("stat of missing names", stat_missing, FILES, "/s", True),
        Row("open, read, close, cold", open_read_close, FILES, "/s", True),
        Row("open, read, close, again", open_read_close, FILES, "/s", False),
        Row("create and write 100 B", create, 1000, "/s", False),
        Row("unlink", unlink, 1000, "/s", False),
        Row("ls -l, cold", list_long, FILES, "entries/s", True),
        Row("sequential write, 1 MiB", write_chunks(size, 1 << 20), mib, "MiB/s", False),
        Row("sequential write, 4 KiB", write_chunks(size // 8, 4096), mib / 8, "MiB/s", False),
        Row("sequential read, cold", read_big, mib, "MiB/s", True),
        Row("sequential read, again", read_again, mib, "MiB/s", True),
        Row("random 4 KiB reads, cold", read_random, FILES, "/s", True),
        Row("python3 -c pass, cold", command(*python, warm=False), 0, "ms", True),
        Row("python3 -c pass, warm", command(*python, warm=True), 0, "ms", False),
        Row("gcc hello.c, cold", command(*gcc, warm=False), 0, "ms", True),
        Row("gcc hello.c, warm", command(*gcc, warm=True), 0, "ms", False),
    ]


@contextlib.contextmanager
def native(base: Path) -> Iterator[Path]:
    yield Path("/")


@contextlib.contextmanager
def mfs(base: Path) -> Iterator[Path]:
    away = base / "mfs"
    lab = Lab(away=away, view=View(root="/"), tls=base / "certificate")
    try:
        yield away
    finally:
        os.chdir("/")
        lab.close()


@contextlib.contextmanager
def sshfs(base: Path) -> Iterator[Path]:
    away = base / "sshfs"
    away.mkdir(exist_ok=True)
    options = [
        f"port={SSH_PORT}",
        f"IdentityFile={base}/key",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        "allow_other",
        "default_permissions",
        "follow_symlinks",
    ]
    words = ["sshfs", "root@127.0.0.1:/", str(away)]
    subprocess.run([*words, *[word for option in options for word in ("-o", option)]], check=True)
    try:
        yield away
    finally:
        subprocess.run(["umount", str(away)], check=True)


@contextlib.contextmanager
def ssh_server(base: Path) -> Iterator[None]:
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(base / name)], check=True)
    shutil.copy(base / "key.pub", base / "authorized")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    options = [
        f"Port={SSH_PORT}",
        "ListenAddress=127.0.0.1",
        f"HostKey={base}/host",
        f"AuthorizedKeysFile={base}/authorized",
        "PermitRootLogin=yes",
        "StrictModes=no",
        "UsePAM=no",
        f"PidFile={base}/sshd.pid",
        "Subsystem=sftp /usr/lib/openssh/sftp-server",
    ]
    words = ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null"]
    server = subprocess.Popen(
        [*words, *[word for option in options for word in ("-o", option)]], stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", SSH_PORT), timeout=5).close()
                break
            time.sleep(0.05)
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=20)


def prepare(base: Path, size: int) -> Path:
    where = base / "work"
    for number in range(20):
        (where / "tree" / f"d{number}").mkdir(parents=True)
    for number in range(FILES):
        (where / "tree" / f"d{number % 20}" / f"f{number}").write_bytes(b"x" * 100)
    with open(where / "big", "wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    (where / "hello.c").write_text(HELLO)
    return where


def measure(row: Row, system: Callable[[Path], contextlib.AbstractContextManager[Path]], base: Path) -> float:
    with system(base) as root:
        where = root / (base / "work").relative_to("/")
        if not row.cold:
            row.run(root, where)
        return row.run(root, where)


def show(row: Row, seconds: float) -> str:
    return f"{seconds * 1000:.1f}" if row.amount == 0 else f"{row.amount / seconds:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="MFS beside native and sshfs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--row", default="", help="only rows whose name contains this")
    parser.add_argument("--bytes", type=int, default=128 << 20, help="size of the large file")
    parser.add_argument("--no-sshfs", action="store_true")
    wish = parser.parse_args()
    with_sshfs = not wish.no_sshfs and shutil.which("sshfs") is not None
    if not wish.no_sshfs and not with_sshfs:
        print("sshfs is not installed: its column is left out", file=sys.stderr)
    syscalls.unshare(syscalls.CLONE_NEWNS | CLONE_NEWNET)
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="bench-mfs-", dir="/var/tmp") as name, contextlib.ExitStack() as stack:
        base = Path(name)
        base.chmod(0o755)
        prepare(base, wish.bytes)
        make_certificate(base / "certificate")
        systems = {"native": native, "mfs": mfs}
        if with_sshfs:
            stack.enter_context(ssh_server(base))
            systems["sshfs"] = sshfs
        print(f"{'':26} {'unit':>9} " + " ".join(f"{name:>9}" for name in systems) + "   mfs/native  mfs/sshfs")
        for row in rows(wish.bytes):
            if wish.row not in row.name:
                continue
            taken: dict[str, list[float]] = {name: [] for name in systems}
            for _ in range(wish.rounds):
                for label, system in systems.items():
                    taken[label].append(measure(row, system, base))
            middle = {label: statistics.median(values) for label, values in taken.items()}
            ratios = f"   {middle['native'] / middle['mfs']:10.2f}"
            if with_sshfs:
                ratios += f"  {middle['sshfs'] / middle['mfs']:9.2f}"
            cells = " ".join(f"{show(row, middle[label]):>9}" for label in systems)
            print(f"{row.name:26} {row.unit:>9} {cells}{ratios}", flush=True)


if __name__ == "__main__":
    main()
