"""Can this process move, and with what?  The answer is taken before anything is frozen.

`survey(pid)` gathers facts, descriptors and mappings and names every reason against a move, in openMosix's
words where there is one (`cantmove`, reference: kernel 2.4.26-om).  An empty list of reasons means: may move.
Reads only; safe on any process.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import msgspec

from migrated.survey.descriptors import Descriptor, mount_ids, read_descriptors
from migrated.survey.facts import ProcessFacts, ProcessVanished, children, namespaces, read_facts
from migrated.survey.system_v import system_v_reasons
from migrated.survey.unix_sockets import unix_peers

_CHECKPOINTABLE_ANON = {"[eventpoll]", "[eventfd]", "[timerfd]", "[signalfd]"}
_UNNAMED = " (deleted)"
_ELF_32_BIT = b"\x7fELF\x01"
_REALTIME_POLICIES = {1, 2, 6}  # SCHED_FIFO, SCHED_RR, SCHED_DEADLINE
_NAMESPACE_WORDS = {
    "pid": "PID",
    "mnt": "mount",
    "net": "network",
    "ipc": "IPC",
    "uts": "UTS",
    "user": "user",
}


class Survey(msgspec.Struct, frozen=True):
    """What is known of a process that somebody wants to move."""

    facts: ProcessFacts
    descriptors: list[Descriptor]
    reasons: list[str]

    @property
    def relayed(self) -> list[Descriptor]:
        """Descriptors that stay at home and are relayed: one per pipe end and terminal, lowest number first."""
        chosen: dict[str, Descriptor] = {}
        inner = self.inner_pipes
        for entry in self.descriptors:
            if entry.kind == "tty" or (entry.kind == "pipe" and entry.inode not in inner):
                chosen.setdefault(entry.key, entry)
        return list(chosen.values())

    @property
    def inner_pipes(self) -> set[int]:
        """Inodes of pipes both of whose ends the process itself holds: they travel with it."""
        return inner_pipes(self.descriptors)

    @property
    def files(self) -> list[Descriptor]:
        """Regular files, whose offset may be shared with others at home."""
        return [entry for entry in self.descriptors if entry.kind == "file" and not entry.flags & os.O_PATH]


def survey(pid: int) -> Survey:
    """Look at `pid` and list every reason why it cannot move.  Raises ProcessVanished."""
    facts = read_facts(pid)
    if facts.kernel_thread:
        return Survey(facts=facts, descriptors=[], reasons=["system"])
    if facts.state in "ZX":
        return Survey(facts=facts, descriptors=[], reasons=["zombie"])
    descriptors = read_descriptors(pid)
    reasons = [
        *_class_reasons(facts),
        *_namespace_reasons(pid),
        *_family_reasons(pid),
        *_execution_reasons(pid),
        *_mapping_reasons(pid),
        *_session_reasons(facts, descriptors),
        *_descriptor_reasons(facts, descriptors),
        *system_v_reasons(facts),
    ]
    return Survey(facts=facts, descriptors=descriptors, reasons=list(dict.fromkeys(reasons)))


def inner_pipes(descriptors: list[Descriptor]) -> set[int]:
    """Inodes of pipes of which the table holds a reading and a writing end."""
    reading = {entry.inode for entry in descriptors if entry.kind == "pipe" and entry.access != os.O_WRONLY}
    writing = {entry.inode for entry in descriptors if entry.kind == "pipe" and entry.access != os.O_RDONLY}
    return reading & writing


def inner_sockets(descriptors: list[Descriptor]) -> set[int]:
    """Inodes of connected unix sockets of which the table holds both: they travel with the process."""
    own = {entry.inode for entry in descriptors if entry.kind == "socket"}
    if not own:
        return set()
    try:
        peers = unix_peers()
    except OSError:
        return set()
    return {inode for inode in own if peers.get(inode) in own}


def _class_reasons(facts: ProcessFacts) -> list[str]:
    reasons = []
    if facts.pid == 1:
        reasons.append("system")
    if facts.tracer_pid:
        reasons.append(f"traced by process {facts.tracer_pid}")
    if facts.locked_bytes:
        reasons.append("mem_lock")
    if facts.policy in _REALTIME_POLICIES:
        reasons.append("rt_sched")
    if facts.seccomp:
        reasons.append("seccomp filter")
    if len(set(facts.uids)) > 1 or len(set(facts.gids)) > 1:
        reasons.append("set-user-ID")
    if facts.state == "T":
        reasons.append("stopped")
    return reasons


def _namespace_reasons(pid: int) -> list[str]:
    try:
        own, theirs = namespaces("self"), namespaces(pid)
    except PermissionError:
        return ["system"]  # not even root may look into it
    foreign = [_NAMESPACE_WORDS[name] for name in own if own[name] != theirs[name]]
    reasons = [f"in another {' and '.join(foreign)} namespace"] if foreign else []
    try:
        if os.readlink(f"/proc/{pid}/root") != "/":
            reasons.append("changed root directory")
    except OSError as gone:
        raise ProcessVanished(pid) from gone
    return reasons


def _execution_reasons(pid: int) -> list[str]:
    """What is neither in the image nor in the deputy: another instruction set, another personality."""
    reasons = []
    try:
        with open(f"/proc/{pid}/exe", "rb") as program:
            if program.read(5) == _ELF_32_BIT:
                reasons.append("32-bit program")
        if personality := int(Path(f"/proc/{pid}/personality").read_text(), 16):
            reasons.append(f"personality {personality:#x}")
    except FileNotFoundError as gone:
        raise ProcessVanished(pid) from gone
    except OSError:
        pass  # a process of another user, looked at without the right to: it will not be moved either
    return reasons


def _session_reasons(facts: ProcessFacts, descriptors: list[Descriptor]) -> list[str]:
    """The leader of a terminal's session would have to be made that again by the kernel of its host."""
    leads = facts.sid == facts.pid and facts.tty_device != 0
    return ["leads the session of its terminal"] if leads and any(entry.kind == "tty" for entry in descriptors) else []


