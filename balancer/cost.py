"""What a node's load costs the processes on it.

The cost of a node is the sum over its processes of how much slower each runs than alone on a standard CPU:
`(l / s) * max(1, l / c)` for l processes on c CPUs of speed s, ten times that when memory is short (the
factor of Amir et al., written in explicitly). The exponential memory term of the same authors only breaks
ties, so that memory fills evenly.
"""

from __future__ import annotations

from balancer.memory import slowdown

TIE_BREAK = 0.01


def node_cost(load: float, speed: float, cpus: float, mem_used: float, mem_total: float, nodes: int) -> float:
    """Progress lost per second on a node, in processes of the standard CPU; grows with load and memory in
    use.
    """
    load = max(0.0, load)
    crowding = load / cpus if load > cpus else 1.0
    filled = min(mem_used / mem_total, 4.0) if mem_total > 0 else 0.0
    tie_break: float = TIE_BREAK * float(max(nodes, 2)) ** filled
    return load / speed * crowding * slowdown(mem_used, mem_total) + tie_break


def share(load: float, speed: float, cpus: float) -> float:
    """How much slower than alone on a standard CPU each process of this node runs."""
    return (load / cpus if load > cpus else 1.0) / speed
