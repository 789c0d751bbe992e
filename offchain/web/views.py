"""Everything the interface shows, as JSON. Identities are 0x and hex digits, times Unix seconds."""

from __future__ import annotations

from offchain.client.cross_check import CrossChecked
from offchain.client.follow import CaughtUp
from offchain.client.history import Asked, Finished, Overtaken, PageRead, Received, ServerFailed, Waiting
from offchain.client.mailbox import Mail, MailEvent, Stored
from offchain.client.pool_machine import PoolEvent, PoolNode
from offchain.trust.explain import Explanation
from offchain.trust.trusted_set import TrustChange, TrustedNode
from offchain.trust.voices import Voice

Json = dict[str, object]


def hexed(data: bytes | None) -> str | None:
    """0x and hex digits; None for nothing."""
    return None if not data else "0x" + data.hex()


def pool_node(node: PoolNode) -> Json:
    """A node in the pool."""
    return {
        "nodeId": hexed(node.contact.node_id),
        "enode": node.contact.enode,
        "address": node.contact.address,
        "source": node.contact.source.value,
        "own": node.own,
        "state": node.state.value,
        "since": node.since,
        "failures": node.failures,
        "reason": node.reason or None,
        "retryAt": node.retry_at,
    }


def pool_event(event: PoolEvent) -> Json:
    """Something that happened to a node."""
    return {
        "time": event.time,
        "nodeId": hexed(event.node_id),
        "what": event.what.value,
        "reason": event.reason,
        "address": event.address,
        "own": event.own,
        "connected": event.connected,
        "block": event.block,
        "reactionSeconds": event.reaction,
    }


def trusted_node(node: TrustedNode) -> Json:
    """A node that is trusted."""
    return {
        "nodeId": hexed(node.node_id),
        "provider": node.provider,
        "expiresAt": node.expires_at,
        "own": node.own is not None,
        "label": None if node.own is None else node.own.label or None,
    }


def trust_change(change: TrustChange) -> Json:
    """A node that is trusted from now on, or not any more."""
    return {
        "time": change.seen_at,
        "kind": change.kind,
        "nodeId": hexed(change.node_id),
        "trusted": change.trusted,
        "reason": change.reason,
        "block": change.block,
    }


def explanation(found: Explanation) -> Json:
    """Whether a node is trusted, and the chain of reasons."""
    return {
        "trusted": found.trusted,
        "summary": found.summary,
        "reasons": list(found.reasons),
        "state": found.state.value,
        "own": found.own,
        "provider": found.provider,
        "block": found.block,
        "transaction": hexed(found.tx),
        "expiresAt": found.expires_at,
        "provenBlock": found.proven_block,
        "provenAge": found.proven_age,
        "curators": [voice(each) for each in found.voices],
    }


def voice(found: Voice) -> Json:
    """What a curator says of a provider."""
    return {"curator": hexed(found.curator), "says": found.says.value, "until": found.until}


def mail_event(event: MailEvent | CaughtUp | CrossChecked) -> Json:
    """A line of a stream: {"progress": ..}, {"message": ..}, {"done": ..}, {"caughtUp": ..} or {"checked": ..}."""
    match event:
        case Mail():
            return {"message": _mail(event)}
        case Asked(node_id, page):
            return {"progress": {"what": "asked", "nodeId": hexed(node_id), "page": page}}
        case PageRead():
            return {
                "progress": {
                    "what": "page",
                    "nodeId": hexed(event.node_id),
                    "page": event.page,
                    "envelopes": event.envelopes,
                    "cursor": hexed(event.cursor),
                    "seconds": event.seconds,
                }
            }
        case ServerFailed(node_id, reason):
            return {"progress": {"what": "failed", "nodeId": hexed(node_id), "reason": reason}}
        case Overtaken():
            return {
                "progress": {
                    "what": "overtaken",
                    "nodeId": hexed(event.node_id),
                    "by": hexed(event.by),
                    "seconds": event.seconds,
                }
            }
        case Waiting(reason):
            return {"progress": {"what": "waiting", "reason": reason}}
        case Finished():
            return {
                "done": {
                    "complete": event.complete,
                    "reason": event.reason,
                    "envelopes": event.envelopes,
                    "pages": event.pages,
                    "servers": [hexed(node_id) for node_id in event.servers],
                    "cursor": hexed(event.cursor),
                }
            }
        case CaughtUp(lower, upper):
            return {"caughtUp": {"since": lower, "until": upper}}
        case CrossChecked():
            return {
                "checked": {
                    "compared": event.compared,
                    "reason": event.reason,
                    "first": [hexed(node_id) for node_id in event.first],
                    "second": [hexed(node_id) for node_id in event.second],
                    "withheld": [hexed(each) for each in event.withheld],
                    "lacked": event.lacked,
                }
            }
        case Received():
            raise AssertionError("a mailbox gives Mail, not Received")


def stored(result: Stored) -> Json:
    """What one server did with one message."""
    return {
        "hash": hexed(result.envelope),
        "nodeId": hexed(result.node_id),
        "stored": result.refusal is None,
        "reason": result.refusal,
    }


def _mail(mail: Mail) -> Json:
    envelope, opened = mail.envelope, mail.opened
    view: Json = {
        "hash": hexed(envelope.hash),
        "sent": envelope.sent,
        "ttl": envelope.ttl,
        "topic": hexed(envelope.topic),
        "bytes": len(envelope.raw),
        "nodeId": hexed(mail.node_id),
        "opened": opened is not None,
    }
    if opened is not None:
        signer = opened.message.signer
        view["key"] = opened.label
        view["payload"] = hexed(opened.message.payload) or "0x"
        view["text"] = _text(opened.message.payload)
        view["signer"] = None if signer is None else hexed(signer.to_bytes())
    return view


def _text(payload: bytes) -> str | None:
    """The payload if it is text."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None
