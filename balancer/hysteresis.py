"""Rest for processes that have just moved: how long they stay, and when they may go back where they came
from.
"""

from __future__ import annotations

from balancer.facts import Limits, ProcessFacts


def residence_left_s(process: ProcessFacts, cost_s: float, limits: Limits) -> float:
    """Seconds until the process may move again: at least 1 s here, and twice what a move costs once it has
    moved.
    """
    if process.previous_node:
        return max(limits.residence_s, limits.residence_costs * cost_s) - process.here_s
    return -process.here_s


def may_return(process: ProcessFacts, target: int, nodes: int, limits: Limits) -> bool:
    """False while the process would go back where it was lately.

    With many nodes the bar is longer, for another one is as good.
    """
    if not process.left:
        return True
    bar = limits.no_return_large_s if nodes >= limits.large_cluster else limits.no_return_s
    return all(node != target or ago_s >= bar for node, ago_s in process.left)
