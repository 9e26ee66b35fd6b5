"""What a home shim and a guest shim say to each other, as typed messages.

One tagged msgpack map in one length-prefixed frame (`omprotocol.frames`' layout).  The guest's node is trusted
with its guest and with nothing else: every field that reaches the kernel at home is checked where it is used.
Pure: bytes to structs and back.
"""

from __future__ import annotations

from typing import Any

import msgspec

from omprotocol.errors import MosixError

FRAME_LIMIT_BYTES = 16 << 20
"""Longest frame between shims: the small CRIU images of a process with many mappings travel in one."""

_LENGTH_BYTES = 4


class BadMessage(MosixError):
    """The other shim sent bytes that are no message of this protocol."""

    def __init__(self, why: str) -> None:
        super().__init__("bad-message", f"The other shim sent an unreadable message: {why}.")


class Message(msgspec.Struct, tag=True, tag_field="t"):
    """Base of all messages; the tag is the class name."""


class Hello(Message):
    """First message of every connection: which migration, and the secret of the offer."""

    migration_id: str
    token: str


class RelaySpec(msgspec.Struct):
    """One description that stays at home.  `key` is CRIU's name for it in the images now travelling.

    `inward`: bytes flow from home to the body; `outward`: from the body to home.  A terminal has both.
    """

    relay: int
    key: str
    kind: str
    inward: bool
    outward: bool


class TerminalState(msgspec.Struct):
    """Modes and size of a terminal: `tcgetattr` as Python gives it, flattened, and rows, columns, pixels."""

    modes: list[int]
    speeds: list[int]
    characters: list[bytes]
    size: list[int]


class Prepare(Message):
    """Restore these images up to the gate."""

    jail: dict[str, Any]
    images: dict[str, bytes]
    relays: list[RelaySpec]
    tracked: dict[str, int]
    terminal: TerminalState | None = None
    foreground: bool = False
    stopped: bool = False


class Go(Message):
    """The journal has decided: let the body run, under leases of `lease_s` and held for `grace_s` after one."""

    epoch: int
    lease_s: float
    grace_s: float


class Refuse(Message):
    """The move is called off: kill the copy, it never ran."""


class Finish(Message):
    """The body has another place now (or its original was killed): kill it without reporting its end."""


class Signal(Message):
    """A signal that reached the original at home; `info` is the kernel's 128-byte siginfo."""

    signo: int
    info: bytes


class Data(Message):
    """Bytes of a relay, either way."""

    relay: int
    data: bytes


class Taken(Message):
    """So many bytes of a relay were written to their destination: the sender may read on."""

    relay: int
    count: int


class EndOfInput(Message):
    """The source of a relay is at its end."""

    relay: int


class Broken(Message):
    """The destination of a relay has no reader any more."""

    relay: int


class TerminalSet(Message):
    """The home terminal changed: its size, or whether the body's group is in the foreground."""

    size: list[int] | None = None
    foreground: bool | None = None


class ModesChanged(Message):
    """The body changed the modes of its terminal."""

    terminal: TerminalState


class LeaseAsked(Message):
    """The guest shim asks to go on; home answers with the same number.  Number 0 is a sign of life, unanswered."""

    number: int


class LeaseGranted(Message):
    """Home still wants this epoch to run."""

    number: int


class AtGate(Message):
    """The copy is complete and has not executed one instruction."""


class Running(Message):
    """The copy runs."""


class Failed(Message):
    """What was asked for could not be done; the body is as it was before."""

    why: str


class BodyEnded(Message):
    """The body's life is over: `how` is exit, signal or core.  Offsets of its files by descriptor key.

    `orphans`: descendants that live on at the guest's node, whose relays and files stay until the last has ended.
    """

    how: str
    status: int
    offsets: dict[str, int]
    orphans: int = 0
    user_s: float = 0.0
    system_s: float = 0.0


class BodyStopped(Message):
    """The body was stopped by this signal."""

    signo: int


class BodyContinued(Message):
    """The body goes on."""


class Usage(Message):
    """What the body uses on its host: seconds of CPU so far, resident bytes, seconds it waited for a CPU."""

    cpu_s: float
    rss_bytes: int
    run_delay_s: float = 0.0


class Capture(Message):
    """Stop the body and send all of it home, for refilling the original in place."""


class Captured(Message):
    """The body's state (the deputy room's own encoding), unread input by relay, offsets by descriptor, and what
    the body's descriptors show for each relay.  `companions`: its child processes; `filled_pipes`: links of pipes
    that hold bytes.
    """

    state: bytes
    unread: dict[int, bytes]
    offsets: dict[str, int]
    links: dict[int, str]
    companions: int = 0
    filled_pipes: list[str] = msgspec.field(default_factory=list)


class WantPages(Message):
    """The captured body's memory, please."""


class Pages(Message):
    """Part of the body's memory."""

    address: int
    data: bytes


class PagesEnd(Message):
    """All of the memory was sent."""


class Resume(Message):
    """Coming home (or going on) failed: let the body run on where it is."""


class SendOn(Message):
    """Freeze and dump the body, its pages to the named place, its images in the answer."""

    address: str
    port: int
    node: int
    migration_id: str
    token: str


class Dumped(Message):
    """The body is dumped and frozen.  `keys`: CRIU's names of the relays in the new images; `offsets`: of every
    open descriptor; `pids`: its own PID and its descendants'."""

    images: dict[str, bytes]
    keys: dict[int, str]
    unread: dict[int, bytes]
    offsets: dict[str, int]
    pids: list[int]


AnyMessage = (
    Hello
    | Prepare
    | Go
    | Refuse
    | Finish
    | Signal
    | Data
    | Taken
    | EndOfInput
    | Broken
    | TerminalSet
    | ModesChanged
    | LeaseAsked
    | LeaseGranted
    | AtGate
    | Running
    | Failed
    | BodyEnded
    | BodyStopped
    | BodyContinued
    | Usage
    | Capture
    | Captured
    | WantPages
    | Pages
    | PagesEnd
    | Resume
    | SendOn
    | Dumped
)

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def pack(message: AnyMessage) -> bytes:
    """One frame.  Raises BadMessage when it would be longer than FRAME_LIMIT_BYTES."""
    body = _encode(message)
    if len(body) > FRAME_LIMIT_BYTES:
        raise BadMessage(f"{type(message).__name__} of {len(body)} bytes is longer than {FRAME_LIMIT_BYTES}")
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def unpack(body: bytes | memoryview) -> AnyMessage:
    """The message in a frame's body.  Raises BadMessage."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadMessage(str(error)) from None


def frame_length(head: bytes) -> int:
    """Length of the body announced by the four bytes `head`.  Raises BadMessage beyond the limit."""
    length = int.from_bytes(head, "big")
    if length > FRAME_LIMIT_BYTES:
        raise BadMessage(f"{length} bytes were announced, {FRAME_LIMIT_BYTES} are allowed")
    return length