def _family_reasons(pid: int) -> list[str]:
    count = len(children(pid))
    return [f"has {count} child process{'es' if count > 1 else ''}"] if count else []


def _mapping_reasons(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError) as gone:
        raise ProcessVanished(pid) from gone
    if not text:
        return ["clone_vm"]
    reasons = []
    own_memory: set[str] = set()
    for line in text.splitlines():
        fields = line.split(None, 5)
        name = fields[5] if len(fields) > 5 else ""
        shared = fields[1][3] == "s"
        if shared and name.endswith(_UNNAMED) and name.startswith(("/memfd:", "/dev/zero")):
            own_memory.add(f" {fields[3]} {fields[4]} ")
        elif name.startswith("/dev/") and not name.startswith("/dev/shm/") and name != "/dev/zero (deleted)":
            if name not in ("/dev/zero", "/dev/null"):
                reasons.append("mmap_dev")
        elif shared and name.startswith(("/SYSV", "/memfd:", "/dev/zero", "/dev/shm/", "anon_inode:")):
            reasons.append("monkey")
    if own_memory and _mapped_elsewhere(pid, own_memory):
        reasons.append("monkey")
    return reasons


def _descriptor_reasons(facts: ProcessFacts, descriptors: list[Descriptor]) -> list[str]:
    reasons: list[str] = []
    known_mounts = mount_ids(facts.pid)
    inner = inner_pipes(descriptors)
    pairs = inner_sockets(descriptors)
    for entry in descriptors:
        if entry.kind != "socket" or entry.inode not in pairs:
            reasons.extend(_one_descriptor(entry))
        if entry.kind in ("file", "directory") and not _may_open_again(facts, entry):
            reasons.append(f"its user may not open descriptor {entry.fd} any more")
        if entry.kind in ("file", "directory", "null") and entry.mount_id not in known_mounts:
            reasons.append(f"descriptor {entry.fd} was opened in another mount namespace")
    memory = {entry.target: entry.inode for entry in descriptors if entry.target.startswith("/memfd:")}
    if memory and _held_elsewhere(facts.pid, set(memory), set(memory.values())):
        reasons.append("monkey")
    terminals = {entry.key for entry in descriptors if entry.kind == "tty"}
    if len(terminals) > 1:
        reasons.append("more than one terminal")
    if inner and _held_elsewhere(facts.pid, {f"pipe:[{inode}]" for inode in inner}):
        reasons.append("holds both ends of a pipe that others hold too")
    if pairs and _held_elsewhere(facts.pid, {f"socket:[{inode}]" for inode in pairs}):
        reasons.append("holds both ends of a socketpair that others hold too")
    return reasons


def _may_open_again(facts: ProcessFacts, entry: Descriptor) -> bool:
    """Whether the mode of the file would let its user open it once more, as it must be at the other node."""
    if facts.uid == 0 or entry.flags & os.O_PATH:
        return True
    try:
        status = os.stat(f"/proc/{facts.pid}/fd/{entry.fd}")
    except OSError:
        return True  # closed meanwhile
    others = 3 if status.st_gid in (facts.gid, *facts.groups) else 0
    granted = stat.S_IMODE(status.st_mode) >> (6 if status.st_uid == facts.uid else others)
    reads, writes = entry.access != os.O_WRONLY, entry.access != os.O_RDONLY
    return not (reads and not granted & 4) and not (writes and not granted & 2)


def _one_descriptor(entry: Descriptor) -> list[str]:
    if entry.kind == "socket":
        return ["socket"]
    if entry.kind == "pipe" and entry.flags & os.O_DIRECT:
        return [f"descriptor {entry.fd} is a pipe of packets"]
    if entry.kind == "fifo":
        return ["FIFO"]
    if entry.kind == "device":
        return ["direct_io"]
    if entry.kind == "anon":
        name = entry.target.removeprefix("anon_inode:")
        return [] if name in _CHECKPOINTABLE_ANON else [f"descriptor {entry.fd} is {name.strip('[]')}"]
    return []


def _mapped_elsewhere(pid: int, wanted: set[str]) -> bool:
    """Whether another process maps one of these, named by device and inode as in /proc/PID/maps."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != pid:
            with contextlib.suppress(OSError):  # gone meanwhile
                text = Path(f"/proc/{name}/maps").read_text(errors="replace")
                if any(key in text for key in wanted):
                    return True
    return False


def _held_elsewhere(pid: int, wanted: set[str], inodes: set[int] | None = None) -> bool:
    """Whether another process has a descriptor that leads to one of `wanted`, and to one of `inodes` if names are
    not enough.
    """
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == pid:
            continue
        try:
            numbers = os.listdir(f"/proc/{name}/fd")
        except OSError:
            continue  # gone meanwhile, or a kernel thread
        for number in numbers:
            path = f"/proc/{name}/fd/{number}"
            with contextlib.suppress(OSError):
                if os.readlink(path) in wanted and (inodes is None or os.stat(path).st_ino in inodes):
                    return True
    return False
