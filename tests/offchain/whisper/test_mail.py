import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain import rlp
from offchain.hashing import keccak256
from offchain.keys import PrivateKey, PublicKey
from offchain.whisper import cipher
from offchain.whisper.bloom import FULL_BLOOM
from offchain.whisper.envelope import Envelope
from offchain.whisper.mail import (
    Completion,
    Failure,
    HistoryRequest,
    Layout,
    MailError,
    SyncRequest,
    SyncResponse,
    decode_completion,
    encode_mail,
    open_request,
    request_id,
    seal_request,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "mail_requests.json").read_text())
KEYS = VECTORS["keys"]
PASSWORDS = {name: bytes.fromhex(key) for name, key in KEYS["passwords"].items()}
ENDPOINT = PrivateKey(bytes.fromhex(KEYS["recording_endpoint_private_key"]))
NOW = 1_795_222_900
SERVER, CLIENT, STRANGER = (PrivateKey(bytes((n,)) * 32) for n in (1, 2, 3))
RANGE_REQUEST = HistoryRequest(NOW - 100, NOW, topics=(b"abcd",), limit=10)


def recorded(*codes):
    """Every message of those codes, with the name of its exchange."""
    return [
        pytest.param(message, id=f"{exchange['name']}#{at}")
        for exchange in VECTORS["exchanges"]
        for at, message in enumerate(exchange["messages"])
        if message["code"] in codes
    ]


def is_whole(message):
    """Whether it is a request in an envelope that was not made too short on purpose."""
    return message["kind"] == "envelope request" and len(bytes.fromhex(message["payload"])) not in (7, 40)


def packet_of(message):
    return bytes.fromhex(message["packet"])


def written(message):
    """The request as the record describes it."""
    decoded = message["decoded"]
    if decoded["layout"] == "legacy":
        return HistoryRequest(
            decoded["lower"],
            decoded["upper"],
            bytes.fromhex(decoded["bloom"]),
            (),
            decoded.get("limit", 0),
            bytes.fromhex(decoded.get("cursor", "")),
            batch=False,
        )
    return HistoryRequest(
        decoded["lower"] if "lower" in decoded else decoded["from"],
        decoded["upper"] if "upper" in decoded else decoded["to"],
        bytes.fromhex(decoded["bloom"]) or None,
        (),
        decoded["limit"],
        bytes.fromhex(decoded["cursor"]),
        decoded.get("batch", True),
    )


@pytest.mark.parametrize("message", recorded(126))
def test_reads_every_recorded_request(message):
    packet = packet_of(message)
    arguments = {"now": NOW, "allow_plain": True}
    if message["kind"] == "plain request":
        opened = open_request(packet, SERVER, CLIENT.public, **arguments)
        assert opened.request == written(message)
        assert opened.request.layout is Layout.PLAIN
        assert opened.request.encode_plain(opened.id) == packet
        assert opened.id.hex() == message["request_id"] == request_id(packet).hex()
        return
    peer = PublicKey.from_bytes(bytes.fromhex(message["signer_public_key"])) if message["signed"] else CLIENT.public
    arguments |= {"now": message["expiry"], "password_key": PASSWORDS.get(message.get("password"))}
    if message["payload"] and len(message["payload"]) // 2 in (7, 40):
        with pytest.raises(MailError, match=r"expected a list, or 8, 72, 76 or 112 bytes"):
            open_request(packet, ENDPOINT, peer, **arguments)
        return
    if not message["signed"]:
        with pytest.raises(MailError, match="not signed"):
            open_request(packet, ENDPOINT, peer, **arguments)
        return

    opened = open_request(packet, ENDPOINT, peer, **arguments)

    assert opened.request == written(message)
    assert opened.id.hex() == message["request_id"] == request_id(packet).hex()


@pytest.mark.parametrize("message", [each for each in recorded(126) if is_whole(each.values[0])])
def test_writes_every_recorded_request_as_it_was(message):
    payload = bytes.fromhex(message["payload"])

    request = HistoryRequest.decode(payload)

    assert request == written(message)
    assert request.encode() == payload
    assert replace(written(message), layout=request.layout).encode() == payload


