"""Open files: offsets, flags, locks, what happens to a file while it is open."""
# ruff: noqa: SIM115  (files stay open over the moves)

import errno
import fcntl
import mmap
import os

from steps import calm, equal, main, row, step, turns


def fresh(name: str, content: bytes = b"") -> str:
    with open(name, "wb") as file:
        file.write(content)
    return name


def at_home(name: str = "seen") -> str:
    with open(name) as file:
        return file.read().strip()


@row("reading goes on where it was")
def read_offset() -> None:
    fd = os.open(fresh("numbers", b"".join(b"%08d" % i for i in range(1000))), os.O_RDONLY)
    for turn in turns():
        for i in range(10):
            equal(os.read(fd, 8), b"%08d" % ((turn - 1) * 10 + i))


@row("writing goes on where it was, and home sees it")
def write_offset() -> None:
    fd = os.open(fresh("log"), os.O_WRONLY)
    os.write(fd, b"start\n")
    expected = b"start\n"
    for turn in turns():
        os.write(fd, b"turn %d\n" % turn)
        expected += b"turn %d\n" % turn
        with open("log", "rb") as file:
            equal(file.read(), expected)


@row("O_APPEND: always at the end, also after home has appended")
def append() -> None:
    fd = os.open(fresh("log"), os.O_WRONLY | os.O_APPEND)
    lines = []
    for _turn in turns("echo home >> log"):
        os.write(fd, b"away\n")
        lines += ["home", "away"]
        equal(at_home("log").split(), lines)


@row("buffered output of stdio is written once")
def buffered() -> None:
    file = open("buffered", "w")
    file.write("begin ")
    for turn in turns():
        file.write(f"{turn} ")
    file.close()
    words = at_home("buffered").split()
    equal(words, ["begin", *map(str, range(1, len(words)))])


@row("files opened and closed at every place, and kept open to the next")
def opened_away() -> None:
    kept = []
    for turn in turns():
        for fd, text in kept:
            equal(os.pread(fd, 100, 0), text)
            os.pwrite(fd, text.upper(), 0)
            os.pwrite(fd, text, 0)
        fd = os.open(f"opened-{turn}", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
        os.write(fd, b"text %d" % turn)
        kept.append((fd, b"text %d" % turn))


@row("an open file that home renames")
def renamed_at_home() -> None:
    fd = os.open(fresh("old", b"content"), os.O_RDWR)
    while step("test -e old && mv old new || mv new old"):
        equal(os.pread(fd, 20, 0), b"content")
        os.pwrite(fd, b"content", 0)
        os.fstat(fd)


@row("a file it renames itself while open")
def renamed_away() -> None:
    fd = os.open(fresh("name-0", b"content"), os.O_RDWR)
    for turn in turns():
        os.rename(f"name-{turn - 1}", f"name-{turn}")
        equal(os.pread(fd, 20, 0), b"content")
        equal(os.path.exists(f"name-{turn - 1}"), False)


@row("a deleted file that is still open")
def deleted() -> None:
    fd = os.open(fresh("doomed", b"still here"), os.O_RDWR)
    os.unlink("doomed")
    for _turn in turns():
        equal(os.pread(fd, 20, 0), b"still here")
        equal(os.fstat(fd).st_nlink, 0)
        os.pwrite(fd, b"still here", 0)


@row("an open file that is deleted while away")
def deleted_away() -> None:
    for _turn in turns():
        fd = os.open(fresh("doomed", b"still here"), os.O_RDWR)
        os.unlink("doomed")
        equal(os.pread(fd, 20, 0), b"still here")
        equal(os.path.exists("doomed"), False)
        os.close(fd)


@row("a file deleted while away stays open over the next move")
def deleted_and_kept() -> None:
    kept = []
    for turn in turns():
        for fd, text in kept:
            equal(os.pread(fd, 20, 0), text)
        fd = os.open(fresh(f"doomed-{turn}", b"here %d" % turn), os.O_RDWR)
        os.unlink(f"doomed-{turn}")
        kept.append((fd, b"here %d" % turn))


@row("an open file that home deletes")
def deleted_at_home() -> None:
    while calm():
        fd = os.open(fresh("doomed", b"still here"), os.O_RDWR)
        step("rm doomed")
        equal(os.pread(fd, 20, 0), b"still here")
        equal(os.path.exists("doomed"), False)
        os.close(fd)


@row("O_TMPFILE")
def tmpfile() -> None:
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"nameless")
    for turn in turns():
        equal(os.pread(fd, 20, 0), b"nameless" if turn == 1 else b"turn %3d" % (turn - 1))
        os.pwrite(fd, b"turn %3d" % turn, 0)
        other = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
        os.write(other, b"new")
        os.close(other)


