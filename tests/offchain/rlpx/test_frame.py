import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.keys import PrivateKey, PublicKey
from offchain.rlpx import auth
from offchain.rlpx.frame import HEADER_SIZE, MAX_FRAME, FrameError, FrameReader, FrameWriter
from offchain.rlpx.p2p import compress, decompress, encode_id, split_id
from tests.support.rlpx import frame_pair, secrets_pair, vectors

SESSIONS = vectors("rlpx")["sessions"]


def recorded_secrets(session):
    ours, remote = session["endpoint"], session["remote"]
    first, second = (bytes.fromhex(event["wire"]) for event in session["events"][:2])
    return auth.derive(
        initiator=session["role_of_endpoint"] == "initiator",
        ephemeral=PrivateKey(bytes.fromhex(ours["ephemeral_key"])),
        remote_ephemeral=PublicKey.from_bytes(bytes.fromhex(remote["ephemeral_public_key"])),
        nonce=bytes.fromhex(ours["nonce"]),
        remote_nonce=bytes.fromhex(remote["nonce"]),
        auth=first,
        ack=second,
    )


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session["role_of_endpoint"])
def test_writes_and_reads_the_recorded_sessions_byte_for_byte(session):
    secrets = recorded_secrets(session)
    writer, reader = FrameWriter(secrets), FrameReader(secrets)
    seen = {"sent": 0, "received": 0}

    for event in session["events"][2:]:
        body = bytes.fromhex(event["compressed"] if event["snappy"] else event["payload"])
        message = encode_id(event["code"]) + body
        if event["direction"] == "sent":
            assert writer.encode(message).hex() == event["wire"], event["name"]
        else:
            assert reader.receive(bytes.fromhex(event["wire"])) == [message], event["name"]
        seen[event["direction"]] += 1

    assert min(seen.values()) >= 5


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session["role_of_endpoint"])
def test_the_recorded_bodies_decompress_to_their_payloads(session):
    for event in session["events"][2:]:
        if event["snappy"]:
            assert decompress(bytes.fromhex(event["compressed"])).hex() == event["payload"]
            assert decompress(compress(bytes.fromhex(event["payload"]))).hex() == event["payload"]


@given(st.lists(st.binary(max_size=100), max_size=8), st.randoms(use_true_random=False))
def test_messages_arrive_however_the_wire_cuts_them(sent, rng):
    writer, reader = frame_pair()
    wire = writer.encode_many(sent)
    received = []

    while wire:
        size = rng.randrange(1, 80)
        received += reader.receive(wire[:size])
        wire = wire[size:]

    assert received == sent
    assert reader.buffered == 0


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=6))
def test_frames_made_at_once_are_those_made_one_by_one(sent):
    at_once, _ = frame_pair()
    one_by_one, _ = frame_pair()

    assert at_once.encode_many(sent) == b"".join(one_by_one.encode(each) for each in sent)


def test_no_messages_are_no_bytes():
    writer, reader = frame_pair()

    assert writer.encode_many([]) == b""
    assert reader.receive(writer.encode(b"after")) == [b"after"]


def test_a_limit_leaves_the_rest_for_the_next_call():
    writer, reader = frame_pair()
    wire = writer.encode_many([b"one", b"two", b"three"])

    assert reader.receive(wire, limit=1) == [b"one"]
    assert reader.receive(b"", limit=1) == [b"two"]
    assert reader.receive(b"") == [b"three"]
    assert reader.receive(b"") == []


def test_every_changed_bit_is_noticed():
    for position in range(HEADER_SIZE + 16 + 16):
        writer, reader = frame_pair()
        wire = bytearray(writer.encode(b"message"))
        wire[position] ^= 1
        with pytest.raises(FrameError, match="MAC"):
            reader.receive(bytes(wire))


def test_a_repeated_frame_is_noticed():
    writer, reader = frame_pair()
    wire = writer.encode(b"message")
    assert reader.receive(wire) == [b"message"]

    with pytest.raises(FrameError, match="MAC"):
        reader.receive(wire)


def test_a_left_out_frame_is_noticed():
    writer, reader = frame_pair()
    writer.encode(b"one")

    with pytest.raises(FrameError, match="MAC"):
        reader.receive(writer.encode(b"two"))


def test_a_frame_that_is_too_large_is_refused_by_its_header():
    writer, reader = frame_pair(max_frame=1000)
    wire = writer.encode(bytes(1001))

    with pytest.raises(FrameError, match="1001 bytes, expected at most 1000"):
        reader.receive(wire[:HEADER_SIZE])
    assert reader.buffered == 0


def test_the_largest_frame_arrives():
    writer, reader = frame_pair(max_frame=MAX_FRAME)
    message = bytes(MAX_FRAME)

    assert reader.receive(writer.encode(message)) == [message]


def test_a_larger_message_cannot_be_written():
    writer, _ = frame_pair()

    with pytest.raises(ValueError, match="does not fit"):
        writer.encode(bytes(MAX_FRAME + 1))


def test_a_large_frame_in_tiny_pieces_takes_time_in_proportion_to_its_size():
    """Each piece is copied a bounded number of times: counted, since timings are no test."""
    writer, reader = frame_pair(max_frame=MAX_FRAME)
    wire = writer.encode(random.Random(1).randbytes(200_000))
    conversions = 0

    class Counting(bytearray):
        def __bytes__(self):
            nonlocal conversions
            conversions += 1
            return bytes(memoryview(self))

    reader._buffer = Counting()
    for at in range(0, len(wire), 7):
        reader.receive(wire[at : at + 7])

    assert reader.buffered == 0
    assert conversions == 2  # the header, the body


@given(st.binary(max_size=300))
def test_noise_raises_the_one_error_or_waits_for_more(noise):
    _, reader = frame_pair()

    if len(noise) < HEADER_SIZE:
        assert reader.receive(noise) == []
    else:
        with pytest.raises(FrameError):
            reader.receive(noise)


def test_the_secrets_are_not_changed_by_reader_and_writer():
    ours, _ = secrets_pair()
    before = ours.egress.digest(), ours.ingress.digest()

    FrameWriter(ours).encode(b"message")

    assert (ours.egress.digest(), ours.ingress.digest()) == before


@pytest.mark.parametrize("message", [b"", b"\x80", encode_id(0x8E) + b"x"])
def test_short_messages_are_padded_and_unpadded(message):
    writer, reader = frame_pair()

    (received,) = reader.receive(writer.encode(message))

    assert received == message
    if message:
        split_id(received)
