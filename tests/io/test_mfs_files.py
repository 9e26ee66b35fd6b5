"""Single properties of MFS that programs rely on."""

import errno
import os
import shutil
import socket
import sqlite3
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from migrated.mfs.session import ServerOptions
from tests.support.mfs_lab import AWAY, HOME, USER, as_user, eventually, in_lab, mounted

pytestmark = [pytest.mark.root, pytest.mark.fuse]


def test_inode_numbers_names_and_large_directories(tmp_path: Path) -> None:
    def work() -> None:
        for number in range(10_000):
            os.close(os.open(HOME / f"entry-{number}", os.O_CREAT | os.O_WRONLY))
        with mounted():
            with os.scandir(AWAY) as entries:
                seen = {entry.name: entry.inode() for entry in entries}
            with os.scandir(HOME) as entries:
                assert seen == {entry.name: entry.inode() for entry in entries}
            assert os.stat(AWAY / "entry-77").st_ino == os.stat(HOME / "entry-77").st_ino
            longest = "x" * 255
            (AWAY / longest).write_text("long")
            assert (HOME / longest).read_text() == "long"
            with pytest.raises(OSError, match="File name too long"):
                (AWAY / (longest + "x")).touch()

    in_lab(tmp_path, work)


def test_position_in_a_directory_is_the_home_file_systems(tmp_path: Path) -> None:
    def work() -> None:
        for number in range(300):
            (HOME / f"entry-{number}").touch()
        with mounted():
            away = os.open(AWAY, os.O_RDONLY | os.O_DIRECTORY)
            home = os.open(HOME, os.O_RDONLY | os.O_DIRECTORY)
            first = _some_entries(home)
            os.lseek(away, os.lseek(home, 0, os.SEEK_CUR), os.SEEK_SET)
            rest = _all_entries(away)
            assert len(first) + len(rest) == 302
            assert not set(first) & set(rest)
            os.close(away)
            os.close(home)

    in_lab(tmp_path, work)


def _some_entries(fd: int) -> list[bytes]:
    import ctypes

    from migrated.mfs import syscalls

    buffer = ctypes.create_string_buffer(2048)
    data = buffer.raw[:0] if (filled := syscalls.getdents(fd, buffer)) == 0 else buffer.raw[:filled]
    names, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at + 16 : at + 18], "little")
        names.append(data[at + 19 : at + length].split(b"\0")[0])
        at += length
    return names


def _all_entries(fd: int) -> list[bytes]:
    names: list[bytes] = []
    while part := _some_entries(fd):
        names += part
    return names


def test_sparse_file_beyond_4_gib(tmp_path: Path) -> None:
    def work() -> None:
        with mounted(user=USER):
            offset = 5 << 30

            def sparse() -> None:
                with open(AWAY / "big", "w+b", buffering=0) as file:
                    os.pwrite(file.fileno(), b"end", offset)
                    assert os.fstat(file.fileno()).st_size == offset + 3
                    os.fsync(file.fileno())
                    assert os.lseek(file.fileno(), 0, os.SEEK_DATA) > 4 << 30
                    assert os.pread(file.fileno(), 9, offset) == b"end"

            as_user(USER, sparse)
            assert (HOME / "big").stat().st_blocks < 1000

    in_lab(tmp_path, work)


def test_appending_from_both_sides_loses_nothing(tmp_path: Path) -> None:
    def work() -> None:
        (HOME / "log").touch()
        with mounted():
            away = os.open(AWAY / "log", os.O_WRONLY | os.O_APPEND)
            home = os.open(HOME / "log", os.O_WRONLY | os.O_APPEND)
            for number in range(200):
                os.write(away, f"away {number}\n".encode())
                os.write(home, f"home {number}\n".encode())
            os.close(away)
            os.close(home)
        lines = (HOME / "log").read_text().splitlines()
        assert [x for x in lines if x.startswith("away")] == [f"away {n}" for n in range(200)]
        assert [x for x in lines if x.startswith("home")] == [f"home {n}" for n in range(200)]

    in_lab(tmp_path, work)


def test_mapped_page_lands_in_place_beside_an_appending_descriptor(tmp_path: Path) -> None:
    import mmap

    def work() -> None:
        (HOME / "mapped").write_bytes(b"a" * 8192)
        with mounted():
            append = os.open(AWAY / "mapped", os.O_RDWR | os.O_APPEND)
            with mmap.mmap(append, 8192) as view:
                view[0:5] = b"first"
                view.flush()
            os.write(append, b"tail")
            os.close(append)
        data = (HOME / "mapped").read_bytes()
        assert data == b"first" + b"a" * 8187 + b"tail"

    in_lab(tmp_path, work)


