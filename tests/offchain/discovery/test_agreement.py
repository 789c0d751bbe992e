"""Key agreement and proof of identity: the specification's vectors."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from offchain.discovery import packet as packets
from offchain.discovery.agreement import proof_digest, session_keys
from offchain.discovery.packet import Mask
from offchain.enr import Enr
from offchain.keys import PrivateKey, PublicKey
from tests.support.discovery import vectors

SPEC = vectors("discv5_v5_1")
A, B = bytes.fromhex(SPEC["keys"]["node_id_a"]), bytes.fromhex(SPEC["keys"]["node_id_b"])
KEY_A, KEY_B = (PrivateKey(bytes.fromhex(SPEC["keys"][name])) for name in ("node_a", "node_b"))


def raw(section, name):
    return bytes.fromhex(SPEC[section][name])


def test_the_shared_secret_is_the_compressed_point():
    secret = PrivateKey(raw("ecdh", "secret_key")).ecdh_compressed(PublicKey.from_bytes(raw("ecdh", "public_key")))

    assert secret == raw("ecdh", "shared_secret")


def test_the_session_keys_are_the_specifications():
    dest = PublicKey.from_bytes(raw("kdf", "dest_pubkey"))
    secret = PrivateKey(raw("kdf", "ephemeral_key")).ecdh_compressed(dest)

    keys = session_keys(secret, raw("kdf", "challenge_data"), A, B)

    assert keys == (raw("kdf", "initiator_key"), raw("kdf", "recipient_key"))


def test_the_proof_is_the_specifications():
    digest = proof_digest(raw("id_sig", "challenge_data"), raw("id_sig", "ephemeral_pubkey"), B)

    key = PrivateKey(raw("id_sig", "static_key"))
    assert key.sign(digest) == raw("id_sig", "id_signature")
    assert key.public.verify(raw("id_sig", "id_signature"), digest)


def test_gcm_is_the_specifications():
    aead = AESGCM(raw("aes_gcm", "key"))

    sealed = aead.encrypt(raw("aes_gcm", "nonce"), raw("aes_gcm", "pt"), raw("aes_gcm", "ad"))

    assert sealed == raw("aes_gcm", "ct")


@pytest.mark.parametrize("name", ["ping_handshake_no_enr", "ping_handshake_enr"])
def test_the_specifications_handshakes_prove_and_open(name):
    vector = next(each for each in SPEC["packets"] if each["name"] == name)
    challenge = bytes.fromhex(vector["challenge_data"])

    packet = packets.decode(bytes.fromhex(vector["hex"]), Mask(B))
    public = Enr.decode(packet.record).public if packet.record else KEY_A.public
    secret = KEY_B.ecdh_compressed(PublicKey.from_bytes(packet.ephemeral))
    initiator_key, _ = session_keys(secret, challenge, A, B)
    message = AESGCM(initiator_key).decrypt(packet.nonce, packet.ciphertext, packet.header)

    assert public.node_id == A
    assert public.verify(packet.signature, proof_digest(challenge, packet.ephemeral, B))
    assert initiator_key.hex() == vector["read_key"]
    assert message == bytes.fromhex("01c6840000000101")
