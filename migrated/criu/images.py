"""Reads, and in one place changes, CRIU's images.

A walker for the few fields that migration must know: the tree of tasks, the signals that were pending, the
session a terminal belonged to. Images come from another node, so every length is checked; ValueError says
which file is broken. Field numbers are those of criu 4.2.1, images/{pstree,core,siginfo,tty}.proto.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

_HEADER_BYTES = 8  # the common magic and the magic of the kind
_ENTRY_LIMIT_BYTES = 16 << 20
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIGINFO_BYTES = 128

_CORE_TASK, _CORE_THREAD = 3, 5
_TASK_SHARED_SIGNALS, _THREAD_SIGNALS = 10, 9
_TTY_SID, _TTY_PGRP = 6, 7


class Task(msgspec.Struct, frozen=True):
    """One process of the dumped tree, with the numbers it had; `threads` holds all its thread ids."""

    pid: int
    ppid: int  # 0 for the root of the tree
    pgid: int
    sid: int
    threads: tuple[int, ...]


def tasks(images_dir: str) -> list[Task]:
    """The dumped processes, the root first."""
    found = []
    for entry in read_entries(os.path.join(images_dir, "pstree.img")):
        numbers: dict[int, int] = {}
        threads: list[int] = []
        for number, kind, value in fields(entry):
            if number == 5:
                threads += _repeated(kind, value)
            elif isinstance(value, int):
                numbers[number] = value
        pid = numbers.get(1, 0)
        found.append(Task(pid, numbers.get(2, 0), numbers.get(3, 0), numbers.get(4, 0), tuple(threads) or (pid,)))
    return found


def taken_ids(images_dir: str) -> set[int]:
    """Every number of the PID space that the images use."""
    taken: set[int] = set()
    for task in tasks(images_dir):
        taken.update((task.pid, task.ppid, task.pgid, task.sid, *task.threads))
    return taken - {0}


def pending_signals(images_dir: str, pid: int) -> list[bytes]:
    """The siginfo (128 bytes each) of what was pending for process `pid`: first what was sent to the
    process, in order, then what was sent to its main thread alone. The restored process gets these itself.
    """
    shared: list[bytes] = []
    private: list[bytes] = []
    for entry in read_entries(os.path.join(images_dir, f"core-{pid}.img")):
        for number, _, value in fields(entry):
            if number == _CORE_TASK and isinstance(value, bytes):
                shared += _signals(value, _TASK_SHARED_SIGNALS)
            elif number == _CORE_THREAD and isinstance(value, bytes):
                private += _signals(value, _THREAD_SIGNALS)
    return shared + private


def signal_number(siginfo: bytes) -> int:
    """si_signo of a siginfo."""
    return int(struct.unpack_from("=i", siginfo)[0])


def sender_uid(siginfo: bytes) -> int:
    """The user who sent a plain kill, as its siginfo tells; 0 for the kernel's own."""
    code, uid = struct.unpack_from("=i8xI", siginfo, 8)
    return int(uid) if code == 0 else 0


def forget_terminal_session(images_dir: str) -> None:
    """Make the terminals of the images belong to no session. CRIU refuses to restore an external terminal
    that was the controlling one of a session whose leader is not in the tree; the jail's own leader has it
    instead.
    """
    path = os.path.join(images_dir, "tty-info.img")
    if not os.path.exists(path):
        return
    with open(path, "rb") as file:
        header = file.read(_HEADER_BYTES)
    patched = [set_varints(entry, {_TTY_SID: 0, _TTY_PGRP: 0}) for entry in read_entries(path)]
    with open(path, "wb") as file:
        file.write(header + b"".join(struct.pack("<I", len(entry)) + entry for entry in patched))


