"""Start of a home shim: `python -m migrated.shim.home_main`, its specification as JSON on standard input.

The daemon starts it in a session of its own.  It says one line, "ready", on standard output when its request
socket can be connected to, and keeps nothing of the daemon after that.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from migrated.core.ledger import State
from migrated.journal import Journal, Record
from migrated.shim.claim import Claim
from migrated.shim.home_shim import HomeShim
from migrated.shim.home_state import HomeSpec, HomeState
from migrated.shim.logs import log_to_syslog
from migrated.survey.facts import boot_id, read_facts
from omprotocol.certificates import Identity
from omprotocol.cluster_key import load
from omprotocol.paths import Paths

_CLAIM_TIMEOUT_S = 10.0


def main() -> int:
    """Run one home shim to its end."""
    spec = msgspec.json.decode(sys.stdin.buffer.read(), type=HomeSpec)
    for signo in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signo, _not_now)  # not ignored: that would be inherited by CRIU, which ends its own by SIGTERM
    os.umask(0o077)
    log_to_syslog("omdiscd-home")
    paths = Paths(run_dir=Path(spec.run_dir), state_dir=Path(spec.state_dir), etc_dir=Path(spec.etc_dir))
    claim = Claim.take(paths.run_dir / "away" / str(spec.pid), spec.pid, _CLAIM_TIMEOUT_S)
    pidfd = os.pidfd_open(spec.pid)
    facts = read_facts(spec.pid)
    if facts.start_ticks != spec.start_ticks:
        return 1
    record = Record(
        pid=spec.pid,
        start_ticks=spec.start_ticks,
        boot_id=boot_id(),
        migration_id="",
        epoch=0,
        state=State.LOCAL,
        home=spec.node,
        node=spec.node,
        address="",
        uid=facts.uid,
        command=facts.comm,
    )
    shim = HomeState(
        spec=spec,
        identity=Identity.create(load(paths.cluster_key), spec.node),
        journal=Journal(paths.journal_dir),
        record=record,
        claim=claim,
        pidfd=pidfd,
    )
    asyncio.run(_serve(shim, shim.work_dir / "control"))
    return 0


async def _serve(shim: HomeState, socket_path: Path) -> None:
    socket_path.unlink(missing_ok=True)
    serving = asyncio.create_task(HomeShim(shim).run(socket_path), name="home shim")
    while not socket_path.exists() and not serving.done():
        await asyncio.sleep(0)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    os.close(null)
    await serving


def _not_now(_signo: int, _frame: object) -> None:
    """A shim ends with its process, not when it is told to."""


if __name__ == "__main__":
    sys.exit(main())
