"""Deploy contracts one after the other so that it can be stopped anywhere and taken up again.

The record, deployments/<network>.json, is written before each contract is sent (under `pending`, with the address that
it will have) and after it is confirmed (under `contracts`). A deployment that died is run again with the same options:
what is confirmed stays, what was sent is waited for, what was not sent is sent. Calls that connect contracts ask the
chain first whether they are still needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import rlp
from brownie import chain, network, web3
from eth_utils import keccak, to_canonical_address, to_checksum_address

from scripts import live
from scripts.refusal import Refusal


@dataclass(frozen=True)
class Planned:
    """A contract that a dry run would deploy."""

    _name: str
    address: str

    def __str__(self) -> str:
        return self.address


@dataclass
class Deployment:
    """One run, from one account; without a path nothing is recorded."""

    sender: object
    confirmations: int = 1
    path: Path | None = None
    dry_run: bool = False
    _gas: int = field(default=0, init=False)
    _sent: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._document = {"network": network.show_active(), "chainId": chain.id, "contracts": {}}
        if self.path is not None and self.path.exists():
            self._document = self._read()

    def holds(self, *names: str) -> bool:
        """Whether the record has all these contracts."""
        return all(name in self._document["contracts"] for name in names)

    def contract(self, container, *arguments):
        """A contract of this deployment: as recorded, or deployed now."""
        name = container._name
        code = _bytes(container.deploy.encode_input(*map(_plain, arguments)))
        if entry := self._document["contracts"].get(name):
            return self._known(container, entry["address"], entry.get("transaction"), code)
        begun = self._document.get("pending", {}).get(name)
        if begun is not None and (digest := self._taken_up(name, begun)) is not None:
            made = self._known(container, begun["address"], digest, code)
            return made if self.dry_run else self._finished(made, begun, digest)
        return self._deployed(container, arguments, code)

    def call(self, needed: Callable[[], bool], contract, function: str, *arguments, words: str) -> None:
        """Call a function, unless the chain says that it is not needed any more."""
        if isinstance(contract, Planned):
            print(f"would {words}: {contract._name}.{function}")
            return
        if not needed():
            return
        if self.dry_run:
            print(f"would {words}: {contract._name}.{function}")
            return
        with live.refusals(self.sender):
            tx = getattr(contract, function)(*arguments, {"from": self.sender, "required_confs": 1})
            live.settle(tx.txid, self.confirmations)

    def tell_cost(self) -> None:
        """At the end of a dry run: the gas of all deployments; Refusal if the sender cannot pay for it."""
        cost = live.afford(self.sender, self._gas)
        print(f"together about {self._gas:,} gas for the contracts{cost}; nothing was sent")

    # Inside

    def _read(self) -> dict:
        try:
            document = json.loads(self.path.read_text())
            chain_id, _ = document["chainId"], document["contracts"]
        except (ValueError, KeyError, TypeError) as error:
            raise Refusal(f"{self.path} is no record of a deployment: {error!r}") from None
        if chain_id != chain.id:
            raise Refusal(f"{self.path} is of chain {chain_id}, this is chain {chain.id}")
        places = [entry["address"] for entry in document["contracts"].values()]
        if chain.id in live.LOCAL_CHAINS and not any(map(web3.eth.get_code, places)):
            return self._document  # a local chain that was started anew
        return document

    def _write(self) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".tmp")
        draft.write_text(json.dumps(self._document, indent=2) + "\n")
        draft.replace(self.path)

    def _known(self, container, place: str, digest, code: bytes):
        """What an earlier run deployed; Refusal if it is not what would be deployed now."""
        name = container._name
        if not web3.eth.get_code(place):
            raise Refusal(f"{self.path} says that {name} is at {place}, but there is no contract")
        if digest is not None:
            sent = bytes(live.transaction(digest)["input"])
            if not sent.startswith(_bytes(container.bytecode)):
                raise Refusal(f"what is at {place} is not this {name}: its sources have changed since")
            if sent != code:
                raise Refusal(
                    f"{name} at {place} has other arguments of its constructor: go on with the account and the options "
                    "that it was begun with"
                )
        print(f"{name} is at {place} already")
        return container.at(place, persist=False)

    def _deployed(self, container, arguments, code: bytes):
        name, nonce = container._name, web3.eth.get_transaction_count(str(self.sender)) + self._sent
        place = created_at(str(self.sender), nonce)
        with live.refusals(self.sender):
            gas = web3.eth.estimate_gas({"from": str(self.sender), "data": "0x" + code.hex()})
        if self.dry_run:
            print(f"would deploy {name} to chain {chain.id} at {place}, {gas:,} gas")
            self._gas, self._sent = self._gas + gas, self._sent + 1
            return Planned(name, place)
        live.afford(self.sender, gas)
        begun = {
            "address": place,
            "deployer": str(self.sender),
            "nonce": nonce,
            "arguments": "0x" + code[len(_bytes(container.bytecode)) :].hex(),
            "since": chain.height,
        }
        self._document.setdefault("pending", {})[name] = begun
        self._write()
        with live.refusals(self.sender):
            made = container.deploy(*arguments, {"from": self.sender, "nonce": nonce, "required_confs": 1})
        return self._finished(made, begun, made.tx.txid)

    def _finished(self, contract, begun: dict, digest):
        receipt = live.settle(digest, self.confirmations)
        if receipt["contractAddress"] != begun["address"]:
            raise Refusal(f"{begun['address']} was not made by {live.shown(digest)}, which should have made it")
        self._document["contracts"][contract._name] = {
            "address": contract.address,
            "block": receipt["blockNumber"],
            "transaction": live.shown(digest),
            "deployer": begun["deployer"],
            "arguments": begun["arguments"],
        }
        del self._document["pending"][contract._name]
        if not self._document["pending"]:
            del self._document["pending"]
        self._write()
        return contract

    def _taken_up(self, name: str, begun: dict):
        """The hash of the transaction that an earlier run sent; None if it was not sent, or came to nothing."""
        deployer, nonce = begun["deployer"], begun["nonce"]
        if deployer != str(self.sender):
            raise Refusal(f"{self.path} was begun by {deployer}: go on with that account")
        if web3.eth.get_transaction_count(deployer, "pending") <= nonce:
            return None
        if web3.eth.get_transaction_count(deployer) <= nonce:
            if self.dry_run:
                raise Refusal(f"{name} was sent by an earlier run, and waits to be in a block: nothing to try before")
            print(f"{name} was sent by an earlier run; waiting for it")
            live.until(lambda: web3.eth.get_transaction_count(deployer) > nonce, f"{name} is in no block yet")
        return live.sent_as(deployer, nonce, begun["since"]) if web3.eth.get_code(begun["address"]) else None


def created_at(deployer: str, nonce: int) -> str:
    """The address of a contract that an account creates with its transaction of this number."""
    return to_checksum_address(keccak(rlp.encode([to_canonical_address(deployer), nonce]))[12:])


def _plain(argument):
    return argument.address if isinstance(argument, Planned) else argument


def _bytes(code: str) -> bytes:
    return bytes.fromhex(code.removeprefix("0x"))
