"""A tiny deterministic source of draws.

Every decision takes its draws from one of these, made from a 64-bit seed. The seed is kept with the
decision, so that a decision can be replayed and explained later with exactly the draws it had. It must
never be used for anything secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_MASK = (1 << 64) - 1
# Constants of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


class Draw:
    """Deterministic draws from a seed. Not secret, not thread-safe."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def getrandbits(self, k: int, /) -> int:
        """k random bits, 1 <= k <= 64."""
        self._state = z = (self._state + _GAMMA) & _MASK
        z = ((z ^ (z >> 30)) * _MIX_1) & _MASK
        z = ((z ^ (z >> 27)) * _MIX_2) & _MASK
        return (z ^ (z >> 31)) >> (64 - k)

    def random(self) -> float:
        """Uniform in [0, 1)."""
        return self.getrandbits(53) / (1 << 53)

    def below(self, n: int) -> int:
        """Uniform in 0..n-1; n >= 1. The bias is under n / 2**53."""
        return int(self.random() * n)

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """Up to `count` distinct items in random order."""
        pool = list(items)
        size = len(pool)
        count = min(count, size)
        for i in range(count):
            j = i + self.below(size - i)
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:count]
