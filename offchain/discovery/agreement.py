"""discv5 key agreement and proof of identity (discv5-theory.md, "Handshake").

    secret        = ecdh(ephemeral-key, dest-pubkey)                      compressed point, 33 bytes
    key-data      = HKDF(salt=challenge-data, secret, "discovery v5 key agreement" || node-id-A || node-id-B)
    initiator-key = key-data[:16]         recipient-key = key-data[16:]
    id-signature  = sign(sha256("discovery v5 identity proof" || challenge-data || ephemeral-pubkey || node-id-B))

A is the initiator, who was challenged; B the recipient, who challenged. HKDF is with SHA-256, and gives 32 bytes.
"""

from __future__ import annotations

import hashlib
import hmac

KEY_SIZE = 16
_AGREEMENT = b"discovery v5 key agreement"
_PROOF = b"discovery v5 identity proof"


def session_keys(secret: bytes, challenge_data: bytes, initiator: bytes, recipient: bytes) -> tuple[bytes, bytes]:
    """(initiator-key, recipient-key): what each of the two node ids encrypts with."""
    extracted = hmac.digest(challenge_data, secret, "sha256")
    expanded = hmac.digest(extracted, _AGREEMENT + initiator + recipient + b"\x01", "sha256")
    return expanded[:KEY_SIZE], expanded[KEY_SIZE:]


def proof_digest(challenge_data: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    """What the initiator signs with the key of its node."""
    return hashlib.sha256(_PROOF + challenge_data + ephemeral + recipient).digest()
