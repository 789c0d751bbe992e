"""The demonstration's chain: anvil, the contracts, and what Brownie does with them.

Every change is made with the scripts that an administrator would run. What the demonstration then says of the chain it
has read from the chain.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from offchain.cli.calls import call_contract, request
from offchain.cli.demo.actors import ActorFailed, Troupe
from offchain.cli.demo.stage import NETWORK, PROJECT, Stage
from offchain.errors import ChainError
from offchain.types import MAILSERVER, Address

BLOCK_TIME = 1
"""Seconds between blocks; transactions get one of their own at once."""

START = 20.0
BROWNIE = 120.0
"""Seconds: with an empty cache Brownie compiles first."""

KIND = MAILSERVER
MAILSERVER_KIND = 1
"""The registry makes the kind of mail servers when it is deployed."""

POLL = 0.004
"""Seconds between looks at the height of the chain, while a reaction is timed."""


async def start(troupe: Troupe, stage: Stage) -> None:
    """Start anvil and wait until it answers. `finalized` is two blocks behind the head."""
    anvil = await troupe.start(
        "anvil",
        [
            stage.anvil,
            *("--port", str(stage.rpc_port), "--host", "127.0.0.1"),
            *("--block-time", str(BLOCK_TIME), "--mixed-mining", "--slots-in-an-epoch", "1"),
            *("--block-base-fee-per-gas", "0"),
        ],
    )
    deadline = time.monotonic() + START
    while True:
        try:
            await _ask(stage, "eth_chainId")
            return
        except ChainError:
            if anvil.ended or time.monotonic() > deadline:
                raise ActorFailed(f"anvil does not answer at {stage.rpc}\n{anvil.tail()}") from None
            await asyncio.sleep(0.03)


async def deploy(troupe: Troupe, stage: Stage) -> dict[str, Any]:
    """Deploy the contracts; the content of the deployment file."""
    await _brownie(troupe, stage, "deploy", "deploy", "main", f"record={stage.deployment}")
    document: dict[str, Any] = json.loads(stage.deployment.read_text())
    return document


async def list_nodes(troupe: Troupe, stage: Stage, proofs: Mapping[int, Sequence[object]], accepted: int) -> None:
    """Make the providers, each from an account of its own; list their nodes; have the curator accept one provider."""
    steps: list[dict[str, object]] = [
        {"do": "providers create", "metadata": f"https://provider-{provider}.example/", "account": provider}
        for provider in sorted(proofs)
    ]
    steps += [
        {"do": "nodes add", "provider": provider, "kind": KIND, "proofs": each, "expires": "14d", "account": provider}
        for provider, each in sorted(proofs.items())
    ]
    steps.append({"do": "curator accept", "provider": accepted, "kind": KIND})
    path = stage.folder / "plan.json"
    path.write_text(json.dumps(steps, indent=2))
    await _brownie(troupe, stage, "apply", "apply", "main", str(path), f"deployment={stage.deployment}")


async def remove_node(troupe: Troupe, stage: Stage, provider: int, address: str) -> None:
    """The provider removes one of its nodes."""
    options = (f"account={provider}", f"deployment={stage.deployment}")
    await _brownie(troupe, stage, "remove", "nodes", "remove", str(provider), KIND, address, *options)


async def has_code(stage: Stage, address: str) -> bool:
    """Whether there is a contract at the address."""
    return await _ask(stage, "eth_getCode", address, "latest") not in ("0x", None)


async def is_listed(stage: Stage, provider: int, node: str) -> bool:
    """Whether the registry lists the node as the provider's mail server."""
    arguments = _word(provider) + _word(MAILSERVER_KIND) + _word(int(node, 16))
    return bool(int.from_bytes(await _call(stage, "isListed(uint256,uint256,address)", arguments), "big"))


async def is_known(stage: Stage, node: str) -> bool:
    """Whether anybody lists the node as anything."""
    info = await _call(stage, "nodeOf(address)", _word(int(node, 16)))
    return int.from_bytes(info[32:64], "big") != 0


class Heights:
    """Readings of a chain's height, and for each block the last moment at which it was not there yet."""

    def __init__(self) -> None:
        self._before: dict[int, float] = {}
        self._height: int | None = None
        self._asked = 0.0

    def read(self, height: int, asked: float) -> None:
        """The chain was `height` blocks high (or a little less) at Unix time `asked`."""
        if self._height is not None:
            for number in range(self._height + 1, height + 1):
                self._before.setdefault(number, self._asked)
        self._height, self._asked = height, asked

    def before(self, number: int | None) -> float | None:
        """A Unix time before the block, by some milliseconds; None if its coming was not observed."""
        return None if number is None else self._before.get(number)


class BlockClock:
    """Asks a chain for its height again and again, from outside, and once more at its end: a block that something
    inside the context has already reacted to is always among those it saw."""

    def __init__(self, stage: Stage) -> None:
        self._rpc = stage.rpc
        self._heights = Heights()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="block clock", daemon=True)

    async def __aenter__(self) -> Heights:
        where = urlsplit(self._rpc)
        self._connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=5)
        await asyncio.to_thread(self._ask)
        self._thread.start()
        return self._heights

    async def __aexit__(self, *exc_info: object) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._ask)
        self._connection.close()

    def _watch(self) -> None:
        while not self._stop.wait(POLL):
            self._ask()

    def _ask(self) -> None:
        body = b'{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}'
        asked = time.time()
        try:
            self._connection.request("POST", "/", body, {"Content-Type": "application/json"})
            height = int(json.loads(self._connection.getresponse().read())["result"], 16)
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            self._connection.close()
        else:
            self._heights.read(height, asked)


async def _brownie(troupe: Troupe, stage: Stage, name: str, *arguments: str) -> None:
    await troupe.run(
        f"brownie {name}",
        [stage.brownie, "run", *arguments, "--network", NETWORK],
        within=BROWNIE,
        cwd=PROJECT,
    )


async def _ask(stage: Stage, method: str, *parameters: object) -> object:
    return await asyncio.to_thread(request, stage.rpc, method, list(parameters))


async def _call(stage: Stage, signature: str, arguments: bytes) -> bytes:
    registry = json.loads(stage.deployment.read_text())["contracts"]["NodeRegistry"]["address"]
    address = Address(bytes.fromhex(registry[2:]))
    answers = await asyncio.to_thread(call_contract, [stage.rpc], address, [(signature, arguments)])
    return answers[0]


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big")
