"""A handful of eth_call requests over HTTP, for commands that ask once and end.

The answers are not proven: they serve to fill in a form (a possession proof with a wrong number is refused by the
registry), never to decide whom to trust.
"""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Sequence

from offchain.errors import ChainError
from offchain.hashing import keccak256
from offchain.types import Address

TIMEOUT = 10.0
"""Seconds for one endpoint."""

MAX_ANSWER = 1 << 20
"""Bytes of an answer that are read."""


def call_contract(endpoints: Sequence[str], contract: Address, calls: Sequence[tuple[str, bytes]]) -> list[bytes]:
    """The results of calls (signature, encoded arguments), from the first endpoint that answers all of them.

    ChainError names every endpoint and what was wrong with it.
    """
    faults = []
    for endpoint in endpoints:
        try:
            return [_call(endpoint, contract, signature, arguments) for signature, arguments in calls]
        except ChainError as error:
            faults.append(str(error))
    raise ChainError("no endpoint answered: " + "; ".join(faults))


def _call(endpoint: str, contract: Address, signature: str, arguments: bytes) -> bytes:
    data = "0x" + (keccak256(signature.encode())[:4] + arguments).hex()
    result = request(endpoint, "eth_call", [{"to": "0x" + contract.hex(), "data": data}, "latest"])
    try:
        answer = bytes.fromhex(str(result).removeprefix("0x"))
    except ValueError:
        raise ChainError(f"{endpoint} answered {signature} with {str(result)[:40]!r}") from None
    if not answer:
        raise ChainError(f"{endpoint} has no contract at 0x{contract.hex()} that answers {signature}")
    return answer


def request(endpoint: str, method: str, parameters: list[object]) -> object:
    """One JSON-RPC request; ChainError says which endpoint did not do it, and why."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
    post = urllib.request.Request(endpoint, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(post, timeout=TIMEOUT) as response:
            document = json.loads(response.read(MAX_ANSWER))
    except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
        raise ChainError(f"{endpoint} did not answer: {error}") from None
    if not isinstance(document, dict) or "result" not in document:
        fault = document.get("error") if isinstance(document, dict) else document
        raise ChainError(f"{endpoint} refused {method}: {str(fault)[:200]}")
    return document["result"]
