"""Rows that are known not to hold, with the reason as docs/TRANSPARENCY.md tells it.

A row that fails and is not named here makes the run fail.  One that is named and holds is named here in vain.
"""

from __future__ import annotations

_CACHE = "names and attributes are cached at the other node for a second"
_LOCKS = "locks taken while away exclude only the process's own family, not processes at home"
_NETWORK = "while away it has a network of its own without a way out: what is opened there does not appear at home"
_TIME = "the kernel counts CPU time per node and cannot be told what was used elsewhere"

DIFFERENCES = {
    "clocks/cpu_time": _TIME,
    "clocks/rusage": _TIME,
    "files/deleted_at_home": _CACHE,
    "files/renamed_at_home": "a move on may fail while home has the file under another name; it goes on where it is",
    "files/truncated_at_home": _CACHE,
    "filesystem/negative_names": _CACHE,
    "filesystem/renamed_directory": "a working directory renamed at home is used on, but getcwd shows its old name",
    "locks/flock_away": _LOCKS,
    "locks/waits_for_lock": _LOCKS,
    "filesystem/mounted_at_home": "the files away are those of the mounts at the time of the departure",
    "devices/proc_others": "/proc away shows the process's own family only",
    "families/kills_at_home": "while away, other processes of home cannot be signalled",
    "queues/fifo_away": "a FIFO opened while away does not lead to home",
    "sockets/unix_away": _NETWORK,
    "sockets/unix_listening_away": _NETWORK,
    "network/connects_away": _NETWORK,
    "network/listens_away": _NETWORK,
    "network/udp_away": _NETWORK,
    "network/names": _NETWORK,
    "identity/core_limit": "the limit of core dumps reads 0 while away: no core is written there",
    "exits/core_bit": "no core is dumped while away, so the wait status does not tell of one",
    "identity/affinity": "processors are the node's: an affinity is not carried there, and is as before at home",
    "identity/io_priority": "the I/O priority is as before at home only",
    "identity/timer_slack": "the timer slack is as before at home only",
    "identity/usage": _TIME,
    "identity/parents_time": _TIME,
    "exits/parent_dies": "while away getppid tells of the parent it left with",
}
