"""What the balancer's core costs: CPU time per second of a node, and per message.

Usage: python bench/balancer_cost.py [--processes 300] [--nodes 64] [--seconds 200]

Prints CPU time of a tick (all filters, gossip and the decision), of a received vector with decoding, of an
encoded one, of reading run time and run delay of that many processes from /proc, and their sum as a share
of one core at one tick and one exchange a second.
"""

from __future__ import annotations

import argparse
import os
import time

from balancer.events import MembersChanged, ProcessSample, Tick, VectorReceived
from balancer.node import BalancerCore
from balancer.settings import Settings
from balancer.vector import LoadEntry, decode, encode, stamp


def _read_schedstat(count: int) -> float:
    """CPU seconds for reading run time and run delay of `count` processes, each by one open, read and
    close.
    """
    path = f"/proc/{os.getpid()}/schedstat"
    start = time.process_time()
    for _ in range(count):
        with open(path, "rb", buffering=0) as file:
            run_ns, delay_ns, _ = file.read(64).split()
        int(run_ns), int(delay_ns)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=300)
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=200)
    options = parser.parse_args()
    core = BalancerCore(1, Settings(cpus=4.0), 1, 1)
    peers = tuple(range(2, options.nodes + 1))
    core.handle(MembersChanged(peers), 0.0)
    tick_s = vector_s = encode_s = 0.0
    window = core.gossip.plan.window + core.gossip.plan.oldest
    for second in range(1, options.seconds + 1):
        now = float(second)
        entries = [
            (LoadEntry(node, stamp(1, second), 5.0, 5.0, 15000, 4.0, 8e9, 4e9), 0.5) for node in peers[: window - 1]
        ]
        start = time.process_time()
        data = encode(2, entries)
        encode_s += time.process_time() - start
        start = time.process_time()
        message = decode(data)
        core.handle(VectorReceived(message.sender, message.entries, wants_answer=True), now)
        vector_s += time.process_time() - start
        samples = tuple(
            ProcessSample(100 + i, 1, 0.01 * now, 0.01 * now, 20e6, age_s=now) for i in range(options.processes)
        )
        start = time.process_time()
        core.handle(Tick(samples, 8e9, 4e9), now + 0.5)
        tick_s += time.process_time() - start
    read_s = _read_schedstat(options.processes)
    per_second = (tick_s + 2 * vector_s + 2 * encode_s) / options.seconds
    print(f"tick with {options.processes} processes and {options.nodes} nodes: {1e6 * tick_s / options.seconds:.0f} us")
    print(f"vector received and answered: {1e6 * vector_s / options.seconds:.0f} us")
    print(f"vector encoded: {1e6 * encode_s / options.seconds:.0f} us, {len(data)} bytes")
    print(f"reading run time and delay of {options.processes} processes: {1e6 * read_s:.0f} us")
    print(f"core: {100 * per_second:.2f} % of one CPU; with the reading: {100 * (per_second + read_s):.2f} %")


if __name__ == "__main__":
    main()
