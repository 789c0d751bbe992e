"""A chain of one's own for system tests: anvil on a free port, the contracts, and roles with accounts.

The contracts come from the build folder that `brownie compile` makes; without it, or without anvil, `World`
raises Unavailable and the test is skipped.
"""

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

from web3 import HTTPProvider, Web3

from offchain.config import ChainConfig, ContractRef
from offchain.possession import Terms, authorize
from offchain.types import MAILSERVER, Address, KindId, ProviderId, node_address

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "contracts"
START_TIME = 15.0
MAILSERVER_KIND = KindId(1)
ACCEPTED, REJECTED = 1, 2
DAY = 24 * 3600


class Unavailable(Exception):
    """What the test needs is not installed or not built."""


class World:
    """The chain. Methods are synchronous: call them with asyncio.to_thread while nodes run."""

    def __init__(self, state=None, slots=1):
        """`state` is a file in which the chain outlives `stop`; two epochs of `slots` blocks are not final."""
        self._command = find_anvil()
        if not all((BUILD / f"{name}.json").exists() for name in ("NodeRegistry", "OwnerCurator")):
            raise Unavailable("the contracts are not compiled; run: brownie compile")
        self._state, self._slots = state, slots
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.web3 = Web3(HTTPProvider(self.url, request_kwargs={"timeout": 10}))
        self.start()
        try:
            self.owner, self.stranger, *self.operators = self.web3.eth.accounts
            self.registry, self.registry_block = self._deploy("NodeRegistry", self.owner)
            self.curator, self.curator_block = self._deploy("OwnerCurator", self.owner)
        except BaseException:
            self.close()
            raise

    def start(self, *, another=False):
        """Begin, or go on with the chain that the state file holds; or with another one in its place."""
        command = [self._command, "--port", str(self.port), "--silent", "--block-base-fee-per-gas", "0"]
        command += ["--slots-in-an-epoch", str(self._slots)]
        if self._state is not None and not another:
            command += ["--state", str(self._state), "--preserve-historical-states"]
        self._anvil = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._wait_for_chain()
        except BaseException:
            self.close()
            raise

    def stop(self):
        """End the process; with a state file the chain can go on."""
        self._anvil.terminate()
        self._anvil.wait(60)

    close = stop

    def config(self, folder, **changes):
        """How a node follows this chain."""
        fields = {
            "rpc": (self.url,),
            "chain_id": self.web3.eth.chain_id,
            "registry": ContractRef(address_of(self.registry), self.registry_block),
            "curators": (ContractRef(address_of(self.curator), self.curator_block),),
            "database": folder / "chain.sqlite",
            "poll_interval": 0.05,
        }
        return ChainConfig(**{**fields, **changes})

    @property
    def curator_address(self):
        """The curator as the policy names it."""
        return address_of(self.curator)

    def create_provider(self, operator):
        """A new provider of an account; its id."""
        self._send(self.registry.functions.createProvider("https://provider.example"), operator)
        return ProviderId(self.registry.functions.providerCount().call())

    def list_node(self, provider, operator, key):
        """List a node with its key's consent."""
        now = self.web3.eth.get_block("latest")["timestamp"]
        node = node_address(key.public.node_id)
        generation = self.registry.functions.nodeOf(node).call()[4] + 1
        terms = Terms(
            key.public.node_id,
            provider,
            MAILSERVER,
            MAILSERVER_KIND,
            generation,
            now + DAY,
            self.web3.eth.chain_id,
            address_of(self.registry),
        )
        proof = authorize(key, terms)
        proofs = [(terms.node_id, terms.deadline, proof.r, proof.vs)]
        self._send(self.registry.functions.addNodes(provider, MAILSERVER_KIND, now + 30 * DAY, proofs), operator)

    def remove_node(self, provider, operator, key):
        """Take a node off its provider's list; the block it happened in."""
        node = node_address(key.public.node_id)
        predecessor, cursor = bytes(20), bytes(20)
        nodes, _ = self.registry.functions.nodesOf(provider, MAILSERVER_KIND, cursor, 100).call()
        for each in nodes:
            if bytes.fromhex(each[2:]) == node:
                break
            predecessor = bytes.fromhex(each[2:])
        call = self.registry.functions.removeNodes(provider, MAILSERVER_KIND, [node], [predecessor])
        return self._send(call, operator)

    def judge(self, provider, status):
        """The curator's verdict on a provider; the block it was given in."""
        return self._send(self.curator.functions.setVerdict(provider, MAILSERVER_KIND, status, 0), self.owner)

    def vouched(self, provider, block="latest"):
        """The addresses of the nodes that a provider lists, if the curator accepts it, by the contracts' own views."""
        verdict = self.curator.functions.verdict(provider, MAILSERVER_KIND).call(block_identifier=block)
        if verdict[0] != ACCEPTED:
            return set()
        call = self.registry.functions.nodesOf(provider, MAILSERVER_KIND, "0x" + "00" * 20, 100)
        return {bytes.fromhex(address[2:]) for address in call.call(block_identifier=block)[0]}

    def reorganise(self, depth):
        """Replace the last blocks by empty ones. No `removed` logs are sent."""
        self.rpc("anvil_reorg", depth, [])

    def rpc(self, method, *params):
        """The answer to a call of the chain's own."""
        answer = self.web3.provider.make_request(method, list(params))
        assert "error" not in answer, answer
        return answer["result"]

    def mine(self, blocks):
        """Let blocks pass, so that what was done becomes final."""
        self.rpc("anvil_mine", hex(blocks))

    def _deploy(self, name, *arguments):
        built = json.loads((BUILD / f"{name}.json").read_text())
        contract = self.web3.eth.contract(abi=built["abi"], bytecode=built["bytecode"])
        receipt = self._receipt(contract.constructor(*arguments).transact({"from": self.owner}))
        return self.web3.eth.contract(receipt["contractAddress"], abi=built["abi"]), receipt["blockNumber"]

    def _send(self, call, sender):
        return self._receipt(call.transact({"from": sender}))["blockNumber"]

    def _receipt(self, transaction):
        receipt = self.web3.eth.wait_for_transaction_receipt(transaction, timeout=10, poll_latency=0.02)
        assert receipt["status"] == 1, "the transaction reverted"
        return receipt

    def _wait_for_chain(self):
        deadline = time.monotonic() + START_TIME
        while not self.web3.is_connected():
            if self._anvil.poll() is not None or time.monotonic() > deadline:
                raise Unavailable("anvil does not start")
            time.sleep(0.05)


def find_anvil():
    """The chain's program."""
    anvil = shutil.which("anvil", path=str(ROOT / "node_modules" / ".bin")) or shutil.which("anvil")
    if anvil is None:
        raise Unavailable("anvil is not installed; run: make setup")
    return anvil


def address_of(contract):
    """A contract's address as 20 bytes."""
    return Address(bytes.fromhex(contract.address[2:]))


def free_port():
    """A TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
