import base64
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from offchain.errors import ConfigError
from offchain.pushserver.grant import Grant
from offchain.pushserver.watch import Push
from offchain.pushserver.webpush import Pusher, Unusable, is_public

http_ece = pytest.importorskip("http_ece")
pytest.importorskip("jwt")

DEVICE = ec.derive_private_key(7, ec.SECP256R1())
POINT = DEVICE.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
GRANT = Grant(b"s" * 32, 1, 2, "https://push.example:8443/abc?d=e", POINT, b"a" * 16, (b"abcd",))


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_the_device_can_read_the_notice_and_nobody_else():
    request = Pusher("mailto:me@example.org").request(Push(b"c" * 32, GRANT, b"abcd", 3), 1000.0)

    plain = http_ece.decrypt(request.body, private_key=DEVICE, auth_secret=b"a" * 16, version="aes128gcm")
    assert json.loads(plain) == {"topic": "0x61626364", "count": 3}
    with pytest.raises(http_ece.ECEException):
        http_ece.decrypt(request.body, private_key=DEVICE, auth_secret=b"b" * 16, version="aes128gcm")


def test_the_length_tells_nothing():
    pusher = Pusher("mailto:me@example.org")
    sizes = {len(pusher.request(Push(b"c" * 32, GRANT, b"abcd", count), 1.0).body) for count in (1, 10, 10**9)}

    assert len(sizes) == 1


def test_the_request_is_signed_for_the_push_service_as_rfc_8292_has_it():
    request = Pusher("mailto:me@example.org").request(Push(b"c" * 32, GRANT, b"abcd", 1), 1000.0)

    assert request.url == GRANT.endpoint
    assert (request.headers["Content-Encoding"], request.headers["TTL"]) == ("aes128gcm", "86400")
    scheme, _, rest = request.headers["Authorization"].partition(" ")
    fields = dict(part.strip().split("=", 1) for part in rest.split(","))
    head, claims, signature = fields["t"].split(".")
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unpadded(fields["k"]))
    raw = unpadded(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key.verify(der, f"{head}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))
    assert scheme == "vapid"
    assert json.loads(unpadded(head)) == {"typ": "JWT", "alg": "ES256"}
    assert json.loads(unpadded(claims)) == {
        "aud": "https://push.example:8443",
        "exp": 1000 + 12 * 3600,
        "sub": "mailto:me@example.org",
    }


def test_the_key_is_the_same_after_a_restart():
    first = Pusher("mailto:me@example.org")
    second = Pusher("mailto:me@example.org", first.private_key)
    keys = [
        each.request(Push(b"c" * 32, GRANT, b"abcd", 1), 1.0).headers["Authorization"].split("k=")[1]
        for each in (first, second)
    ]

    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    "key",
    [
        ed25519.Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["Ed25519", "P-384"],
)
def test_a_key_of_another_kind_is_refused(key):
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    with pytest.raises(ConfigError, match="is not one of P-256"):
        Pusher("mailto:me@example.org", pem)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"not a key",
        DEVICE.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        DEVICE.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"pw")
        ),
    ],
    ids=["empty", "text", "public", "encrypted"],
)
def test_a_file_that_holds_no_key_that_can_be_used_is_refused(pem):
    with pytest.raises(ConfigError, match="is not an unencrypted private key"):
        Pusher("mailto:me@example.org", pem)


def test_a_key_that_is_no_point_is_said_to_be_unusable():
    push = Push(b"c" * 32, replace(GRANT, p256dh=b"\x04" * 65), b"abcd", 1)

    with pytest.raises(Unusable):
        Pusher("mailto:me@example.org").request(push, 1.0)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("::1", False),
        ("fd00::1", False),
        ("0.0.0.0", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::ffff:127.0.0.1", False),
        ("fe80::1", False),
        ("ff02::1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::5db8:d822", True),
        ("2606:4700:4700::1111", True),
        ("2001:0:4136:e378:8000:63bf:f5ff:fffe", False),
        ("2130706433", False),
        ("not an address", False),
    ],
)
def test_only_addresses_of_the_internet_are_called(address, public):
    assert is_public(address) is public
