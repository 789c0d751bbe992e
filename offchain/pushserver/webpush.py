"""A push as an HTTP request: encrypted to the device (RFC 8291, by http-ece), signed by us (RFC 8292, by PyJWT).

The push service learns that there is mail and how long the notice is, which is always the same; the device learns the
topic and how many. What the mail says is neither here nor there: the device fetches it from a mail server.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from importlib import import_module
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from offchain.errors import ConfigError, LocalError
from offchain.pushserver.watch import Push

TTL = 86_400
"""Seconds for which the push service keeps the notice of a device that is off."""

SIZE = 96
"""Bytes of a notice before encryption: padded, so that its length tells nothing."""

NAT64 = IPv6Network("64:ff9b::/96")

VALID = 12 * 3_600
"""Seconds for which our signature holds; RFC 8292 allows a day."""


class Unusable(LocalError):
    """The grant's keys cannot be encrypted to."""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP POST."""

    url: str
    headers: dict[str, str]
    body: bytes


class Pusher:
    """Makes requests, signed with a key that push services know us by.

    ConfigError if the libraries are missing, or the key is none of P-256.
    """

    def __init__(self, contact: str, private_key: bytes | None = None) -> None:
        """`contact` is a mailto: or https: address for push services to complain at; `private_key` a PEM, or None."""
        try:
            http_ece: Any = import_module("http_ece")
            jwt: Any = import_module("jwt")
        except ImportError as error:
            raise ConfigError(
                f"a push server needs http-ece and PyJWT ({error}): pip install 'waypost[push]'"
            ) from error
        self._encrypt: Any = http_ece.encrypt
        self._jwt: Any = jwt.encode
        self._contact = contact
        self._key = ec.generate_private_key(ec.SECP256R1()) if private_key is None else _load(private_key)
        point = self._key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        self._public_key = urlsafe_b64encode(point).rstrip(b"=").decode()

    @property
    def private_key(self) -> bytes:
        """The PEM, to keep."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def request(self, push: Push, now: float) -> Request:
        """The request that tells a device. Unusable if its keys are none."""
        notice = json.dumps({"topic": "0x" + push.topic.hex(), "count": push.count}, separators=(",", ":")).encode()
        try:
            body: bytes = self._encrypt(
                notice.ljust(SIZE),
                private_key=ec.generate_private_key(ec.SECP256R1()),
                dh=push.grant.p256dh,
                auth_secret=push.grant.auth,
                version="aes128gcm",
            )
        except Exception as error:  # whatever the library makes of a point that is not on the curve
            raise Unusable("the device's key is not one") from error
        parts = urlsplit(push.grant.endpoint)
        claims = {"aud": f"{parts.scheme}://{parts.netloc}", "exp": int(now) + VALID, "sub": self._contact}
        token: str = self._jwt(claims, self._key, algorithm="ES256")
        headers = {
            "Content-Encoding": "aes128gcm",
            "TTL": str(TTL),
            "Urgency": "high",
            "Authorization": f"vapid t={token}, k={self._public_key}",
        }
        return Request(push.grant.endpoint, headers, body)


def _load(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError("the push server's key is not an unencrypted private key in PEM") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError("the push server's key is not one of P-256")
    return key


def is_public(address: str) -> bool:
    """Whether an address is one of the internet: a grant must not make this server call into its own network.

    An IPv6 address that carries an IPv4 one (6to4, Teredo, NAT64) is as public as that.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    inner = _inner(ip) if isinstance(ip, IPv6Address) else None
    return ip.is_global and not ip.is_multicast and (inner is None or is_public(str(inner)))


def _inner(ip: IPv6Address) -> IPv4Address | None:
    if ip in NAT64:
        return IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
