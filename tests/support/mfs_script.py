"""Random but reproducible file operations, and the comparison of two trees after them."""

import errno
import os
import random
import stat
from pathlib import Path

from migrated.mfs import syscalls

_NAMES = [b"a", b"b", b"c", b"d1", b"d2", b"long" * 60, b"\xff\xfe binary", b"new\nline"]
_DIRS = [b".", b".", b"d1", b"d2", b"d1/d2"]
_DATA = bytes(range(256)) * 40


class Script:
    """The same `seed` gives the same calls; outcomes are values or names of errors."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def run(self, root: Path, steps: int) -> list[object]:
        rng = random.Random(self.seed)
        os.chdir(root)
        files: list[int] = []
        outcomes: list[object] = []
        for _ in range(steps):
            name = rng.choice(_DIRS) + b"/" + rng.choice(_NAMES)
            other = rng.choice(_DIRS) + b"/" + rng.choice(_NAMES)
            number = rng.randrange(1 << 30)
            kind = rng.choice(_KINDS)
            try:
                outcome = getattr(self, kind)(name, other, number, files)
            except OSError as error:
                outcome = errno.errorcode.get(error.errno or 0, "?")
            outcomes.append((kind, name, other, outcome))
        for fd in files:
            os.close(fd)
        os.chdir("/")
        return outcomes

    def make(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        flags = [os.O_RDWR, os.O_WRONLY, os.O_RDONLY, os.O_RDWR | os.O_APPEND, os.O_WRONLY | os.O_TRUNC][number % 5]
        if number & 64:
            flags |= os.O_CREAT
        if number & 128:
            flags |= os.O_EXCL
        fd = os.open(name, flags | os.O_NONBLOCK, [0o644, 0o600, 0o4755, 0o2750, 0o400, 0][number // 256 % 6])
        files.append(fd)
        if len(files) > 12:
            os.close(files.pop(0))
        return "open"

    def write(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        if not files:
            return None
        fd = files[number % len(files)]
        return os.pwrite(fd, _DATA[: number // 7 % len(_DATA)], number // 11 % 70000)

    def append(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        if not files:
            return None
        return os.write(files[number % len(files)], _DATA[: number // 7 % 999])

    def read(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        if not files:
            return None
        return hash(os.pread(files[number % len(files)], number // 3 % 9000, number // 11 % 70000))

    def cut(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        if number & 1 and files:
            return os.ftruncate(files[number % len(files)], number // 5 % 50000)
        return os.truncate(name, number // 5 % 50000)

    def status(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        if number & 1 and files:
            return _facts(os.fstat(files[number % len(files)]))
        return _facts(os.lstat(name) if number & 2 else os.stat(name))

    def change(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        what = number % 3
        if what == 0:
            return os.chmod(name, number // 3 % 0o10000)
        if what == 1:
            return os.utime(name, ns=(number * 1000003, -number * 77), follow_symlinks=bool(number & 8))
        return os.chown(name, -1, os.getgid(), follow_symlinks=bool(number & 8))

    def extra(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        what, key = number % 4, f"user.k{number // 4 % 3}"
        if what == 0:
            return os.setxattr(name, key, _DATA[: number // 13 % 900], number // 5 % 3)
        if what == 1:
            return os.getxattr(name, key)
        if what == 2:
            return sorted(os.listxattr(name))
        return os.removexattr(name, key)

    def move(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        flags = [0, 0, 1, 2][number % 4]
        return syscalls.renameat2(-100, name, -100, other, flags)

    def link(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        if number & 1:
            return os.link(name, other, follow_symlinks=False)
        return os.symlink(name, other)

    def follow(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        return os.readlink(name)

    def remove(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        return os.unlink(name)

    def directory(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        if number & 3:
            return os.mkdir(name, [0o755, 0o700, 0o1777, 0o2775][number // 4 % 4])
        return os.rmdir(name)

    def entries(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        where = other.rpartition(b"/")[0]
        return sorted((e.name, e.is_dir(follow_symlinks=False), e.is_symlink()) for e in os.scandir(where))

    def node(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        kind = [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFREG][number % 3]
        return os.mknod(name, kind | [0o644, 0o600, 0o777][number // 3 % 3])

    def space(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        if not files:
            return None
        return syscalls.fallocate(
            files[number % len(files)], [0, 1, 3][number // 7 % 3], number // 5 % 50000, number // 3 % 20000
        )

    def holes(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        if not files:
            return None
        fd = files[number % len(files)]
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            return None
        here = os.lseek(fd, 0, os.SEEK_CUR)
        try:
            os.fsync(fd)
            return os.lseek(fd, number // 5 % 60000, os.SEEK_DATA if number & 1 else os.SEEK_HOLE)
        finally:
            os.lseek(fd, here, os.SEEK_SET)

    def copy(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        if len(files) < 2:
            return None
        source, target = files[number % len(files)], files[number // 7 % len(files)]
        if os.path.sameopenfile(source, target):
            return None
        return os.copy_file_range(source, target, number // 3 % 30000, number // 5 % 9000, number // 9 % 9000)

    def allowed(self, name: bytes, other: bytes, number: int, files: list[int]) -> object:
        return os.access(name, number % 8)


_KINDS = [name for name in vars(Script) if not name.startswith("_") and name != "run"] + ["make", "write"] * 3


def _facts(status: os.stat_result) -> object:
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return (oct(status.st_mode), status.st_nlink, size, status.st_uid, status.st_gid)


def picture(root: Path) -> dict[bytes, object]:
    """Everything below `root`: attributes, contents, targets, extended attributes, which names are one file."""
    found: dict[bytes, object] = {}
    first: dict[int, bytes] = {}
    base = os.fsencode(root)
    for where, names, others in os.walk(base):
        for name in sorted(names + others):
            path = where + b"/" + name
            status = os.lstat(path)
            key = os.path.relpath(path, base)
            content: object = None
            extra: object = None
            if stat.S_ISREG(status.st_mode):
                try:
                    content = Path(os.fsdecode(path)).read_bytes()
                    extra = sorted((x, os.getxattr(path, x)) for x in os.listxattr(path))
                except PermissionError:
                    content = "not readable"
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            link = None if stat.S_ISDIR(status.st_mode) else first.setdefault(status.st_ino, key)
            found[key] = (_facts(status), content, extra, link)
    return found
