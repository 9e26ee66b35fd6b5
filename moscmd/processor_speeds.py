"""Speeds of the processors openMosix knew by name, for `mosctl setyard` and `mosctl getspeed`.

Owns the table of openmosix.md 5.6 and the rule for guessing a name from a speed.
"""

from __future__ import annotations

CLOSE_ENOUGH = 0.06
"""A speed within 6 per cent of an entry is named after it."""

SPEEDS = {
    "386/16": 16, "386/33": 47, "486/25": 113, "486/50": 215, "486/66": 270, "486/100": 422,
    "PENTIUM/60": 597, "PENTIUM/75": 746, "PENTIUM/90": 895, "PENTIUM/100": 995, "PENTIUM/120": 1194,
    "PENTIUM/133": 1323, "PENTIUM/150": 1492, "PENTIUM/166": 1652, "PENTIUM/180": 1791,
    "PPRO/150": 1498, "PPRO/180": 1798, "PPRO/200": 1997,
    "PII/233": 2327, "PII/266": 2657, "PII/300": 2996, "PII/350": 3495, "PII/400": 3995, "PII/450": 4494,
    "PII/500": 5994,
    "PIII/450": 4500, "PIII/500": 5000, "PIII/600": 6000, "PIII/700": 7000, "PIII/800": 8000, "PIII/866": 8667,
    "PIII/933": 9333, "PIII/1000": 10000,
    "PIV/1300": 13000, "PIV/1400": 14000, "PIV/1500": 15000,
}  # fmt: skip
_FAMILIES = {
    "P5": "PENTIUM", "PENTIUM": "PENTIUM",
    "P6": "PPRO", "PPRO": "PPRO", "PENTIUM/PRO": "PPRO",
    "PII": "PII", "P2": "PII", "PENTIUM2": "PII", "PENTIUM/2": "PII", "PENTIUM/II": "PII",
    "PIII": "PIII", "P3": "PIII", "PENTIUM3": "PIII", "PENTIUM/3": "PIII", "PENTIUM/III": "PIII", "P7": "PIII",
    "PIV": "PIV", "P4": "PIV", "PENTIUM4": "PIV", "PENTIUM/4": "PIV", "PENTIUM/IV": "PIV",
    "386": "386", "I386": "386", "486": "486", "I486": "486",
}  # fmt: skip


def speed_of(name: str) -> int | None:
    """Speed of a processor in any of its spellings, None for one that is not in the table."""
    family, _, clock = name.upper().replace("-", "/").replace("_", "/").rpartition("/")
    return SPEEDS.get(f"{_FAMILIES.get(family, family)}/{clock}")


def nearest(speed: int) -> tuple[str, bool] | None:
    """Name of the entry closest to a speed and whether it is exact; None when none is close enough."""
    name = min(SPEEDS, key=lambda entry: abs(SPEEDS[entry] - speed))
    if abs(SPEEDS[name] - speed) > CLOSE_ENOUGH * SPEEDS[name]:
        return None
    return name, SPEEDS[name] == speed
