"""A program that changes itself on command and can say exactly what it has become.

Started as a script by the tests of the deputy. It forks: the child, the "body", obeys lines of Python from standard
input; the parent, the "original", waits for the descriptor named in the first argument and never acts.
"""

import ctypes
import hashlib
import os
import resource
import signal
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
for name in ("mmap", "mremap", "sbrk"):
    getattr(libc, name).restype = ctypes.c_void_p
P = 4096
areas: dict[str, tuple[int, int]] = {}
caught: list[int] = []
started: list[threading.Thread] = []
results: dict[int, str] = {}
gate = threading.Event()


def area(name: str, pages: int, protection: int = 3, flags: int = 0x22, fd: int = -1) -> None:
    at = libc.mmap(None, ctypes.c_size_t(pages * P), protection, flags, fd, ctypes.c_long(0))
    areas[name] = (at, pages * P)


def fill(name: str) -> None:
    at, size = areas[name]
    ctypes.memmove(at, hashlib.shake_128(name.encode()).digest(size), size)


def protect(name: str, page: int, protection: int) -> None:
    assert libc.mprotect(ctypes.c_void_p(areas[name][0] + page * P), ctypes.c_size_t(P), protection) == 0


def mutate(directory: str) -> None:
    """Change everything a homecoming must carry over."""
    at, size = areas.pop("gone")
    assert libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(size)) == 0
    area("new", 80)
    fill("new")
    protect("kept", 1, 1)
    protect("kept", 2, 0)
    area("moved", 4)
    fill("moved")
    at, size = areas["moved"]
    areas["moved"] = (libc.mremap(ctypes.c_void_p(at), ctypes.c_size_t(size), ctypes.c_size_t(64 * P), 1), 64 * P)
    path = os.path.join(directory, "data")
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.write(fd, bytes(range(256)) * 64)
    area("private", 4, 3, 2, fd)
    ctypes.memset(areas["private"][0] + P, 0x5A, 100)
    area("shared", 4, 3, 1, fd)
    os.lseek(fd, 77, os.SEEK_SET)
    os.dup2(fd, 40)
    os.dup2(1, 41)
    os.close(spare)
    areas["heap"] = (libc.sbrk(ctypes.c_long(1 << 20)), 1 << 20)
    fill("heap")
    sys.setrecursionlimit(20000)
    nest: list[object] = []
    for _ in range(4000):
        nest = [nest]
    assert len(repr(nest)) == 8002
    os.chdir(directory)
    os.umask(0o137)
    signal.signal(signal.SIGUSR1, lambda signo, frame: caught.append(signo))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2])
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.setitimer(signal.ITIMER_REAL, 5000, 77)
    event = (ctypes.c_int * 16)(0x1234, 0, 40, 0)
    for _ in range(3):
        timer = ctypes.c_int()
        assert libc.timer_create(1, event, ctypes.byref(timer)) == 0
        timers.append(timer.value)
    assert libc.timer_delete(ctypes.c_void_p(timers.pop(0))) == 0
    setting = (ctypes.c_long * 4)(3, 0, 9000, 0)
    assert libc.timer_settime(ctypes.c_void_p(timers[0]), 0, setting, None) == 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    libc.prctl(15, b"changed", 0, 0, 0)
    area("alternate", 16)
    stack = (ctypes.c_ulong * 3)(areas["alternate"][0], 0, 16 * P)
    assert libc.sigaltstack(stack, None) == 0


def start_threads(count: int) -> None:
    for number in range(count):
        started.append(threading.Thread(target=gate.wait, args=(1000,), name=f"t{number}"))
        started[-1].start()


def join_threads() -> int:
    gate.set()
    for thread in started:
        thread.join()
    return threading.active_count()


def _spin(number: int) -> None:
    value = b"spin"
    for _ in range(400_000):
        value = hashlib.sha256(value).digest()
    results[number] = value.hex()


def start_spinners(count: int) -> None:
    for number in range(count):
        started.append(threading.Thread(target=_spin, args=(number,)))
        started[-1].start()


def spun() -> list[str]:
    for thread in started:
        thread.join()
    return [results[number] for number in sorted(results)]


def facts() -> object:
    """All of it, as something that can be compared."""
    digests = {}
    for name, (at, size) in sorted(areas.items()):
        data = bytearray()
        for page in range(0, size, P):
            if name != "kept" or page != 2 * P:
                data += ctypes.string_at(at + page, P)
        digests[name] = hashlib.sha256(data).hexdigest()
    descriptors = {}
    for fd in sorted(int(number) for number in os.listdir("/proc/self/fd")):
        try:
            link = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue
        with open(f"/proc/self/fdinfo/{fd}") as info:
            descriptors[fd] = (link, info.read().splitlines()[:2] if link.endswith("data") else "")
    for listing in [fd for fd, (link, _) in descriptors.items() if "/proc/" in link]:
        del descriptors[listing]
    stack = (ctypes.c_ulong * 3)()
    libc.sigaltstack(None, stack)
    umask = os.umask(0)
    os.umask(umask)
    left = []
    for timer in timers:
        setting = (ctypes.c_long * 4)()
        left.append(libc.timer_gettime(ctypes.c_void_p(timer), setting))
        left.append((setting[0], setting[2] > 100))
    alarm, interval = signal.getitimer(signal.ITIMER_REAL)
    return {
        "areas": digests,
        "descriptors": descriptors,
        "alternate stack": list(stack),
        "cwd": os.getcwd(),
        "umask": umask,
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "pending": sorted(signal.sigpending()),
        "hup": signal.getsignal(signal.SIGHUP),
        "timers": left,
        "alarm": (alarm > 100, interval),
        "limit": resource.getrlimit(resource.RLIMIT_NOFILE),
        "name": open("/proc/self/comm").read(),
        "threads": threading.active_count(),
        "float": 2**0.5 * 3.0,
    }


def unblock() -> object:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1, signal.SIGUSR2])
    return list(caught)


timers: list[int] = []

if __name__ == "__main__":
    hold = int(sys.argv[1])
    spare = os.open("/dev/null", os.O_RDONLY)
    area("gone", 20)
    area("kept", 4)
    fill("kept")
    body = 0 if sys.argv[2:] == ["alone"] else os.fork()
    if body:
        os.read(hold, 1)
        os._exit(99)
    os.write(1, b"%d\n" % os.getpid())
    for line in sys.stdin:
        os.write(1, repr(eval(line)).encode() + b"\n")
    sys.exit(5)
