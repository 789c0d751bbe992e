import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain import rlp
from offchain.keys import PrivateKey
from offchain.whisper import cipher
from offchain.whisper.mail import HistoryRequest, Layout, MailError, open_request, seal_request
from offchain.whisper.sealed import AnswerOpener, AnswerSealer

SERVER, CLIENT, STRANGER = (PrivateKey(bytes((n,)) * 32) for n in (1, 2, 3))
ID, OTHER_ID = b"i" * 32, b"o" * 32
NOW = 1_795_222_900


def sealer(server=SERVER, client=CLIENT, request_id=ID):
    return AnswerSealer(server, client.public, request_id)


def opener(client=CLIENT, server=SERVER, request_id=ID):
    return AnswerOpener(client, server.public, request_id)


@given(contents=st.lists(st.binary(max_size=400), max_size=5))
def test_the_client_that_asked_reads_every_packet_in_order(contents):
    sealing, opening = sealer(), opener()

    assert [opening.open(sealing.seal(content)) for content in contents] == contents


def test_what_was_answered_does_not_show():
    packet = sealer().seal(b"envelopes of topic abcd" * 50)

    assert b"abcd" not in packet
    assert len(packet) == len(sealer().seal(b"x" * 1_100))  # padded to the same multiple of 256


@pytest.mark.parametrize(
    ("sealed", "opening", "complaint"),
    [
        (sealer(), opener(client=STRANGER), "not sealed to this key"),
        (sealer(client=STRANGER), opener(), "not sealed to this key"),
        (sealer(server=STRANGER), opener(), "not signed by the server"),
        (sealer(request_id=OTHER_ID), opener(), "of some answer"),
    ],
    ids=("read by another", "for another", "by another server", "to another request"),
)
def test_what_is_not_the_servers_answer_to_this_client_and_request_is_refused(sealed, opening, complaint):
    with pytest.raises(MailError, match=complaint):
        opening.open(sealed.seal(b"mail"))


def test_a_packet_that_was_left_out_repeated_or_moved_is_noticed():
    sealing = sealer()
    packets = [sealing.seal(content) for content in (b"first", b"second", b"third")]

    for wrong in ([0, 0], [1], [0, 2]):
        opening = opener()
        with pytest.raises(MailError, match="of some answer"):
            [opening.open(packets[at]) for at in wrong]


@pytest.mark.parametrize("plain", [rlp.encode([b"an", b"envelope"]), b"\xc0", b"", b"\x80", rlp.encode(bytes(64))])
def test_an_answer_that_is_not_sealed_is_refused(plain):
    with pytest.raises(MailError, match="sealed"):
        opener().open(plain)


def test_an_unsigned_box_is_refused():
    box = cipher.seal_asym(CLIENT.public, rlp.encode([ID, 0, b"mail"]))

    with pytest.raises(MailError, match="not signed by the server"):
        opener().open(rlp.encode(box))


@given(noise=st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(rlp.encode)), inside=st.binary(max_size=60))
def test_noise_raises_the_one_error(noise, inside):
    box = rlp.encode(cipher.seal_asym(CLIENT.public, inside, SERVER))
    for payload in (noise, box):
        with pytest.raises(MailError):
            opener().open(payload)


def test_a_sealed_answer_is_asked_for_in_the_request_and_only_there():
    request = HistoryRequest(NOW - 100, NOW, topics=(b"abcd",), limit=10, layout=Layout.SEALED)
    sealed = seal_request(request, SERVER.public, CLIENT, NOW)

    opened = open_request(sealed.packet, SERVER, CLIENT.public, NOW)

    assert opened.request.sealed
    assert rlp.decode_list(request.encode())[:7] == rlp.decode_list(
        HistoryRequest(NOW - 100, NOW, topics=(b"abcd",), limit=10).encode()
    )
    assert not any(HistoryRequest(0, 1, bytes(64), layout=each).sealed for each in Layout if each is not Layout.SEALED)


@pytest.mark.parametrize("last", [b"", b"\x02", [b"\x01"]])
def test_an_eighth_item_that_means_something_else_is_refused(last):
    items = rlp.decode_list(HistoryRequest(0, 1, topics=(b"abcd",), layout=Layout.SEALED).encode())

    with pytest.raises(MailError, match="8 of which the last is 1"):
        HistoryRequest.decode(rlp.encode([*items[:7], last]))
