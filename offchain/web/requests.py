"""What may be asked of the interface: JSON bodies and query strings, checked field by field."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from dataclasses import dataclass

from aiohttp import web

from offchain.client.history import Query
from offchain.client.keyring import MailKey, PersonalKey, SharedKey, topic_of_name
from offchain.contact import Contact
from offchain.errors import ConfigError, DecodeError
from offchain.keys import InvalidKey, PrivateKey, PublicKey
from offchain.types import Kind, NodeId, parse_kind
from offchain.web.guard import ApiError

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a request's body: the largest message, in base64, and room to spare."""

MAX_KEYS = 100
DEFAULT_PERIOD = 24 * 3600
"""Seconds of history that are fetched unless the request says since when."""

Body = dict[str, object]


@dataclass(frozen=True, slots=True)
class KeysWanted:
    """What opens the messages."""

    given: tuple[MailKey, ...]
    own: bool
    """The keys that the service was started with, too: so it is when none are given."""

    def join(self, own: tuple[MailKey, ...]) -> tuple[MailKey, ...]:
        """All of them."""
        return (*self.given, *own) if self.own else self.given


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """POST /v1/mail/fetch."""

    query: Query
    keys: KeysWanted
    check: bool
    """Compare with a second server."""


@dataclass(frozen=True, slots=True)
class FollowRequest:
    """POST /v1/mail/follow."""

    topics: tuple[bytes, ...]
    since: int
    keys: KeysWanted


@dataclass(frozen=True, slots=True)
class SendRequest:
    """POST /v1/mail/send."""

    payload: bytes
    topic: bytes
    to: bytes | PublicKey
    ttl: int
    copies: int
    sign: bool


