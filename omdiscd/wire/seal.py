"""Sealing and opening datagrams: authenticated encryption under keys of the cluster key.

Each start of each daemon has its own key, HKDF(cluster key, label, node, boot id), and counts its
datagrams; the count is the nonce, so no nonce is ever used twice. Opening never raises and never parses a
message: what is not authentic is named and dropped. Deriving a key is the costly step an outsider could ask
for, so it is limited per second and only keys that opened something are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from omdiscd.wire.header import HEADER_BYTES, MESSAGE_LIMIT_BYTES, Header, pack_header, unpack_header

KEYS_KEPT = 8192
"""Derived keys of other daemons kept at a time; 4096 members, restarted once each."""
DERIVATIONS_PER_S = 500
"""Keys derived per second: under 10 ms of work, and a cluster of 1000 still meets in two seconds."""

_NONCE_PREFIX = b"\0\0\0\0"
_COUNTER_LIMIT = 1 << 63


class Drop(Enum):
    """Why a datagram was dropped before anything in it was read."""

    FOREIGN = "foreign"
    """Not our form: another program, or garbage."""
    OTHER_CLUSTER = "other_cluster"
    """Our form, another cluster key or label."""
    FORGED = "forged"
    """Our form and key id, but the seal does not hold."""
    OVERLOAD = "overload"
    """Too many unknown senders in this second; dropped unexamined."""


class Opened(NamedTuple):
    """An authentic datagram: its header and the message in it, not parsed yet."""

    header: Header
    message: bytes


def key_id(cluster_key: bytes, label: str) -> int:
    """Return the 16 bits that tell this cluster's datagrams from another's without cryptography."""
    return int.from_bytes(_derive(cluster_key, b"openmosix/udp/key-id/v1", label, b"", 2), "big")


class Sealer:
    """Seals the datagrams of one start of one daemon."""

    def __init__(self, cluster_key: bytes, label: str, node: int, boot_id: bytes) -> None:
        self.node = node
        self.boot_id = boot_id
        self.counter = 0
        self._key_id = key_id(cluster_key, label)
        self._cipher = _cipher(cluster_key, label, node, boot_id)

    def seal(self, message: bytes) -> bytes:
        """Return `message` as a datagram. Raises ValueError when it is too long or no counter is left."""
        if len(message) > MESSAGE_LIMIT_BYTES or self.counter >= _COUNTER_LIMIT:
            raise ValueError(f"a message of {len(message)} bytes does not fit a datagram")
        self.counter += 1
        header = pack_header(Header(self._key_id, self.node, self.boot_id, self.counter))
        return header + self._cipher.encrypt(_nonce(self.counter), message, header)


class Opener:
    """Opens the datagrams of every daemon of the cluster."""

    def __init__(self, cluster_key: bytes, label: str) -> None:
        self._cluster_key = cluster_key
        self._label = label
        self._key_id = key_id(cluster_key, label)
        self._ciphers: OrderedDict[tuple[int, bytes], ChaCha20Poly1305] = OrderedDict()
        self._derived_in_second = 0
        self._second = -1

    def open(self, datagram: bytes, now: float) -> Opened | Drop:
        """Return the authentic datagram, or why it was dropped. Raises nothing, whatever the bytes."""
        header = unpack_header(datagram)
        if header is None:
            return Drop.FOREIGN
        if header.key_id != self._key_id:
            return Drop.OTHER_CLUSTER
        sender = (header.node, header.boot_id)
        cipher = self._ciphers.get(sender)
        is_new = cipher is None
        if cipher is None:
            if not self._may_derive(now):
                return Drop.OVERLOAD
            cipher = _cipher(self._cluster_key, self._label, header.node, header.boot_id)
        try:
            message = cipher.decrypt(_nonce(header.counter), datagram[HEADER_BYTES:], datagram[:HEADER_BYTES])
        except InvalidTag:
            return Drop.FORGED
        if is_new:
            self._ciphers[sender] = cipher
            if len(self._ciphers) > KEYS_KEPT:
                self._ciphers.popitem(last=False)
        return Opened(header, message)

    def _may_derive(self, now: float) -> bool:
        second = int(now)
        if second != self._second:
            self._second, self._derived_in_second = second, 0
        self._derived_in_second += 1
        return self._derived_in_second <= DERIVATIONS_PER_S


def _cipher(cluster_key: bytes, label: str, node: int, boot_id: bytes) -> ChaCha20Poly1305:
    sender = node.to_bytes(2, "big") + boot_id
    return ChaCha20Poly1305(_derive(cluster_key, b"openmosix/udp/v1", label, sender, 32))


def _derive(cluster_key: bytes, purpose: bytes, label: str, sender: bytes, length: int) -> bytes:
    info = b"\0".join((purpose, label.encode(), sender))
    return HKDF(hashes.SHA256(), length, None, info).derive(cluster_key)


def _nonce(counter: int) -> bytes:
    return _NONCE_PREFIX + counter.to_bytes(8, "big")
