"""The guest's root file system as the guest shim holds it: the FUSE descriptor and the process that pumps it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from migrated.shim.children import Child


@dataclass
class Files:
    """`device`: /dev/fuse, to be mounted in the jail, None for a root of this node; `tell_mounted` starts the pump."""

    device: int | None
    carrier: Child | None
    tell_mounted: int = -1

    def mounted(self) -> None:
        """The file system is mounted: requests will come.  Idempotent."""
        if self.tell_mounted >= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(self.tell_mounted, b"m")
            os.close(self.tell_mounted)
            self.tell_mounted = -1

    def close_device(self) -> None:
        """Close our copy: the pump's must be the last, so that its end frees whoever waits for home."""
        if self.device is not None:
            os.close(self.device)
            self.device = None

    @property
    def lost(self) -> bool:
        """The pump has ended: home's files are gone."""
        return self.carrier is not None and self.carrier.ended()

    def end(self) -> None:
        """Stop the pump and drop everything.  Idempotent."""
        if self.tell_mounted >= 0:
            os.close(self.tell_mounted)
            self.tell_mounted = -1
        if self.carrier is not None:
            self.carrier.kill()
        self.close_device()