def test_deleted_files_stay_usable_and_temporary_files_get_names(tmp_path: Path) -> None:
    def work() -> None:
        with mounted(user=USER):

            def use() -> None:
                fd = os.open(AWAY / "gone", os.O_CREAT | os.O_RDWR)
                os.unlink(AWAY / "gone")
                os.write(fd, b"still here")
                assert os.pread(fd, 99, 0) == b"still here"
                assert os.fstat(fd).st_nlink == 0
                os.ftruncate(fd, 5)
                os.fchmod(fd, 0o600)
                assert os.fstat(fd).st_size == 5
                os.close(fd)
                fd = os.open(AWAY, os.O_TMPFILE | os.O_RDWR, 0o640)
                os.write(fd, b"named later")
                where = os.open(AWAY, os.O_PATH)
                os.link(f"/proc/self/fd/{fd}", "named", dst_dir_fd=where, follow_symlinks=True)
                os.close(where)
                os.close(fd)

            as_user(USER, use)
            assert (HOME / "named").read_bytes() == b"named later"
            assert (HOME / "named").stat().st_uid == USER

    in_lab(tmp_path, work)


def test_special_files_belong_to_the_kernel_they_are_used_in(tmp_path: Path) -> None:
    def work() -> None:
        with mounted():
            os.mkfifo(AWAY / "fifo")
            reader = os.open(AWAY / "fifo", os.O_RDONLY | os.O_NONBLOCK)
            writer = os.open(AWAY / "fifo", os.O_WRONLY | os.O_NONBLOCK)
            os.write(writer, b"through")
            assert os.read(reader, 99) == b"through"
            os.close(reader)
            os.close(writer)
            os.chdir(AWAY)
            with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
                server.bind("sock")
                server.listen(1)
                client.connect("sock")
            os.chdir("/")
            assert stat.S_ISSOCK((HOME / "sock").stat().st_mode)
            os.mknod(AWAY / "null", stat.S_IFCHR | 0o666, os.makedev(1, 300_000))
            assert (HOME / "null").stat().st_rdev == os.makedev(1, 300_000)
            assert (AWAY / "null").stat().st_rdev == os.makedev(1, 300_000)

    in_lab(tmp_path, work)


def test_rights_are_those_of_the_user_at_home(tmp_path: Path) -> None:
    def work() -> None:
        (HOME / "secret").write_text("root's")
        (HOME / "secret").chmod(0o600)
        (HOME / "closed").mkdir(mode=0o700)
        (HOME / "closed" / "inner").touch()
        (HOME / "open").write_text("everybody's")
        with mounted(user=USER):

            def ordinary() -> None:
                for refused in (
                    lambda: (AWAY / "secret").read_bytes(),
                    lambda: os.listdir(AWAY / "closed"),
                    lambda: os.stat(AWAY / "closed" / "inner"),
                    lambda: os.chmod(AWAY / "open", 0o666),
                    lambda: (AWAY / "open").write_text("mine"),
                ):
                    with pytest.raises(PermissionError):
                        refused()
                assert (AWAY / "open").read_text() == "everybody's"
                (AWAY / "own").touch()
                assert os.stat(AWAY / "own").st_uid == USER

            as_user(USER, ordinary)
            with pytest.raises(PermissionError):
                (AWAY / "secret").read_bytes()
            assert (HOME / "own").stat().st_gid == USER

    in_lab(tmp_path, work)


def test_access_control_lists_count(tmp_path: Path) -> None:
    def entry(tag: int, rights: int, who: int = 0xFFFFFFFF) -> bytes:
        return struct.pack("<HHI", tag, rights, who)

    def work() -> None:
        acl = struct.pack("<I", 2) + entry(1, 6) + entry(2, 4, USER) + entry(4, 0) + entry(16, 4) + entry(32, 0)
        (HOME / "shared").write_text("for one user")
        (HOME / "shared").chmod(0o600)
        try:
            os.setxattr(HOME / "shared", "system.posix_acl_access", acl)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return
        with mounted(user=USER):
            as_user(USER, lambda: (AWAY / "shared").read_text())
            with pytest.raises(AssertionError, match="Permission denied"):
                as_user(USER, lambda: (AWAY / "shared").write_text("no"))

    in_lab(tmp_path, work)


