"""Messages: round trips, bounds, and bytes that are none."""

from hypothesis import given, settings
from hypothesis import strategies as st

from omdiscd.wire.header import MESSAGE_LIMIT_BYTES
from omdiscd.wire.messages import (
    DIGEST_MAX,
    PAYLOAD_LIMIT_BYTES,
    Ack,
    Announce,
    Answer,
    Challenge,
    Conflict,
    Digest,
    DigestEntry,
    Gossip,
    Leave,
    Message,
    Ping,
    PingRequest,
    Pulse,
    Suspect,
    decode_message,
    encode_message,
)

LARGEST = 1 << 48
ANNOUNCE = Announce((0xFFFFFFFE,) * 6, 65535, 65535, "n" * 63, "v" * 24, LARGEST, LARGEST, True)
EXAMPLES: list[Message] = [
    ANNOUNCE,
    Leave(LARGEST),
    Pulse(LARGEST, LARGEST, bytes(PAYLOAD_LIMIT_BYTES)),
    Challenge(65535, b"n" * 16),
    Answer(65535, b"n" * 16, ANNOUNCE),
    Ping(65535, 65535, LARGEST),
    Ack(65535, 65535, 65535, b"b" * 16, LARGEST),
    PingRequest(65535, 65535, LARGEST),
    Suspect(65535, b"b" * 16, LARGEST),
    Gossip(65535, True, LARGEST, LARGEST, bytes(PAYLOAD_LIMIT_BYTES)),
    Conflict(65535, b"b" * 16, ANNOUNCE),
    Digest(65535, True, (DigestEntry(65535, b"b" * 16, 0xFFFFFFFE, 65535, LARGEST, LARGEST),) * DIGEST_MAX),
]


def test_every_message_survives_the_way_there() -> None:
    for message in EXAMPLES:
        assert decode_message(encode_message(message)) == message


def test_the_largest_of_every_message_fits_a_datagram() -> None:
    for message in EXAMPLES:
        assert len(encode_message(message)) <= MESSAGE_LIMIT_BYTES, type(message).__name__


def test_values_out_of_bounds_are_no_message() -> None:
    bad: list[Message] = [
        Leave(-1),
        Ping(0, 1, 1),
        Ping(70000, 1, 1),
        Challenge(1, b"short"),
        Pulse(1, 1, bytes(PAYLOAD_LIMIT_BYTES + 1)),
        Announce((), 1, 1, "", "", 1, 1),
        Announce((1,) * 7, 1, 1, "", "", 1, 1),
        Announce((1,), 0, 1, "", "", 1, 1),
        Announce((1,), 1, 1, "esc\x1b[31m", "", 1, 1),
        Announce((1,), 1, 1, "", "new\nline", 1, 1),
    ]
    for message in bad:
        assert decode_message(encode_message(message)) is None, message


def test_deep_nesting_is_no_message() -> None:
    assert decode_message(b"\x91" * 1300) is None


@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.binary(max_size=200), st.sampled_from(EXAMPLES), st.integers(0, 1300), st.integers(0, 255))
def test_no_bytes_make_decoding_raise(garbage: bytes, example: Message, place: int, value: int) -> None:
    decode_message(garbage)
    data = bytearray(encode_message(example))
    data[place % len(data)] = value
    decode_message(bytes(data))