def rewrite_core(path: Path, change: Callable[[bytes], bytes]) -> bool:
    """Replace the one message of a core image by what `change` makes of it; whether that was anything else."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<I", raw, _HEADER_BYTES)
    start = _HEADER_BYTES + 4
    core = raw[start : start + length]
    changed = change(core)
    if changed == core:
        return False
    temporary = path.with_suffix(".new")
    temporary.write_bytes(raw[:_HEADER_BYTES] + struct.pack("<I", len(changed)) + changed + raw[start + length :])
    os.replace(temporary, path)
    return True


def read_entries(path: str) -> list[bytes]:
    """The protobuf messages of an image file. ValueError when it is cut short."""
    with open(path, "rb") as file:
        raw = file.read()
    entries = []
    at = _HEADER_BYTES
    while at < len(raw):
        if at + 4 > len(raw):
            raise ValueError(f"{path} is cut short")
        (length,) = struct.unpack_from("<I", raw, at)
        at += 4
        if length > _ENTRY_LIMIT_BYTES or at + length > len(raw):
            raise ValueError(f"{path} is cut short")
        entries.append(raw[at : at + length])
        at += length
    return entries


def fields(message: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(field number, wire type, value) of each field; a varint is an int, everything else bytes."""
    at = 0
    while at < len(message):
        key, at = read_varint(message, at)
        value, at = _value(message, at, key & 7)
        yield key >> 3, key & 7, value


def set_varints(message: bytes, values: Mapping[int, int]) -> bytes:
    """The message with these varint fields changed where they occur; everything else byte for byte the
    same.
    """
    out = bytearray()
    at = 0
    while at < len(message):
        start = at
        key, after_key = read_varint(message, at)
        _, at = _value(message, after_key, key & 7)
        if key & 7 == _VARINT and key >> 3 in values:
            out += message[start:after_key] + write_varint(values[key >> 3])
        else:
            out += message[start:at]
    return bytes(out)


def replace_bytes(message: bytes, number: int, change: Callable[[bytes], bytes]) -> bytes:
    """The message with the content of its embedded fields `number` changed; everything else byte for byte the same."""
    out = bytearray()
    at = 0
    while at < len(message):
        start = at
        key, after_key = read_varint(message, at)
        value, at = _value(message, after_key, key & 7)
        if key >> 3 == number and isinstance(value, bytes) and key & 7 == _BYTES:
            content = change(value)
            out += message[start:after_key] + write_varint(len(content)) + content
        else:
            out += message[start:at]
    return bytes(out)


def read_varint(raw: bytes, at: int) -> tuple[int, int]:
    """(value, position behind it). ValueError when it does not end within 10 bytes."""
    value = 0
    for index in range(10):
        if at + index >= len(raw):
            break
        byte = raw[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & (1 << 64) - 1, at + index + 1
    raise ValueError("a number in an image is cut short")


def write_varint(value: int) -> bytes:
    """The varint of 0 <= value < 2**64."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _value(raw: bytes, at: int, kind: int) -> tuple[int | bytes, int]:
    if kind == _VARINT:
        return read_varint(raw, at)
    if kind == _BYTES:
        length, at = read_varint(raw, at)
    elif kind in (_FIXED32, _FIXED64):
        length = 4 if kind == _FIXED32 else 8
    else:
        raise ValueError(f"an image holds a field of unknown kind {kind}")
    if at + length > len(raw):
        raise ValueError("a field in an image is cut short")
    return raw[at : at + length], at + length


def _repeated(kind: int, value: int | bytes) -> list[int]:
    if isinstance(value, int):
        return [value]
    if kind != _BYTES:
        raise ValueError("a list in an image has an unknown form")
    numbers, at = [], 0
    while at < len(value):
        number, at = read_varint(value, at)
        numbers.append(number)
    return numbers


def _signals(message: bytes, queue_field: int) -> list[bytes]:
    found = []
    for number, _, queue in fields(message):
        if number != queue_field or not isinstance(queue, bytes):
            continue
        for _, _, entry in fields(queue):
            if isinstance(entry, bytes):
                found += [info for _, _, info in fields(entry) if isinstance(info, bytes)]
    return [info for info in found if len(info) == _SIGINFO_BYTES]
