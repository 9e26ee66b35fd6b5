"""What a move costs, learned from the own moves.

The time a process stands still is taken to be `fixed + bytes / bandwidth`; both come from a regression over
past moves in which old ones fade. Before the first move stand two assumed ones that amount to 0.1 s fixed
and 80 MB/s. Pure values: an update gives a new model.
"""

from __future__ import annotations

import msgspec

KEEP = 0.95  # weight of a past move after each new one: about the last 20 count
PRIOR_FIXED_S = 0.1
PRIOR_BYTES_PER_S = 80e6
_PRIOR_SIZES = (0.0, 64e6)
_LEAST_PRIOR = 0.01  # weight of an assumed move once there are enough real ones
_MIN_COST_S = 1e-3
_MAX_FROZEN_S = 3600.0
_MAX_BYTES = 1e15


class MoveCost(msgspec.Struct, frozen=True, gc=False):
    """Estimated cost of moving: `fixed_s` plus `s_per_byte` times its size, and the sums the estimate comes
    from.
    """

    fixed_s: float = PRIOR_FIXED_S
    s_per_byte: float = 1 / PRIOR_BYTES_PER_S
    weight: float = 0.0
    sum_x: float = 0.0
    sum_y: float = 0.0
    sum_xx: float = 0.0
    sum_xy: float = 0.0
    moves: int = 0

    def seconds(self, size_bytes: float) -> float:
        """Expected cost of moving a process of this size, in seconds; at least 1 ms."""
        return max(_MIN_COST_S, self.fixed_s + size_bytes * self.s_per_byte)


def learn(model: MoveCost, size_bytes: float, frozen_s: float) -> MoveCost:
    """The model after a move of `size_bytes` that kept its process from running for `frozen_s`.

    Values that cannot be (negative, NaN, an hour and more) leave the model as it is.
    """
    if not (0 <= frozen_s < _MAX_FROZEN_S and 0 <= size_bytes < _MAX_BYTES):
        return model
    weight = model.weight * KEEP + 1
    sum_x = model.sum_x * KEEP + size_bytes
    sum_y = model.sum_y * KEEP + frozen_s
    sum_xx = model.sum_xx * KEEP + size_bytes * size_bytes
    sum_xy = model.sum_xy * KEEP + size_bytes * frozen_s
    n, sx, sy, sxx, sxy = weight, sum_x, sum_y, sum_xx, sum_xy
    prior = max(_LEAST_PRIOR, KEEP**model.moves)
    for x in _PRIOR_SIZES:
        y = PRIOR_FIXED_S + x / PRIOR_BYTES_PER_S
        n, sx, sy = n + prior, sx + prior * x, sy + prior * y
        sxx, sxy = sxx + prior * x * x, sxy + prior * x * y
    slope = max(0.0, (n * sxy - sx * sy) / (n * sxx - sx * sx))
    fixed = (sy - slope * sx) / n
    if fixed < 0:
        fixed, slope = 0.0, max(0.0, sxy / sxx)
    return MoveCost(fixed, slope, weight, sum_x, sum_y, sum_xx, sum_xy, model.moves + 1)