@pytest.mark.parametrize("message", recorded(125))
def test_reads_and_writes_every_recorded_end_of_an_answer(message):
    answer = decode_completion(packet_of(message))

    if message["kind"] == "error":
        assert (
            answer == Failure(bytes.fromhex(message["request_id"]), message["error"]) or not message["error"].isascii()
        )
        assert isinstance(answer, Failure)
    else:
        fields = (message["request_id"], message["last_envelope_hash"], message["cursor"])
        assert answer == Completion(*map(bytes.fromhex, fields))
    if isinstance(answer, Completion) or answer.text.isascii():
        assert answer.encode() == packet_of(message)


@pytest.mark.parametrize("message", recorded(127))
def test_reads_all_recorded_mail_and_writes_the_lists(message):
    envelopes = Envelope.decode_many(packet_of(message))

    assert [each.hash.hex() for each in envelopes] == message["envelope_hashes"]
    if message["kind"] == "envelope list":
        assert encode_mail([each.raw for each in envelopes]) == packet_of(message)
    else:
        assert envelopes[0].raw == packet_of(message)


@pytest.mark.parametrize("message", recorded(123))
def test_reads_and_writes_every_recorded_sync_request(message):
    decoded = message["decoded"]

    request = SyncRequest.decode(packet_of(message))

    assert request == SyncRequest(
        decoded["lower"],
        decoded["upper"],
        bytes.fromhex(decoded["bloom"]),
        decoded["limit"],
        bytes.fromhex(decoded["cursor"]),
    )
    assert request.encode() == packet_of(message)


@pytest.mark.parametrize("message", recorded(124))
def test_reads_and_writes_every_recorded_sync_response(message):
    decoded = message["decoded"]

    response = SyncResponse.decode(packet_of(message))

    assert [keccak256(each).hex() for each in response.envelopes] == decoded["envelope_hashes"]
    assert response.cursor.hex() == decoded["cursor"]
    assert (response.final, response.error) == (decoded["final"], decoded["error"])
    assert response.encode() == packet_of(message)


times = st.integers(0, 2**32 - 1)
blooms = st.binary(min_size=64, max_size=64)
cursors = st.one_of(st.just(b""), st.binary(min_size=36, max_size=36))
topic_lists = st.lists(st.binary(min_size=4, max_size=4), max_size=6).map(tuple)


@st.composite
def requests(draw, layout):
    with_topics = layout in (Layout.TOPICS, Layout.SPEC)
    binary = layout.name.startswith("BINARY")
    return HistoryRequest(
        draw(times.filter(lambda time: not binary or time < 0xC0000000)),
        draw(times),
        draw(blooms if binary else st.one_of(st.none(), blooms)) if layout is not Layout.BINARY_8 else FULL_BLOOM,
        draw(topic_lists) if with_topics else (),
        draw(times) if layout not in (Layout.BINARY_8, Layout.BINARY_72) else 0,
        draw(st.binary(min_size=36, max_size=36) if binary else cursors)
        if layout not in (Layout.BINARY_8, Layout.BINARY_72, Layout.BINARY_76)
        else b"",
        draw(st.booleans()) if layout in (Layout.RLP, Layout.TOPICS, Layout.SEALED) else not binary,
        layout,
    )


@given(request=st.sampled_from([each for each in Layout if each is not Layout.PLAIN]).flatmap(requests))
def test_reads_what_it_wrote_in_every_layout(request):
    decoded = HistoryRequest.decode(request.encode())

    assert decoded == request
    assert decoded.layout is request.layout


@given(request=requests(Layout.PLAIN), number=st.binary(min_size=32, max_size=32))
def test_reads_the_plain_requests_it_wrote(request, number):
    assert HistoryRequest.decode_plain(request.encode_plain(number)) == (number, request)


