from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain import rlp
from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.pushserver.grant import Grant, GrantError, decode_answer, encode_answer, seal, unseal
from offchain.whisper.cipher import seal_asym

SERVER, OTHER, CLIENT, STRANGER = (PrivateKey(bytes((n,)) * 32) for n in (1, 2, 3, 4))
NOW = 1_800_000_000
GRANT = Grant(
    SERVER.public.node_id, NOW, NOW + 1000, "https://push.example/x?y=1", b"\x04" * 65, b"a" * 16, (b"abcd", b"efgh")
)

letters = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=50)
endpoints = st.builds("https://{}.example/{}".format, st.sampled_from(("push", "a1", "x-y")), letters)
grants = st.builds(
    Grant,
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**40 - 1),
    st.integers(0, 2**40 - 1),
    endpoints,
    st.binary(min_size=65, max_size=65),
    st.binary(min_size=16, max_size=16),
    st.lists(st.binary(min_size=4, max_size=4), max_size=64, unique=True).map(tuple),
)


@given(grants)
def test_decodes_what_it_encodes(grant):
    assert Grant.decode(grant.encode()) == grant


@given(st.binary(max_size=300))
def test_noise_is_a_grant_error(noise):
    for decode in (Grant.decode, decode_answer, lambda data: unseal(data, SERVER, CLIENT.public, NOW)):
        with pytest.raises(GrantError):
            decode(noise)


fields = st.recursive(st.binary(max_size=70), lambda inner: st.lists(inner, max_size=4), max_leaves=12)


@given(st.lists(fields, min_size=8, max_size=8))
def test_rlp_of_any_shape_is_a_grant_or_a_grant_error(shape):
    try:
        Grant.decode(rlp.encode(shape))
    except GrantError:
        pass


def test_a_grant_arrives_sealed_and_signed():
    packet = seal(GRANT, SERVER.public, CLIENT)

    assert unseal(packet, SERVER, CLIENT.public, NOW) == GRANT
    assert b"push.example" not in packet


@pytest.mark.parametrize(
    ("grant", "sealed_to", "signer", "now", "complaint"),
    [
        (GRANT, OTHER, CLIENT, NOW, "not encrypted to this server"),
        (GRANT, SERVER, STRANGER, NOW, "not signed by the key of the connection"),
        (GRANT, SERVER, None, NOW, "not signed by the key of the connection"),
        (replace(GRANT, server=OTHER.public.node_id), SERVER, CLIENT, NOW, "for another server"),
        (GRANT, SERVER, CLIENT, NOW + 1000, "has expired"),
        (GRANT, SERVER, CLIENT, NOW - 100, "in the future"),
        (replace(GRANT, expires=NOW + 40 * 86_400), SERVER, CLIENT, NOW, "lasts longer"),
        (replace(GRANT, endpoint="ftp://push.example/"), SERVER, CLIENT, NOW, "not a URL"),
        (replace(GRANT, endpoint="https://"), SERVER, CLIENT, NOW, "not a URL"),
        (replace(GRANT, endpoint="https://me:secret@push.example/"), SERVER, CLIENT, NOW, "not a URL"),
        (replace(GRANT, endpoint="https://push.example:99999/"), SERVER, CLIENT, NOW, "not a URL"),
        (replace(GRANT, endpoint="https://push.example/\r\nX: y"), SERVER, CLIENT, NOW, "not a URL"),
        (replace(GRANT, topics=tuple(bytes((0, 0, 0, n)) for n in range(65))), SERVER, CLIENT, NOW, "65 topics"),
    ],
)
def test_what_is_not_a_grant_for_us_from_who_is_connected_is_refused(grant, sealed_to, signer, now, complaint):
    packet = seal_asym(sealed_to.public, grant.encode(), signer)

    with pytest.raises(GrantError, match=complaint):
        unseal(packet, SERVER, CLIENT.public, now)


def test_an_answer_names_its_packet():
    assert decode_answer(encode_answer(b"packet", "no")) == (keccak256(b"packet"), "no")
