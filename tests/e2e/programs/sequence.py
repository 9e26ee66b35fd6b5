"""Appends 1, 2, 3 ... to the file argv[1], one per line, and answers on its pipes; a second copy would be seen there.

"quiet" as argv[2]: only when asked.  Otherwise by itself too, every few milliseconds.
"""

import os
import select
import sys

log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
quiet = sys.argv[2:] == ["quiet"]
count = 0


def step() -> int:
    global count
    count += 1
    os.write(log, f"{count}\n".encode())
    return count


os.write(1, b"ready\n")
pending = b""
while True:
    if not select.select([0], [], [], None if quiet else 0.004)[0]:
        step()
        continue
    part = os.read(0, 4096)
    if not part:
        os._exit(3)
    *lines, pending = (pending + part).split(b"\n")
    for line in lines:
        if line.startswith(b"exit"):
            os._exit(int(line.split()[1]))
        os.write(1, f"{step()}\n".encode())