rlp_noise = st.recursive(st.binary(max_size=70), lambda inner: st.lists(inner, max_size=8)).map(rlp.encode)
almost_requests = st.lists(
    st.one_of(st.integers(0, 2**70), st.binary(max_size=5), blooms, cursors, topic_lists), min_size=4, max_size=8
).map(rlp.encode)
noise = st.one_of(st.binary(max_size=200), rlp_noise, almost_requests)


@pytest.mark.parametrize(
    "decode",
    [
        HistoryRequest.decode,
        HistoryRequest.decode_plain,
        decode_completion,
        SyncRequest.decode,
        SyncResponse.decode,
        lambda packet: open_request(packet, SERVER, CLIENT.public, NOW, allow_plain=True),
    ],
    ids=("request", "plain", "completion", "sync request", "sync response", "open"),
)
@given(data=noise)
def test_noise_raises_the_one_error(decode, data):
    try:
        decode(data)
    except MailError:
        pass


@given(data=noise)
def test_every_packet_has_an_id_to_answer_to(data):
    assert len(request_id(data)) == 32


@given(
    kind=st.sampled_from((Completion, Failure)), number=st.binary(min_size=32, max_size=32), text=st.text(max_size=50)
)
def test_reads_the_completions_it_wrote(kind, number, text):
    answer = Completion(number, keccak256(number), bytes(36)) if kind is Completion else Failure(number, text)

    assert decode_completion(answer.encode()) == answer


def test_a_failure_of_a_foreign_tongue_is_read_all_the_same():
    answer = decode_completion(rlp.encode(b"ERROR=" + bytes(32) + b"caf\xe9"))

    assert answer == Failure(bytes(32), "caf\ufffd")


def test_zeros_stand_for_a_minute_from_now_and_two_thousand():
    request = HistoryRequest(5, 0, FULL_BLOOM).resolved(NOW + 0.7)

    assert (request.upper, request.limit) == (NOW + 60, 2000)


def test_a_limit_beyond_all_measure_is_cut():
    assert HistoryRequest(0, 9, FULL_BLOOM, limit=2**32 - 1).resolved(NOW, max_limit=500).limit == 500


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (HistoryRequest(10, 9, FULL_BLOOM), "from 10 is after to 9"),
        (HistoryRequest(NOW + 61, 0, FULL_BLOOM), f"from {NOW + 61} is after to {NOW + 60}"),
        (HistoryRequest(1, 2), "neither topics nor a bloom filter"),
    ],
)
def test_what_cannot_be_answered_says_why(request_, text):
    with pytest.raises(MailError, match=text):
        request_.resolved(NOW)


@pytest.mark.parametrize(
    "request_",
    [
        HistoryRequest(-1, 5),
        HistoryRequest(1, 2**32),
        HistoryRequest(1, 2, limit=2**32),
        HistoryRequest(1, 2, bloom=b"short"),
        HistoryRequest(1, 2, cursor=b"short"),
        HistoryRequest(1, 2, topics=(b"abc",)),
        HistoryRequest(1, 2, topics=(b"abcd",) * 513),
        HistoryRequest(1, 2, topics=(b"abcd",), layout=Layout.RLP),
        HistoryRequest(1, 2, layout=Layout.PLAIN),
    ],
)
def test_what_does_not_fit_is_not_written(request_):
    with pytest.raises(ValueError):
        request_.encode()


def test_too_many_topics_are_refused():
    with pytest.raises(MailError, match="513 topics, expected at most 512"):
        HistoryRequest.decode(rlp.encode([1, 2, b"", [b"abcd"] * 513, 0, b"", 1]))


def test_a_sealed_request_opens_at_the_server_for_its_sender():
    sealed = seal_request(RANGE_REQUEST, SERVER.public, CLIENT, NOW)

    opened = open_request(sealed.packet, SERVER, CLIENT.public, NOW + 1)

    assert opened.request == RANGE_REQUEST
    assert opened.id == sealed.id == keccak256(sealed.packet) == request_id(sealed.packet)
    assert opened.valid_until == NOW + 40
    assert b"abcd" not in sealed.packet


