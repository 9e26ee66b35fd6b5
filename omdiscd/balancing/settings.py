"""The section [balancing] of openmosix.toml."""

from __future__ import annotations

from typing import Literal

import msgspec


class BalancingForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`automatic`: move processes by itself; `policy`: how it decides (see openmosix.toml(5))."""

    automatic: bool = True
    policy: Literal["ours", "mosix", "opportunity", "two-choices", "none"] = "ours"
