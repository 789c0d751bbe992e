import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain import rlp
from offchain.rlpx import p2p
from offchain.rlpx.p2p import Capability, DisconnectReason, Hello, P2pError, Shared
from tests.support.rlpx import key, vectors

capabilities = st.builds(
    Capability, st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=8), st.integers(0, 99)
)


def test_reads_eip8s_hello_with_additional_elements():
    vector = vectors("rlpx")["eip8"]["hello_with_additional_elements"]

    hello = Hello.decode(bytes.fromhex(vector["packet"]))

    assert hello.version == vector["version"]
    assert hello.client_id == vector["client_id"]
    assert [[each.name, each.version] for each in hello.capabilities] == vector["capabilities"]
    assert hello.port == vector["listen_port"]
    assert hello.public.to_bytes().hex() == vector["public_key"]


@pytest.mark.parametrize("vector", vectors("status_packets")["status"], ids=lambda vector: vector["program"])
def test_reads_the_hellos_of_real_programs(vector):
    decoded = vector["hello_decoded"]

    hello = Hello.decode(bytes.fromhex(vector["hello"]))

    assert hello.version == decoded["p2p_version"]
    assert hello.client_id == decoded["client_id"]
    assert [[each.name, each.version] for each in hello.capabilities] == decoded["capabilities"]
    assert hello.public.to_bytes().hex() == decoded["public_key"]
    assert hello.encode().hex() == vector["hello"]


@given(st.text(max_size=20), st.lists(capabilities, max_size=5), st.integers(0, 65535))
def test_a_hello_is_read_as_it_was_written(client_id, offered, port):
    hello = Hello(client_id, tuple(offered), key(1).public, port=port)

    assert Hello.decode(hello.encode()) == hello


@pytest.mark.parametrize(
    "items",
    [
        [],
        [5, "client", [], 0],
        [5, "client", [], 0, bytes(64)],
        [5, "client", [], 0, bytes(63)],
        [5, "client", "no list", 0, key(1).public.to_bytes()],
        [5, "client", [["shh"]], 0, key(1).public.to_bytes()],
        [5, "client", [["x" * 33, 1]], 0, key(1).public.to_bytes()],
        [5, "client", [["shh", 1]] * 65, 0, key(1).public.to_bytes()],
        [5, "client", [[["shh"], 1]], 0, key(1).public.to_bytes()],
        [b"\0\5", "client", [], 0, key(1).public.to_bytes()],
        [5, ["client"], [], 0, key(1).public.to_bytes()],
    ],
)
def test_what_is_no_hello_raises_the_one_error(items):
    with pytest.raises(P2pError):
        Hello.decode(rlp.encode(items))


@given(st.binary(max_size=200))
def test_noise_raises_the_one_error(noise):
    with pytest.raises(P2pError):
        Hello.decode(noise)


def test_shared_capabilities_take_their_ids_in_alphabetical_order():
    ours = [Capability("shh", 6, 128), Capability("eth", 63, 17), Capability("mail", 1, 16)]
    theirs = [Capability("mail", 1), Capability("les", 2), Capability("shh", 6), Capability("eth", 64)]

    assert p2p.share(ours, theirs) == (
        Shared(Capability("mail", 1, 16), 0x10),
        Shared(Capability("shh", 6, 128), 0x20),
    )


def test_the_highest_common_version_is_shared():
    ours = [Capability("shh", 6, 128), Capability("shh", 5, 100), Capability("shh", 7, 200)]

    assert p2p.share(ours, [Capability("shh", 5), Capability("shh", 6)]) == (Shared(Capability("shh", 6, 128), 0x10),)
    assert p2p.share(ours, []) == ()


@given(st.integers(0, 0xFFFF_FFFF), st.binary(max_size=3))
def test_ids_are_the_shortest_rlp_integers(message_id, payload):
    encoded = p2p.encode_id(message_id)

    assert encoded == rlp.encode(message_id)
    assert p2p.split_id(encoded + payload) == (message_id, len(encoded))


def test_ids_of_shh_126_and_127_take_two_bytes():
    assert p2p.encode_id(0x10 + 126) == b"\x81\x8e"
    assert p2p.encode_id(0x10 + 127) == b"\x81\x8f"
    assert p2p.encode_id(0) == b"\x80"


@pytest.mark.parametrize("message", [b"", b"\0", b"\x81", b"\x81\x7f", b"\x81\0", b"\x82\0\x90", b"\xc0", b"\x85abcde"])
def test_what_is_no_id_raises_the_one_error(message):
    with pytest.raises(P2pError):
        p2p.split_id(message)


@given(st.sampled_from(DisconnectReason))
def test_a_disconnect_is_read_in_every_form_that_is_sent(reason):
    as_list = p2p.encode_disconnect(reason)
    bare = rlp.encode(int(reason))

    for payload in (as_list, bare, p2p.compress(as_list), p2p.compress(bare)):
        assert p2p.decode_disconnect(payload) is reason


def test_the_recorded_disconnect_is_read():
    for session in vectors("rlpx")["sessions"]:
        last = session["events"][-1]
        assert p2p.decode_disconnect(bytes.fromhex(last["compressed"])) is DisconnectReason.REQUESTED


@given(st.binary(max_size=100))
def test_no_disconnect_is_an_error(noise):
    assert isinstance(p2p.decode_disconnect(noise), DisconnectReason)


@given(st.binary(max_size=5000))
def test_what_is_compressed_is_decompressed(data):
    compressed = p2p.compress(data)

    assert p2p.decompress(compressed) == data
    assert len(compressed) <= p2p.max_compressed(len(data))


@given(st.binary(max_size=200))
def test_noise_is_decompressed_or_raises_the_one_error(noise):
    try:
        assert len(p2p.decompress(noise, 1000)) <= 1000
    except P2pError:
        pass


def test_a_bomb_is_refused_by_the_length_it_claims():
    bomb = p2p.compress(bytes(1_000_001))
    assert len(bomb) < 50_000

    with pytest.raises(P2pError, match="1000001 bytes, expected at most 1000000"):
        p2p.decompress(bomb, 1_000_000)


def test_a_length_of_four_gigabytes_is_refused_unallocated():
    with pytest.raises(P2pError, match="expected at most"):
        p2p.decompress(b"\xff\xff\xff\xff\x0f" + bytes(10))