def test_a_request_has_the_work_that_old_servers_ask_for():
    assert Envelope.decode(seal_request(RANGE_REQUEST, SERVER.public, CLIENT, NOW).packet).pow() >= 0.002


def test_a_password_counts_only_when_switched_on():
    key = PASSWORDS["status-offline-inbox"]
    sealed = seal_request(RANGE_REQUEST, key, CLIENT, NOW)

    assert open_request(sealed.packet, SERVER, CLIENT.public, NOW, password_key=key).request == RANGE_REQUEST
    with pytest.raises(MailError, match="not encrypted to this server's key"):
        open_request(sealed.packet, SERVER, CLIENT.public, NOW)
    with pytest.raises(MailError, match="neither to this server's key nor with the password"):
        open_request(sealed.packet, SERVER, CLIENT.public, NOW, password_key=PASSWORDS["wwww"])


def test_a_plain_request_counts_only_when_switched_on():
    packet = HistoryRequest(1, 2, FULL_BLOOM).encode_plain(bytes(32))

    with pytest.raises(MailError, match="must be encrypted"):
        open_request(packet, SERVER, CLIENT.public, NOW)


def test_a_request_for_another_server_is_refused():
    sealed = seal_request(RANGE_REQUEST, STRANGER.public, CLIENT, NOW)

    with pytest.raises(MailError, match="not encrypted to this server's key"):
        open_request(sealed.packet, SERVER, CLIENT.public, NOW)


def test_a_request_signed_by_another_than_the_peer_is_refused():
    sealed = seal_request(RANGE_REQUEST, SERVER.public, CLIENT, NOW)

    with pytest.raises(MailError, match="signed by another key than the connection's"):
        open_request(sealed.packet, SERVER, STRANGER.public, NOW)


def test_an_unsigned_request_is_refused():
    data = cipher.seal_asym(SERVER.public, RANGE_REQUEST.encode())
    packet = Envelope.create(NOW + 50, 50, bytes(4), data).raw

    with pytest.raises(MailError, match="not signed"):
        open_request(packet, SERVER, CLIENT.public, NOW)


@pytest.mark.parametrize(
    ("later", "text"), [(41, "very old envelope"), (-41, "sent in the future"), (-1000, "sent in the future")]
)
def test_a_request_counts_only_in_its_time(later, text):
    sealed = seal_request(RANGE_REQUEST, SERVER.public, CLIENT, NOW)

    with pytest.raises(MailError, match=text):
        open_request(sealed.packet, SERVER, CLIENT.public, NOW + later)


@pytest.mark.parametrize("later", [40, 25, -25, -40])
def test_clocks_may_differ_by_forty_seconds(later):
    sealed = seal_request(RANGE_REQUEST, SERVER.public, CLIENT, NOW)

    assert open_request(sealed.packet, SERVER, CLIENT.public, NOW + later).request == RANGE_REQUEST


def test_a_request_may_not_be_valid_for_long():
    data = cipher.seal_asym(SERVER.public, RANGE_REQUEST.encode(), sign_with=CLIENT)
    packet = Envelope.create(NOW + 301, 301, bytes(4), data).raw

    with pytest.raises(MailError, match="ttl is 301, expected at most 300"):
        open_request(packet, SERVER, CLIENT.public, NOW)


def test_an_enormous_request_is_not_even_looked_at():
    with pytest.raises(MailError, match="expected at most 65536"):
        open_request(bytes(70_000), SERVER, CLIENT.public, NOW)


@pytest.mark.parametrize(
    ("packet", "text"),
    [
        (SyncRequest(1, 2, limit=0).encode(), "limit is 0, expected 1 to 1000"),
        (SyncRequest(1, 2, limit=1001).encode(), "limit is 1001"),
        (SyncRequest(3, 2).encode(), "from 3 is after to 2"),
        (SyncRequest(1, 2, bloom=b"").encode(), "no bloom filter"),
    ],
)
def test_a_sync_request_that_makes_no_sense_is_refused(packet, text):
    with pytest.raises(MailError, match=text):
        SyncRequest.decode(packet)
