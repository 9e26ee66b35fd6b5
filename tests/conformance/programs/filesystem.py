"""Names in the file system, rights and limits: always those of home."""

import errno
import os
import resource
import select
import stat
import time

from steps import calm, equal, eventually, main, row, say, step, turns


def refused(number: int, action: object, *arguments: object) -> None:
    try:
        action(*arguments)  # type: ignore[operator]
    except OSError as error:
        equal(errno.errorcode.get(error.errno or 0), errno.errorcode[number])
    else:
        raise AssertionError(f"{action} was not refused with {errno.errorcode[number]}")


@row("directories are made, renamed, removed and listed")
def directories() -> None:
    for turn in turns():
        os.makedirs(f"a{turn}/b/c")
        os.rename(f"a{turn}/b", f"a{turn}/moved")
        equal(os.listdir(f"a{turn}"), ["moved"])
        refused(errno.ENOTEMPTY, os.rmdir, f"a{turn}")
        os.rmdir(f"a{turn}/moved/c"), os.rmdir(f"a{turn}/moved"), os.rmdir(f"a{turn}")
        refused(errno.ENOENT, os.stat, f"a{turn}")


@row("symbolic links, also broken and looping ones")
def symbolic_links() -> None:
    for turn in turns():
        os.symlink("nowhere", f"broken-{turn}")
        os.symlink(f"loop-{turn}", f"loop-{turn}")
        equal(os.readlink(f"broken-{turn}"), "nowhere")
        refused(errno.ENOENT, os.stat, f"broken-{turn}")
        refused(errno.ELOOP, os.stat, f"loop-{turn}")
        equal(os.path.islink("/bin"), True)


@row("the working directory is kept, changed, and used")
def working_directory() -> None:
    start = os.getcwd()
    for turn in turns():
        equal(os.getcwd(), start if turn == 1 else f"{start}/dir-{turn - 1}")
        equal(os.readlink("/proc/self/cwd"), os.getcwd())
        os.makedirs(f"{start}/dir-{turn}")
        os.chdir(f"{start}/dir-{turn}")
        with open("here", "w") as file:
            file.write("x")
        equal(os.path.exists(f"{start}/dir-{turn}/here"), True)


@row("a working directory that home renames")
def renamed_directory() -> None:
    start = os.getcwd()
    os.mkdir("one")
    os.chdir("one")
    for turn in turns(f"cd {start} && if test -d one; then mv one two; else mv two one; fi"):
        with open(f"file-{turn}", "w") as file:
            file.write("x")
        name = "two" if turn % 2 else "one"
        equal(os.getcwd(), f"{start}/{name}")
        equal(os.path.exists(f"{start}/{name}/file-{turn}"), True)


@row("a deleted working directory")
def deleted_directory() -> None:
    os.mkdir("doomed")
    os.chdir("doomed")
    os.rmdir("../doomed")
    for _ in turns():
        refused(errno.ENOENT, os.getcwd)
        refused(errno.ENOENT, os.open, "new", os.O_CREAT | os.O_WRONLY)


@row("a changed root directory", "root before=mkdir -p jail/dir && echo inside > jail/file")
def changed_root() -> None:
    os.chroot("jail")
    os.chdir("/dir")
    for _turn in turns():
        equal(sorted(os.listdir("/"))[:2], ["dir", "file"])
        with open("/file") as file:
            equal(file.read(), "inside\n")
        equal(os.getcwd(), "/dir")


@row(
    "the user's rights are enforced as at home",
    "before=echo x > private && chmod 600 private && mkdir -m 700 closed && touch closed/x",
)
def rights() -> None:
    with open("mine", "w") as file:
        file.write("x")
    for _ in turns():
        refused(errno.EACCES, os.open, "private", os.O_RDONLY)
        refused(errno.EACCES, os.listdir, "closed")
        refused(errno.EACCES, os.stat, "closed/x")
        refused(errno.EACCES, os.open, "/etc/new", os.O_CREAT | os.O_WRONLY)
        refused(errno.EPERM, os.chown, "mine", 0, 0)
        refused(errno.EPERM, os.chmod, "private", 0o666)
        refused(errno.EACCES, os.mkdir, "/usr/made")
        equal(os.access("private", os.R_OK), False)
        equal(os.access("mine", os.R_OK | os.W_OK), True)
        os.chmod("mine", 0o400)
        refused(errno.EACCES, os.open, "mine", os.O_WRONLY)
        os.chmod("mine", 0o600)


@row("a file opened before its rights were taken away stays open")
def rights_kept() -> None:
    fd = os.open("file", os.O_RDWR | os.O_CREAT, 0o600)
    os.write(fd, b"content")
    os.chmod("file", 0)
    for _ in turns():
        equal(os.pread(fd, 10, 0), b"content")
        refused(errno.EACCES, os.open, "file", os.O_RDONLY)


@row("owner and mode of new files; umask; sticky directory; set-group-ID directory")
def new_files() -> None:
    os.umask(0o027)
    for turn in turns():
        fd = os.open(f"new-{turn}", os.O_CREAT | os.O_WRONLY, 0o666)
        os.close(fd)
        facts = os.stat(f"new-{turn}")
        equal(stat.S_IMODE(facts.st_mode), 0o640)
        equal((facts.st_uid, facts.st_gid), (os.getuid(), os.getgid()))
        os.mkdir(f"dir-{turn}")
        equal(stat.S_IMODE(os.stat(f"dir-{turn}").st_mode), 0o750)


