"""Writes, waits for /tmp/steps.go, writes again."""

import os
import time

print("before", flush=True)
with open("/tmp/steps.pid.new", "w") as file:
    file.write(str(os.getpid()))
os.rename("/tmp/steps.pid.new", "/tmp/steps.pid")
while not os.path.exists("/tmp/steps.go"):
    time.sleep(0.05)
print("after", flush=True)
