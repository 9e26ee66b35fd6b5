"""INIT: what kernel and file server agree on before the first real request.

Owns: the two INIT structures and the choice made from the kernel's offer. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from migrated.mfs.fuse_constants import KERNEL_MAJOR, KERNEL_MINOR, OLDEST_MINOR, InitFlag
from migrated.mfs.fuse_structs import Buffer, Layout, WireError

PAGE_BYTES: Final = 4096
_LOW_FLAGS: Final = 0xFFFFFFFF
_OLD_BYTES: Final = 16


class InitIn(NamedTuple):
    """What the kernel offers; `flags` has the bits of both flag words."""

    major: int
    minor: int
    max_readahead: int
    flags: int
    flags2: int = 0


class InitOut(NamedTuple):
    """The answer; sizes in bytes, `time_gran` in nanoseconds, `request_timeout` in seconds (0: none)."""

    major: int
    minor: int
    max_readahead: int
    flags: int
    max_background: int
    congestion_threshold: int
    max_write: int
    time_gran: int
    max_pages: int
    map_alignment: int
    flags2: int
    max_stack_depth: int
    request_timeout: int


INIT_IN: Final = Layout("=IIIII44x", InitIn)
INIT_OUT: Final = Layout("=IIIIHHIIHHIIH22x", InitOut)


class VersionRefused(WireError):
    """A kernel too old or of another protocol generation."""


@dataclass(frozen=True, slots=True)
class InitChoice:
    """What the file server would like; flags the kernel does not offer are left out.

    Sizes in bytes; max_write is a multiple of 4096, at most 1 MiB unless fs.fuse.max_pages_limit was raised.
    request_timeout_s 0 leaves the kernel's own limit off.
    """

    flags: InitFlag
    max_write: int = 128 << 10
    max_readahead: int = 128 << 10
    max_background: int = 64
    congestion_threshold: int = 48
    request_timeout_s: int = 0


@dataclass(frozen=True, slots=True)
class Agreement:
    """Outcome of INIT: the protocol's minor version, the flags in force, and the body of the reply."""

    minor: int
    flags: InitFlag
    max_write: int
    body: bytes


def parse_init(body: Buffer) -> InitIn:
    """The kernel's offer with both flag words joined in `flags`; raises WireError.

    Kernels before Linux 5.17 send the first four words only.
    """
    offer = INIT_IN.unpack(bytes(body).ljust(INIT_IN.size, b"\0") if len(body) >= _OLD_BYTES else body)
    high = offer.flags2 << 32 if offer.flags & InitFlag.INIT_EXT else 0
    return offer._replace(flags=offer.flags | high)


def agree(offer: InitIn, choice: InitChoice) -> Agreement:
    """Answer the kernel's offer; raises VersionRefused when the kernel speaks another or too old a version.

    A kernel with a newer major version gets our major version back and asks again, as the protocol wants it.
    """
    if offer.major > KERNEL_MAJOR:
        return Agreement(0, InitFlag(0), 0, INIT_OUT.pack(KERNEL_MAJOR, KERNEL_MINOR, *(0,) * 11))
    if offer.major < KERNEL_MAJOR or offer.minor < OLDEST_MINOR:
        raise VersionRefused(f"the kernel speaks FUSE {offer.major}.{offer.minor}; 7.{OLDEST_MINOR} is needed")
    wanted = choice.flags | InitFlag.INIT_EXT | InitFlag.MAX_PAGES | InitFlag.BIG_WRITES
    if choice.request_timeout_s:
        wanted |= InitFlag.REQUEST_TIMEOUT
    flags = InitFlag(wanted & offer.flags)
    minor = min(offer.minor, KERNEL_MINOR)
    body = INIT_OUT.pack(
        KERNEL_MAJOR,
        minor,
        min(offer.max_readahead, choice.max_readahead),
        flags & _LOW_FLAGS,
        choice.max_background,
        choice.congestion_threshold,
        choice.max_write,
        1,
        max(1, choice.max_write // PAGE_BYTES),
        0,
        flags >> 32,
        0,
        choice.request_timeout_s if flags & InitFlag.REQUEST_TIMEOUT else 0,
    )
    return Agreement(minor, flags, choice.max_write, body)