@row("root: owners, groups and devices are made as at home", "root")
def as_root() -> None:
    for turn in turns():
        with open(f"file-{turn}", "w") as file:
            file.write("x")
        os.chown(f"file-{turn}", 1000, 1000)
        facts = os.stat(f"file-{turn}")
        equal((facts.st_uid, facts.st_gid), (1000, 1000))
        os.chmod(f"file-{turn}", 0o4755)
        equal(stat.S_IMODE(os.stat(f"file-{turn}").st_mode), 0o4755)


@row("extended attributes")
def attributes() -> None:
    with open("file", "w") as file:
        file.write("x")
    try:
        os.setxattr("file", "user.start", b"value")
    except OSError as error:
        equal(error.errno, errno.ENOTSUP)
        for _ in turns():
            refused(errno.ENOTSUP, os.setxattr, "file", "user.start", b"value")
        return
    for turn in turns():
        equal(os.getxattr("file", "user.start"), b"value")
        os.setxattr("file", f"user.turn{turn}", b"%d" % turn)
        equal(len(os.listxattr("file")), turn + 1)


@row("times of files: set, kept, and taken from the clock")
def times() -> None:
    for turn in turns():
        name = f"file-{turn}"
        with open(name, "w") as file:
            file.write("x")
        equal(abs(os.stat(name).st_mtime - time.time()) < 5, True, "a new file's time near now")
        os.utime(name, ns=(123456789123456789, 987654321987654321))
        equal(os.stat(name).st_mtime_ns, 987654321987654321)
        equal(os.stat(name).st_atime_ns, 123456789123456789)


@row("a full disk at home is reported", "before=mkdir small && mount -t tmpfs -o size=64k,mode=777 small small")
def full_disk() -> None:
    for _turn in turns():
        fd = os.open("small/file", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        written, told = 0, 0
        try:
            while written < 1 << 20:
                written += os.write(fd, b"x" * 4096)
        except OSError as error:
            told = error.errno or 0
        try:
            os.close(fd)
        except OSError as error:
            told = told or error.errno or 0
        equal(told, errno.ENOSPC)
        equal(os.stat("small/file").st_size, written)
        os.unlink("small/file")


@row("statvfs tells of home's disk", "before=mkdir small && mount -t tmpfs -o size=64k,mode=777 small small")
def free_space() -> None:
    before = os.statvfs("small")
    for _ in turns():
        equal(os.statvfs("small").f_blocks * os.statvfs("small").f_frsize, before.f_blocks * before.f_frsize)


@row("a file system mounted at home while it is away is seen", "root")
def mounted_at_home() -> None:
    os.mkdir("point")
    for _turn in turns("mount -t tmpfs none point && touch point/inside || true"):
        equal(os.listdir("point"), ["inside"])


@row("RLIMIT_FSIZE and RLIMIT_NOFILE are enforced")
def limits() -> None:
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
    resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
    for _turn in turns():
        fd = os.open("file", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        equal(os.write(fd, b"x" * 20000), 10000)
        refused(errno.EFBIG, os.write, fd, b"x")
        os.close(fd)
        opened = []
        try:
            while len(opened) < 100:
                opened.append(os.open("file", os.O_RDONLY))
        except OSError as error:
            equal(error.errno, errno.EMFILE)
        equal(len(opened) < 50, True)
        for number in opened:
            os.close(number)


@row("what home changes in a directory is seen at once")
def changes_at_home() -> None:
    for turn in turns("echo $(($(cat count 2>/dev/null || echo 0) + 1)) > count; touch made-$(cat count)"):
        with open("count") as file:
            equal(int(file.read()), turn)
        equal(os.path.exists(f"made-{turn}"), True)


@row("a name that did not exist is seen when home makes it")
def negative_names() -> None:
    while calm():
        equal(os.path.exists("later"), False)
        step("touch later")
        equal(os.path.exists("later"), True)
        say("during rm later; touch gone")
        eventually(lambda: os.path.exists("gone"), "the runner's command")
        equal(os.path.exists("later"), False)
        os.unlink("gone")


@row("files of the same path at other nodes are never seen")
def homes_files() -> None:
    with open("/etc/hostname") as file:
        name = file.read()
    for _ in turns():
        with open("/etc/hostname") as file:
            equal(file.read(), name)
        equal(os.path.exists("/home/conformance/programs/steps.py"), True)


@row("inotify tells of changes at home")
def inotify() -> None:
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    fd = library.inotify_init1(os.O_NONBLOCK)
    equal(library.inotify_add_watch(fd, b".", 0x100) >= 0, True, "a watch")  # IN_CREATE
    for _turn in turns("touch made-$(date +%N)"):
        eventually(lambda: select.select([fd], [], [], 0)[0], "an event of inotify")
        equal(b"made-" in os.read(fd, 4096), True)


if __name__ == "__main__":
    main()
