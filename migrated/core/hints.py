"""What one node's balancer tells the next one of a process it sends, on the way through home and the offer.

Only advice: a node that lies in it gains nothing but a process that is moved a little sooner or later.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class Hints(msgspec.Struct, frozen=True):
    """All zero when no balancer sent the process.

    `ask_id`: the lease it comes with; `cpu_s`, `age_s`: of its life so far, CPU on the standard processor; `left`:
    nodes it left before, and how many seconds ago.
    """

    ask_id: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] = 0
    cpu_s: Seconds = 0.0
    age_s: Seconds = 0.0
    left: Annotated[tuple[tuple[int, Seconds], ...], msgspec.Meta(max_length=16)] = ()


NO_HINTS = Hints()
