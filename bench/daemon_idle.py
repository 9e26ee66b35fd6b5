"""What an idle daemon costs: processor time, memory and traffic of each of N daemons on one machine.

    python bench/daemon_idle.py [N] [SECONDS]

Every daemon has a loopback address of its own and finds the others by seeds, which is the dearer way: with
multicast there is less to send.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.daemons import OneDaemon

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def processor_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def memory_kb(pid: int) -> dict[str, int]:
    """Resident, proportional and unique memory."""
    sizes = {"Rss": 0, "Pss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in sizes:
            sizes[name] = int(rest.split()[0])
    unique = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return {"rss_kb": sizes["Rss"], "pss_kb": sizes["Pss"], "uss_kb": unique}


def main() -> None:
    """Start the daemons, let them settle, measure, print one JSON object."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    daemons = [OneDaemon(number, seeds=(1,)) for number in range(1, count + 1)]
    try:
        for daemon in daemons:
            daemon.start()
        for daemon in daemons:
            daemon.wait_for(lambda status: sum(m["is_up"] for m in status["members"]) == count - 1)
        pids = [daemon.status()["pid"] for daemon in daemons]
        sent = [daemon.status()["counters"]["datagrams"]["sent_bytes"] for daemon in daemons]
        before, began = [processor_s(pid) for pid in pids], time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        share = [100 * (processor_s(pid) - start) / took for pid, start in zip(pids, before, strict=True)]
        after = [daemon.status()["counters"]["datagrams"]["sent_bytes"] for daemon in daemons]
        traffic = [(end - start) / took for start, end in zip(sent, after, strict=True)]
        print(
            json.dumps(
                {
                    "daemons": count,
                    "seconds": round(took, 1),
                    "cpu_percent_each": round(sum(share) / count, 3),
                    "sent_bytes_per_s_each": round(sum(traffic) / count),
                    **memory_kb(pids[0]),
                }
            )
        )
    finally:
        for daemon in daemons:
            daemon.close()


if __name__ == "__main__":
    main()