@row("an open file with several names")
def hard_links() -> None:
    fd = os.open(fresh("one", b"linked"), os.O_RDWR)
    os.link("one", "two")
    for turn in turns():
        equal(os.fstat(fd).st_nlink, turn + 1)
        equal(os.stat("one").st_ino, os.stat("two").st_ino)
        equal(os.fstat(fd).st_ino, os.stat("two").st_ino)
        os.link("two", f"more-{turn}")


@row("inode number, device, size, mode and times of an open file stay")
def same_inode() -> None:
    fd = os.open(fresh("file", b"0123456789"), os.O_RDWR)
    os.fchmod(fd, 0o640)
    os.utime(fd, ns=(10**18, 10**18 + 7))
    before = os.fstat(fd)
    for _ in turns():
        now = os.fstat(fd)
        for field in ("st_ino", "st_size", "st_mode", "st_mtime_ns", "st_uid", "st_gid", "st_nlink"):
            equal(getattr(now, field), getattr(before, field), field)
        equal(os.path.samefile("file", f"/proc/self/fd/{fd}"), True)


@row("truncation by home is seen")
def truncated_at_home() -> None:
    fd = os.open(fresh("file"), os.O_RDWR)
    while calm():
        os.pwrite(fd, b"0123456789", 0)
        step("truncate -s 4 file")
        equal(os.fstat(fd).st_size, 4)
        equal(os.pread(fd, 20, 0), b"0123")


@row("ftruncate, fallocate, fsync and holes")
def sizes() -> None:
    fd = os.open(fresh("file"), os.O_RDWR)
    for turn in turns("stat -c %s file > seen || true"):
        os.ftruncate(fd, 100 * turn)
        equal(os.fstat(fd).st_size, 100 * turn)
        os.posix_fallocate(fd, 0, 5000)
        os.fsync(fd), os.fdatasync(fd)
        equal(os.stat("file").st_size, 5000)
        os.ftruncate(fd, 0)


@row("offsets beyond 4 GB")
def large_offsets() -> None:
    fd = os.open(fresh("large"), os.O_RDWR)
    base = 5 << 30
    os.lseek(fd, base, os.SEEK_SET)
    os.write(fd, b"first")
    for turn in turns():
        equal(os.lseek(fd, 0, os.SEEK_CUR), base + 5 + 4 * (turn - 1))
        os.write(fd, b"next")
        equal(os.pread(fd, 5, base), b"first")
        equal(os.stat("large").st_size, base + 5 + 4 * turn)


@row("SEEK_HOLE and SEEK_DATA")
def holes() -> None:
    fd = os.open(fresh("sparse"), os.O_RDWR)
    os.pwrite(fd, b"x" * 4096, 1 << 20)
    os.ftruncate(fd, 2 << 20)
    data, hole = os.lseek(fd, 8192, os.SEEK_DATA), os.lseek(fd, 1 << 20, os.SEEK_HOLE)
    for _ in turns():
        equal(os.lseek(fd, 8192, os.SEEK_DATA), data, "data")
        equal(os.lseek(fd, 1 << 20, os.SEEK_HOLE), hole, "hole")


@row("descriptors that share one offset go on sharing it")
def shared_offset() -> None:
    fd = os.open(fresh("numbers", bytes(range(200))), os.O_RDONLY)
    twin, high, other = os.dup(fd), fcntl.fcntl(fd, fcntl.F_DUPFD, 200), os.open("numbers", os.O_RDONLY)
    for turn in turns():
        got = b"".join(os.read(number, 1) for number in (fd, twin, high))
        equal(got, bytes(range(3 * turn - 3, 3 * turn)))
        equal(os.read(other, 1), bytes([turn - 1]))


@row("two hundred open files; numbers and close-on-exec stay")
def many_files() -> None:
    fds = {}
    for i in range(200):
        fd = os.open(fresh(f"file-{i}", b"%03d" % i), os.O_RDONLY | (os.O_CLOEXEC if i % 2 else 0))
        os.set_inheritable(fd, i % 2 == 0)
        fds[fd] = i
    for _ in turns():
        for fd, i in fds.items():
            equal(os.pread(fd, 3, 0), b"%03d" % i)
            equal(os.get_inheritable(fd), i % 2 == 0)


