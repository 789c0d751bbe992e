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
from offchain.hashing import keccak256
from offchain.types import MAILSERVER, Address

BLOCK_TIME = 1
"""Seconds between blocks; transactions get one of their own at once."""

START = 20.0
BROWNIE = 120.0
"""Seconds: with an empty cache Brownie compiles first."""

MAILSERVER_KIND = 1
"""The registry makes the kind of mail servers when it is deployed."""

Step = dict[str, object]
"""One command of scripts/, with its arguments and options; see scripts/apply.py."""

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
            await ask(stage, "eth_chainId")
            return
        except ChainError:
            if anvil.ended or time.monotonic() > deadline:
                raise ActorFailed(f"anvil does not answer at {stage.rpc}\n{anvil.tail()}") from None
            await asyncio.sleep(0.03)


async def deploy(troupe: Troupe, stage: Stage) -> None:
    """Deploy the registry and an owner's curator."""
    await brownie(troupe, stage, "deploy", "deploy", "main", f"record={stage.deployment}")


def contracts(stage: Stage) -> dict[str, dict[str, Any]]:
    """What the deployment file says: address and block of each contract."""
    document: dict[str, dict[str, dict[str, Any]]] = json.loads(stage.deployment.read_text())
    return document["contracts"]


def address_of(stage: Stage, contract: str) -> Address:
    """Where a contract is."""
    return Address(bytes.fromhex(contracts(stage)[contract]["address"][2:]))


def listing_steps(proofs: Mapping[int, Sequence[object]], kind: str = MAILSERVER) -> list[Step]:
    """Steps of a plan: make the providers, each from an account of its own; list their nodes."""
    return [
        *(
            {"do": "providers create", "metadata": f"https://provider-{provider}.example/", "account": provider}
            for provider in sorted(proofs)
        ),
        *(nodes_step(provider, kind, each) for provider, each in sorted(proofs.items())),
    ]


def nodes_step(provider: int, kind: str, proofs: Sequence[object]) -> Step:
    """Step of a plan: a provider lists nodes."""
    return {
        "do": "nodes add",
        "provider": provider,
        "kind": kind,
        "proofs": proofs,
        "expires": "30d",
        "account": provider,
    }


async def carry_out(troupe: Troupe, stage: Stage, name: str, steps: Sequence[Step]) -> None:
    """Have Brownie carry out a plan."""
    path = stage.folder / f"{name}.json"
    path.write_text(json.dumps(steps, indent=2))
    await brownie(troupe, stage, name, "apply", "main", str(path), f"deployment={stage.deployment}")


async def remove_node(troupe: Troupe, stage: Stage, provider: int, address: str) -> None:
    """The provider removes one of its nodes."""
    options = (f"account={provider}", f"deployment={stage.deployment}")
    await brownie(troupe, stage, "remove", "nodes", "remove", str(provider), MAILSERVER, address, *options)


async def brownie(troupe: Troupe, stage: Stage, name: str, *arguments: str) -> None:
    """`brownie run`, with these words. One at a time: Brownie writes a file of its project at every start."""
    command = [stage.brownie, "run", *arguments, "--network", NETWORK]
    await troupe.run(f"brownie {name}", command, within=BROWNIE, cwd=PROJECT)


async def has_code(stage: Stage, address: str) -> bool:
    """Whether there is a contract at the address."""
    return await ask(stage, "eth_getCode", address, "latest") not in ("0x", None)


async def is_listed(stage: Stage, provider: int, kind: int, node: str) -> bool:
    """Whether the registry lists the node as the provider's, for the kind."""
    found = await call(stage, "NodeRegistry", "isListed(uint256,uint256,address)", provider, kind, int(node, 16))
    return bool(found[0])


async def is_known(stage: Stage, node: str) -> bool:
    """Whether anybody lists the node as anything."""
    return (await call(stage, "NodeRegistry", "nodeOf(address)", int(node, 16)))[1] != 0


async def ask(stage: Stage, method: str, *parameters: object) -> object:
    """One request to the chain."""
    return await asyncio.to_thread(request, stage.rpc, method, list(parameters))


async def call(stage: Stage, contract: str, signature: str, *arguments: int) -> list[int]:
    """The words that a view of a contract returns."""
    encoded = b"".join(argument.to_bytes(32, "big") for argument in arguments)
    answers = await asyncio.to_thread(call_contract, [stage.rpc], address_of(stage, contract), [(signature, encoded)])
    return [int.from_bytes(answers[0][at : at + 32], "big") for at in range(0, len(answers[0]), 32)]


async def texts(stage: Stage, contract: str, event: str, word: int) -> list[str]:
    """What a contract's events of one kind hold in their text, whose place is in that word of the data."""
    where = {
        "address": "0x" + address_of(stage, contract).hex(),
        "fromBlock": hex(contracts(stage)[contract]["block"]),
        "topics": ["0x" + keccak256(event.encode()).hex()],
    }
    logs = await ask(stage, "eth_getLogs", where)
    found = []
    for log in logs if isinstance(logs, list) else ():
        data = bytes.fromhex(log["data"][2:])
        at = int.from_bytes(data[word * 32 : word * 32 + 32], "big")
        size = int.from_bytes(data[at : at + 32], "big")
        found.append(data[at + 32 : at + 32 + size].decode())
    return found


async def account(stage: Stage, number: int) -> int:
    """The address of an account that the chain itself holds."""
    accounts = await ask(stage, "eth_accounts")
    assert isinstance(accounts, list)
    return int(accounts[number], 16)


async def put_forward(stage: Stage, seconds: int) -> None:
    """Let the chain's clock jump, and a block come after the jump: anvil can, a live chain cannot."""
    await ask(stage, "evm_increaseTime", seconds)
    await ask(stage, "evm_mine")


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
