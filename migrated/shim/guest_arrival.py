"""What a guest shim does around a restore: signs of life for home, an eye on the link, the images on their way in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from migrated.shim.link import Link, LinkLost
from migrated.shim.messages import AnyMessage, LeaseAsked

PULSE_S = 1.0


async def show_life(link: Link) -> None:
    """Home waits for a body that is frozen: it must know whether that is worth it.  Until cancelled."""
    with contextlib.suppress(LinkLost):
        while True:
            link.post(LeaseAsked(number=0))
            await asyncio.sleep(PULSE_S)


async def while_linked(word: asyncio.Task[AnyMessage], work: Coroutine[Any, Any, None]) -> None:
    """Do `work`, but give it up when `word`, what home says next, comes before its end: home has changed its mind or
    is gone.  Raises LinkLost then, and what `work` raises.
    """
    doing = asyncio.create_task(work, name="restore")
    try:
        await asyncio.wait({word, doing}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise LinkLost("home gave up")
        await doing
    finally:
        doing.cancel()
        await asyncio.wait({doing})


def write_images(directory: Path, images: Mapping[str, bytes]) -> None:
    """Store the small images.  Raises ValueError for a name that is none of an image, OSError."""
    for name, content in images.items():
        if "/" in name or not name.endswith(".img"):
            raise ValueError(f"{name!r} is not the name of an image")
        (directory / name).write_bytes(content)
