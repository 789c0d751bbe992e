"""RLPx frames (devp2p rlpx.md, "Framing").

    frame         = header-ciphertext (16) || header-mac (16) || frame-ciphertext || frame-mac (16)
    header        = frame-size (3) || C2 80 80, zero-filled to 16
    frame         = message, zero-filled to a multiple of 16
    both ciphers  = AES-256-CTR with the aes secret and a zero IV, one running stream each way

    mac           = a running keccak-256 each way; its digest is cut to 16 bytes
    header-mac    : update(AES-256(mac secret, digest) xor header-ciphertext), then the digest
    frame-mac     : update(frame-ciphertext); seed = digest; update(AES-256(mac secret, seed) xor seed), then the digest

MACs are compared with plain `!=`: their keys live as long as the connection, which the first wrong one ends.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from offchain.errors import DecodeError
from offchain.rlpx.auth import Secrets

HEADER_SIZE = 32
"""Header and its MAC."""

MAC_SIZE = 16
MAX_FRAME = (1 << 24) - 1
"""The largest message three bytes of size can tell."""

_HEADER_REST = b"\xc2\x80\x80" + bytes(10)


class FrameError(DecodeError):
    """The bytes are not the frame that must follow. The stream is lost: close the connection."""


class FrameWriter:
    """Messages in, bytes for the wire out."""

    def __init__(self, secrets: Secrets) -> None:
        self._stream = Cipher(algorithms.AES(secrets.aes), modes.CTR(bytes(16))).encryptor()
        self._block = Cipher(algorithms.AES(secrets.mac), modes.ECB()).encryptor()
        self._mac = secrets.egress.copy()
        self._digest = self._mac.digest()[:MAC_SIZE]

    def encode(self, message: bytes) -> bytes:
        """One frame."""
        return self.encode_many((message,))

    def encode_many(self, messages: Iterable[bytes]) -> bytes:
        """A frame for each message, one after the other: encrypted at once, since the key stream runs on."""
        sizes: list[int] = []
        plain: list[bytes] = []
        for message in messages:
            size = len(message)
            if size > MAX_FRAME:
                raise ValueError(f"a message of {size} bytes does not fit a frame of {MAX_FRAME}")
            padding = -size % 16
            sizes.append(size + padding)
            plain += (size.to_bytes(3, "big"), _HEADER_REST, message, bytes(padding))
        ciphertext = self._stream.update(b"".join(plain))
        update, digest, block, number = self._mac.update, self._mac.digest, self._block.update, int.from_bytes
        seed = self._digest
        wire: list[bytes] = []
        at = 0
        for size in sizes:
            body_at = at + 16
            header = ciphertext[at:body_at]
            at = body_at + size
            body = ciphertext[body_at:at]
            update((number(block(seed), "big") ^ number(header, "big")).to_bytes(16, "big"))
            header_mac = digest()[:MAC_SIZE]
            update(body)
            seed = digest()[:MAC_SIZE]
            update((number(block(seed), "big") ^ number(seed, "big")).to_bytes(16, "big"))
            seed = digest()[:MAC_SIZE]
            wire += (header, header_mac, body, seed)
        self._digest = seed
        return b"".join(wire)


class FrameReader:
    """Bytes from the wire in, messages out, however the bytes are cut."""

    def __init__(self, secrets: Secrets, max_frame: int = MAX_FRAME) -> None:
        self._stream = Cipher(algorithms.AES(secrets.aes), modes.CTR(bytes(16))).decryptor()
        self._block = Cipher(algorithms.AES(secrets.mac), modes.ECB()).encryptor()
        self._mac = secrets.ingress.copy()
        self._digest = self._mac.digest()[:MAC_SIZE]
        self._buffer = bytearray()
        self._size: int | None = None
        """Of the message whose header has been read."""
        self.max_frame = max_frame
        """A header that tells a larger message is refused before its body comes. May be changed at any time."""

    @property
    def buffered(self) -> int:
        """Bytes kept until the rest of their frame comes."""
        return len(self._buffer)

    def receive(self, data: bytes, limit: int | None = None) -> list[bytes]:
        """The messages (at most `limit`) that `data` completes. FrameError ends the stream.

        What remains is kept: call again with b"" for more messages, or with more data.
        """
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < self._needed():
                return []
            data = bytes(buffer)
            buffer.clear()
        messages: list[bytes] = []
        try:
            end = self._read(data, messages, limit)
        except FrameError:
            self._buffer = bytearray()
            raise
        if end < len(data):
            self._buffer += memoryview(data)[end:]
        return messages

    def _needed(self) -> int:
        return HEADER_SIZE if self._size is None else self._size + -self._size % 16 + MAC_SIZE

    def _read(self, data: bytes, messages: list[bytes], limit: int | None) -> int:
        """Read whole headers and bodies from `data`; where the first incomplete one starts."""
        update, digest, block, number = self._mac.update, self._mac.digest, self._block.update, int.from_bytes
        decrypt = self._stream.update
        end = len(data)
        at = 0
        while True:
            size = self._size
            if size is None:
                mac_at = at + 16
                body_at = at + HEADER_SIZE
                if body_at > end or len(messages) == limit:
                    return at
                header = data[at:mac_at]
                update((number(block(self._digest), "big") ^ number(header, "big")).to_bytes(16, "big"))
                if data[mac_at:body_at] != digest()[:MAC_SIZE]:
                    raise FrameError("a header's MAC is wrong")
                size = int.from_bytes(decrypt(header)[:3], "big")
                if size > self.max_frame:
                    raise FrameError(f"a frame holds {size} bytes, expected at most {self.max_frame}")
                self._size = size
                at = body_at
            mac_at = at + size + -size % 16
            if mac_at + MAC_SIZE > end:
                return at
            body = data[at:mac_at]
            update(body)
            seed = digest()[:MAC_SIZE]
            update((number(block(seed), "big") ^ number(seed, "big")).to_bytes(16, "big"))
            self._digest = digest()[:MAC_SIZE]
            if data[mac_at : mac_at + MAC_SIZE] != self._digest:
                raise FrameError("a frame's MAC is wrong")
            messages.append(decrypt(body)[:size])
            self._size = None
            at = mac_at + MAC_SIZE
