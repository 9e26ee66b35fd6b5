"""Answers each word on standard input with facts that only hold if it is still the same process."""

import hashlib
import os
import signal
import sys
import threading
import time

data = bytearray(os.urandom(2 << 20))
digest = hashlib.sha256(data).hexdigest()
caught: list[int] = []
started = time.monotonic()
log = open(sys.argv[1], "a") if len(sys.argv) > 1 else None
counters = [0] * (int(sys.argv[2]) if len(sys.argv) > 2 else 0)


def count(index: int) -> None:
    while True:
        counters[index] += 1
        time.sleep(0.001)


signal.signal(signal.SIGUSR1, lambda signo, frame: caught.append(signo))
for index in range(len(counters)):
    threading.Thread(target=count, args=(index,), daemon=True).start()


def answer(word: str) -> str:
    command, _, rest = word.partition(" ")
    if command == "check":
        return "ok" if hashlib.sha256(data).hexdigest() == digest else "CORRUPT"
    if command == "grow":
        data.extend(os.urandom(int(rest)))
        globals()["digest"] = hashlib.sha256(data).hexdigest()
        return str(len(data))
    if command == "identity":
        ids = (os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0), os.getuid(), os.getgid(), os.getcwd())
        return repr(ids)
    if command == "caught":
        return repr(caught)
    if command == "log":
        assert log is not None
        log.write(rest + "\n")
        log.flush()
        return "logged"
    if command == "read":
        return open(rest).read().strip()
    if command == "write":
        path, _, text = rest.partition(" ")
        with open(path, "w") as file:
            file.write(text)
        return "written"
    if command == "clock":
        return "forward" if time.monotonic() >= started else "BACK"
    if command == "threads":
        before = list(counters)
        while any(now == then for now, then in zip(counters, before, strict=False)):
            time.sleep(0.001)
        return str(threading.active_count())
    if command == "run":
        import subprocess

        return subprocess.run(rest.split(), capture_output=True, text=True).stdout.strip()
    if command == "child":
        import subprocess

        globals()["child"] = subprocess.Popen(
            ["/bin/sh", "-c", 'while read word; do echo "$word"; done; exit 4'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return "started"
    if command == "child-says":
        child = globals()["child"]
        child.stdin.write(rest + "\n")
        child.stdin.flush()
        return str(child.stdout.readline().strip())
    if command == "child-ends":
        child = globals()["child"]
        child.stdin.close()
        child.stdout.close()
        return str(child.wait())
    if command == "size":
        return repr(tuple(os.get_terminal_size(0)))
    if command == "close-output":
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
        open(rest, "w").close()
        return ""
    if command == "tty":
        return os.ttyname(0)
    if command == "exit":
        sys.exit(int(rest))
    return f"unknown {word}"


print("ready", flush=True)
for line in sys.stdin:
    print(answer(line.rstrip("\n")), flush=True)
sys.exit(3)