async def read_body(request: web.Request) -> Body:
    """The JSON object in the body."""
    try:
        document = json.loads(await request.text())
    except (ValueError, LookupError, RecursionError, web.RequestPayloadError) as error:
        raise ApiError(400, "body", f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ApiError(400, "body", "the body is not a JSON object")
    return document


def fetch_request(body: Body) -> FetchRequest:
    """{"topics": [hex or name], "since", "until", "pageSize", "limit", "cursor", "keys": [..], "ownKeys", "check"}"""
    _only(body, {"topics", "since", "until", "pageSize", "limit", "cursor", "keys", "ownKeys", "check"})
    now = int(time.time())
    topics = _list(body, "topics", 512)
    upper = _integer(body, "until", now + 60)
    try:
        query = Query(
            topics=tuple(_topic(topic) for topic in topics),
            lower=_integer(body, "since", max(0, min(now, upper) - DEFAULT_PERIOD)),
            upper=upper,
            page_size=_integer(body, "pageSize", 150),
            limit=None if body.get("limit") is None else _integer(body, "limit", 0),
            cursor=None if body.get("cursor") is None else _hex(body, "cursor"),
        )
    except ConfigError as error:
        raise ApiError(400, "query", str(error)) from None
    return FetchRequest(query, _keys(body), _truth(body, "check", False))


def follow_request(body: Body) -> FollowRequest:
    """{"topics": [hex or name], "since": .., "keys": [..], "ownKeys": ..}; without "since" from now on."""
    _only(body, {"topics", "since", "keys", "ownKeys"})
    topics = tuple(_topic(topic) for topic in _list(body, "topics", 512))
    now = int(time.time())
    since = _integer(body, "since", now)
    if not 0 <= since <= now + 3_600:
        raise ApiError(400, "since", f"since is {since}, expected a Unix time that is not in the future")
    return FollowRequest(topics, since, _keys(body))


def send_request(body: Body) -> SendRequest:
    """{"text" or "payload": .., "topic": .., "password", "key" or "to": .., "ttl": .., "copies": .., "sign": ..}"""
    _only(body, {"text", "payload", "topic", "password", "key", "to", "ttl", "copies", "sign"})
    ttl, copies = _integer(body, "ttl", 50), _integer(body, "copies", 2)
    if not 1 <= ttl <= 7 * 24 * 3600:
        raise ApiError(400, "ttl", f"ttl is {ttl}, expected 1 to {7 * 24 * 3600} seconds")
    if not 1 <= copies <= 8:
        raise ApiError(400, "copies", f"copies is {copies}, expected 1 to 8")
    sign = _truth(body, "sign", False)
    return SendRequest(_payload(body), _topic(body.get("topic")), _recipient(body), ttl, copies, sign)


def node_id_of(text: str) -> NodeId:
    """A node id from an id of 64 hex digits, an enode or a record."""
    text = text.strip()
    digits = text.removeprefix("0x")
    if len(digits) == 64:
        try:
            return NodeId(bytes.fromhex(digits))
        except ValueError:
            pass
    try:
        return Contact.parse(text).node_id
    except DecodeError as error:
        raise ApiError(400, "node", f"node is no id of 64 hex digits, enode or record: {error}") from None


def kind_of(text: str) -> Kind:
    """A kind from a query string."""
    try:
        return parse_kind(text)
    except ValueError as error:
        raise ApiError(400, "kind", str(error)) from None


def _only(body: Body, known: set[str]) -> None:
    for name in body:
        if name not in known:
            raise ApiError(400, "field", f"there is no field {name!r}; known: {', '.join(sorted(known))}")


def _list(body: Body, name: str, most: int) -> list[object]:
    value = body.get(name, [])
    if not isinstance(value, list) or len(value) > most:
        raise ApiError(400, name, f"{name} is a list of at most {most}")
    return value


def _integer(body: Body, name: str, default: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise ApiError(400, name, f"{name} is {value!r}, expected a whole number")
    return value


def _text(body: Body, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise ApiError(400, name, f"{name} is {value!r}, expected a text")
    return value


def _hex(body: Body, name: str) -> bytes:
    try:
        return bytes.fromhex(_text(body, name).removeprefix("0x"))
    except ValueError:
        raise ApiError(400, name, f"{name} is not hexadecimal") from None


def _topic(value: object) -> bytes:
    """0x and 8 hex digits, or the name of a conversation."""
    if not isinstance(value, str) or not value:
        raise ApiError(400, "topic", f"a topic is {value!r}, expected 0x and 8 hex digits, or a name")
    if value.startswith("0x"):
        try:
            topic = bytes.fromhex(value[2:])
        except ValueError:
            topic = b""
        if len(topic) != 4:
            raise ApiError(400, "topic", f"{value!r} is not a topic of 4 bytes")
        return topic
    return topic_of_name(value)


def _keys(body: Body) -> KeysWanted:
    given = body.get("keys") is not None
    keys = tuple(_key(key) for key in _list(body, "keys", MAX_KEYS)) if given else ()
    return KeysWanted(keys, _truth(body, "ownKeys", not given))


def _truth(body: Body, name: str, default: bool) -> bool:
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise ApiError(400, name, f"{name} is true or false")
    return value


def _key(value: object) -> MailKey:
    """{"password": ..} or {"key": "0x.."} with an optional "topic", or {"private": "0x.."}; an optional "label"."""
    if not isinstance(value, dict):
        raise ApiError(400, "keys", 'a key is {"password": ..}, {"key": ..} or {"private": ..}')
    _only(value, {"password", "key", "private", "topic", "label"})
    label = _text(value, "label") if "label" in value else ""
    topic = _topic(value["topic"]) if value.get("topic") is not None else None
    if "password" in value:
        return SharedKey.from_password(_text(value, "password"), topic, label or "password")
    if "key" in value:
        return SharedKey(label or "key", _shared_key(value), topic)
    try:
        return PersonalKey(label or "private", PrivateKey(_hex(value, "private")))
    except InvalidKey as error:
        raise ApiError(400, "keys", str(error)) from None


def _payload(body: Body) -> bytes:
    if ("text" in body) == ("payload" in body):
        raise ApiError(400, "payload", "give either text, or payload in base64")
    if "text" in body:
        return _text(body, "text").encode()
    try:
        return b64decode(_text(body, "payload"), validate=True)
    except ValueError:
        raise ApiError(400, "payload", "payload is not base64") from None


def _recipient(body: Body) -> bytes | PublicKey:
    given = [name for name in ("password", "key", "to") if name in body]
    if len(given) != 1:
        raise ApiError(400, "to", "give one of: to (a public key), key (32 bytes), password")
    if given == ["password"]:
        return SharedKey.from_password(_text(body, "password")).key
    if given == ["key"]:
        return _shared_key(body)
    try:
        return PublicKey.from_bytes(_hex(body, "to"))
    except InvalidKey as error:
        raise ApiError(400, "to", str(error)) from None


def _shared_key(body: Body) -> bytes:
    key = _hex(body, "key")
    if len(key) != 32:
        raise ApiError(400, "key", f"a shared key has 32 bytes, found {len(key)}")
    return key