def test_full_disk_is_reported_as_at_home(tmp_path: Path) -> None:
    from migrated.mfs import syscalls
    from migrated.mfs.view import View

    def work() -> None:
        full = HOME / "full"
        full.mkdir()
        syscalls.mount("none", str(full), "tmpfs", 0, "size=64k,mode=777")
        with mounted(view=View(root=str(HOME))):
            with open(AWAY / "full" / "file", "wb", buffering=0) as file:
                error = 0
                try:
                    for _ in range(64):
                        file.write(bytes(4096))
                except OSError as caught:
                    error = caught.errno or 0
                assert error == errno.ENOSPC
            assert os.statvfs(AWAY / "full").f_blocks == os.statvfs(full).f_blocks

    in_lab(tmp_path, work)


def test_sqlite_database_and_git_repository(tmp_path: Path) -> None:
    def work() -> None:
        with mounted(user=USER):

            def use() -> None:
                os.chdir(AWAY)
                for mode in ("delete", "wal"):
                    database = sqlite3.connect(f"{mode}.db")
                    database.execute(f"pragma journal_mode={mode}")
                    database.execute("create table t (x integer, y text)")
                    with database:
                        database.executemany("insert into t values (?, ?)", ((n, "y" * n) for n in range(300)))
                    assert database.execute("pragma integrity_check").fetchone() == ("ok",)
                    assert database.execute("select sum(x) from t").fetchone() == (44850,)
                    database.close()
                if shutil.which("git") is not None:
                    _use_git()

            as_user(USER, use)
            database = sqlite3.connect(HOME / "wal.db")
            assert database.execute("select count(*) from t").fetchone() == (300,)
            database.close()

    in_lab(tmp_path, work)


def _use_git() -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(AWAY),
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@test",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@test",
    }

    def git(*words: str) -> bytes:
        return subprocess.run(["git", *words], env=environment, check=True, capture_output=True, timeout=60).stdout

    git("init", "-q", "first")
    for number in range(30):
        Path("first", f"file-{number}").write_text(f"content {number}\n")
    git("-C", "first", "add", ".")
    git("-C", "first", "commit", "-q", "-m", "all")
    git("clone", "-q", "first", "second")
    assert git("-C", "second", "status", "--porcelain") == b""
    git("-C", "second", "fsck", "--strict")


def test_descriptors_at_home_follow_what_the_guest_uses(tmp_path: Path) -> None:
    def work() -> None:
        with mounted() as lab:
            os.stat(AWAY)
            before = lab.server_fds()
            for number in range(300):
                (AWAY / f"file-{number}").write_text("x")
            assert lab.server_fds() >= before + 300
            for number in range(300):
                os.unlink(AWAY / f"file-{number}")
            eventually(lambda: lab.server_fds() <= before, "descriptors were not given back")

    in_lab(tmp_path, work)


def test_more_inodes_than_descriptors(tmp_path: Path) -> None:
    def work() -> None:
        with mounted(options=ServerOptions(max_fds=24)) as lab:
            for top in range(6):
                for number in range(20):
                    where = AWAY / f"top-{top}" / f"dir-{number}"
                    where.mkdir(parents=True)
                    (where / "file").write_text(f"{top} {number}")
            held = [os.open(AWAY / f"top-1/dir-{n}/file", os.O_RDWR) for n in range(10)]
            inside = os.open(AWAY / "top-2/dir-3", os.O_PATH)
            os.unlink(AWAY / "top-1/dir-4/file")
            os.rename(AWAY / "top-1", AWAY / "moved")
            os.rename(AWAY / "top-2", AWAY / "moved" / "deeper")
            for _ in range(2):
                for path in sorted(HOME.rglob("file")):
                    assert (AWAY / path.relative_to(HOME)).read_text() == path.read_text()
            for number, fd in enumerate(held):
                assert os.pread(fd, 99, 0) == f"1 {number}".encode()
                os.fchmod(fd, 0o640)
                os.close(fd)
            fd = os.open("file", os.O_RDONLY, dir_fd=inside)
            assert os.read(fd, 99) == b"2 3"
            os.close(fd)
            os.close(inside)
            eventually(lambda: not (AWAY / "none").exists() and lab.server_fds() < 24 + 16, "too many descriptors")

    in_lab(tmp_path, work)