@row("status flags: O_APPEND, O_NONBLOCK, O_SYNC, access mode")
def flags() -> None:
    fds = [
        os.open(fresh(f"flags-{i}"), word)
        for i, word in enumerate(
            [os.O_RDONLY, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_NONBLOCK, os.O_WRONLY | os.O_SYNC]
        )
    ]
    before = [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in fds]
    for _ in turns():
        equal([fcntl.fcntl(fd, fcntl.F_GETFL) for fd in fds], before)
        for fd, error in ((fds[0], os.write), (fds[1], os.read)):
            try:
                error(fd, b"x") if error is os.write else error(fd, 1)
                raise AssertionError("a forbidden access was allowed")
            except OSError as refused:
                equal(refused.errno, errno.EBADF)


@row("O_PATH and directory descriptors")
def directory_descriptor() -> None:
    os.mkdir("sub")
    fresh("sub/inner", b"inside")
    directory, path = os.open("sub", os.O_RDONLY | os.O_DIRECTORY), os.open("sub/inner", os.O_PATH)
    for turn in turns():
        fd = os.open("inner", os.O_RDONLY, dir_fd=directory)
        equal(os.read(fd, 20), b"inside")
        os.close(fd)
        equal(os.fstat(path).st_size, 6)
        os.mkdir(f"made-{turn}", dir_fd=directory)
        equal(sorted(os.listdir(directory)), ["inner", *(f"made-{i + 1}" for i in range(turn))])


@row("reading a directory goes on where it was")
def listing() -> None:
    os.mkdir("many")
    for i in range(500):
        fresh(f"many/entry-{i:03}")
    while calm():
        seen = []
        with os.scandir("many") as entries:
            seen += [next(entries).name for _ in range(5)]
            step()
            seen += [entry.name for entry in entries]
        equal(len(seen), 500, "the number of entries")
        equal(sorted(seen), [f"entry-{i:03}" for i in range(500)])


@row("sendfile, splice and copy_file_range between files")
def copies() -> None:
    content = os.urandom(200000)
    source = os.open(fresh("source", content), os.O_RDONLY)
    for turn in turns():
        target = os.open(f"target-{turn}", os.O_RDWR | os.O_CREAT, 0o600)
        equal(os.sendfile(target, source, 0, 1000), 1000)
        done = 1000
        while done < len(content):
            done += os.copy_file_range(source, target, len(content) - done, done, done)
        equal(os.pread(target, len(content), 0) == content, True, "the copy")
        reader, writer = os.pipe()
        equal(os.splice(source, writer, 4096, offset_src=100), 4096)
        equal(os.read(reader, 5000), content[100:4196])
        for fd in (target, reader, writer):
            os.close(fd)


@row("vectored and positioned reads and writes")
def vectors() -> None:
    fd = os.open(fresh("file"), os.O_RDWR)
    for turn in turns():
        os.pwritev(fd, [b"one", b"two", b"%d" % turn], 10)
        parts = [bytearray(3), bytearray(3), bytearray(1)]
        os.preadv(fd, parts, 10)
        equal(b"".join(parts), b"onetwo%d" % turn)


@row("a file open for execution and its text")
def executable() -> None:
    exe = os.open("/proc/self/exe", os.O_RDONLY)
    head = os.pread(exe, 4096, 0)
    for _ in turns():
        equal(os.pread(exe, 4096, 0) == head, True, "the program's first page")
        with open("/usr/bin/env", "rb") as file:
            equal(file.read(4), b"\x7fELF")


@row("a mapping and reads of the same file agree")
def coherent() -> None:
    fd = os.open(fresh("file", bytes(8192)), os.O_RDWR)
    with mmap.mmap(fd, 8192) as data:
        for turn in turns():
            data[5000] = turn
            equal(os.pread(fd, 1, 5000), bytes([turn]))
            os.pwrite(fd, bytes([turn + 1]), 100)
            equal(data[100], turn + 1)


@row("large writes and reads")
def bulk() -> None:
    block = os.urandom(1 << 20)
    for _turn in turns():
        with open("bulk", "wb") as file:
            for _ in range(8):
                file.write(block)
        with open("bulk", "rb") as file:
            for _ in range(8):
                equal(file.read(1 << 20) == block, True, "a block")
        os.unlink("bulk")


if __name__ == "__main__":
    main()
