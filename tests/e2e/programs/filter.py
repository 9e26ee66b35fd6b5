"""Copies half of its input, waits for /tmp/filter.go, copies the rest."""

import os
import sys
import time

for number, line in enumerate(sys.stdin):
    if number == 100000:
        sys.stdout.flush()
        with open("/tmp/filter.pid.new", "w") as file:
            file.write(str(os.getpid()))
        os.rename("/tmp/filter.pid.new", "/tmp/filter.pid")
        while not os.path.exists("/tmp/filter.go"):
            time.sleep(0.05)
    sys.stdout.write(line)
