"""Endpoints that lie, each in its own way, and a scene in which trusted nodes follow a chain through them.

`TELLING` are the lies that some proof contradicts; `HARMLESS` those that only deny us something. `Scene` is time, chain
and endpoints: the liar is asked first, and two honest endpoints stand behind it.
"""

import asyncio
import copy
import random

from offchain.config import ChainConfig, ContractRef
from offchain.hashing import keccak256
from offchain.trust import Policy, TrustedNodes
from offchain.types import MAILSERVER
from tests.support.chain import (
    CHAIN_ID,
    CURATOR,
    REGISTRY,
    FakeChain,
    FakeNode,
    FakeRpc,
    Refuses,
    node_id,
    node_ids,
    nodes_added,
    nodes_removed,
    provider_created,
    raw_log,
    to_json,
    verdict_changed,
)

PATIENCE = 36.0


class Liar(FakeNode):
    """An endpoint that answers truly until `lying`, then says what `lie` makes of the true answer."""

    lying = True

    def answer(self, method, params):
        if not self.lying:
            return super().answer(method, params)
        return self.lie(method, params, lambda: FakeNode.answer(self, method, params))

    def lie(self, method, params, true):
        raise NotImplementedError


def _of_registry(log):
    return log["address"] == "0x" + REGISTRY.hex()


class _AboutLogs(Liar):
    def lie(self, method, params, true):
        return self.logs(true()) if method == "eth_getLogs" else true()


class OmitsEverything(_AboutLogs):
    def logs(self, logs):
        return [log for log in logs if not _of_registry(log)]


class OmitsTheLast(_AboutLogs):
    def logs(self, logs):
        return logs[:-1] if logs and _of_registry(logs[-1]) else logs


class OmitsRemovals(_AboutLogs):
    def logs(self, logs):
        topic = "0x" + nodes_removed(1, []).topics()[0].hex()
        return [log for log in logs if log["topics"][0] != topic]


class OmitsVerdicts(_AboutLogs):
    def logs(self, logs):
        return [log for log in logs if _of_registry(log)]


class AltersANode(_AboutLogs):
    def logs(self, logs):
        topic = "0x" + nodes_added(1, []).topics()[0].hex()
        return [{**log, "data": log["data"][:-64] + "ee" * 32} if log["topics"][0] == topic else log for log in logs]


class AltersAVersion(_AboutLogs):
    def logs(self, logs):
        return [{**log, "data": "0x" + "f" + log["data"][3:]} if _of_registry(log) else log for log in logs]


class AltersABlockHash(_AboutLogs):
    def logs(self, logs):
        return [{**log, "blockHash": "0x" + "ab" * 32} for log in logs]


class Repeats(_AboutLogs):
    def logs(self, logs):
        return [each for log in logs for each in (log, log)]


class RepeatsWithAnotherIndex(_AboutLogs):
    def logs(self, logs):
        return logs + [{**log, "logIndex": hex(int(log["logIndex"], 16) + 1)} for log in logs[-1:]]


class Reorders(_AboutLogs):
    def logs(self, logs):
        return logs[::-1] if len(logs) > 1 else logs * 2


class SwapsTheContent(_AboutLogs):
    """The positions are in order, what is said there is not."""

    def logs(self, logs):
        if len(logs) < 2:
            return self.alone(logs)
        return [
            {**log, "data": other["data"], "topics": other["topics"], "address": other["address"]}
            for log, other in zip(logs, logs[::-1], strict=True)
        ]

    @staticmethod
    def alone(logs):
        return [{**log, "topics": [*log["topics"][:1], "0x" + "00" * 31 + "02", *log["topics"][2:]]} for log in logs]


class MarksAsRemoved(_AboutLogs):
    def logs(self, logs):
        return [{**log, "removed": True} for log in logs]


class AddsAForeignLog(_AboutLogs):
    def logs(self, logs):
        return [*logs, {**logs[-1], "address": "0x" + "99" * 20, "logIndex": "0xff"}] if logs else logs


class InventsANode(_AboutLogs):
    def logs(self, logs):
        version = self.chain.head.commitment.version
        if not logs:
            return logs
        last = logs[-1]
        block, index = int(last["blockNumber"], 16), int(last["logIndex"], 16)
        said = nodes_added(1, node_ids(666))
        forged = raw_log(said, version + 1, block, index + 1, bytes.fromhex(last["blockHash"][2:]))
        return [*logs, to_json(forged)]


class _InACuratorsName(_AboutLogs):
    """An event of the registry as if a curator had emitted it: no log commitment is over what curators say."""

    def logs(self, logs):
        if not logs:
            return logs
        last = logs[-1]
        block, index = int(last["blockNumber"], 16), int(last["logIndex"], 16)
        forged = raw_log(self.said, 77, block, index + 1, bytes.fromhex(last["blockHash"][2:]))
        return [*logs, {**to_json(forged), "address": "0x" + CURATOR.hex()}]


class SaysANodeInACuratorsName(_InACuratorsName):
    said = nodes_added(1, node_ids(666))


class RemovesInACuratorsName(_InACuratorsName):
    said = nodes_removed(1, node_ids(1))


class ListsANodeAgain(Liar):
    """A range whose only log has the next version and adds a node that is listed: in order, and against what was."""

    asked = staticmethod(lambda: None)
    """Called when it is asked for logs."""

    def lie(self, method, params, true):
        if method != "eth_getLogs":
            return true()
        self.asked()
        number = int(params[0]["fromBlock"], 16)
        version = self.chain.blocks[number - 1].commitment.version + 1
        return [to_json(raw_log(nodes_added(1, node_ids(3)), version, number, 0, self.chain.blocks[number].hash))]


class InventsAVerdict(_AboutLogs):
    def logs(self, logs):
        if not logs:
            return logs
        last = to_json(raw_log(verdict_changed(2, 1)))
        position = {name: logs[-1][name] for name in ("blockNumber", "blockHash", "transactionHash")}
        return [*logs, {**last, **position, "logIndex": hex(int(logs[-1]["logIndex"], 16) + 1)}]


class _AboutHeaders(Liar):
    def lie(self, method, params, true):
        answer = true()
        return self.header(copy.deepcopy(answer)) if method.startswith("eth_getBlock") and answer else answer


class HeaderWithAnotherState(_AboutHeaders):
    def header(self, header):
        return {**header, "stateRoot": "0x" + "12" * 32}


class HeaderWithAnotherHash(_AboutHeaders):
    def header(self, header):
        return {**header, "hash": "0x" + "12" * 32}


class HeaderWithoutBloom(_AboutHeaders):
    def header(self, header):
        return {**header, "logsBloom": "0x" + "00" * 256}


class _AboutProofs(Liar):
    def lie(self, method, params, true):
        return self.proof(true(), params) if method == "eth_getProof" else true()


class BreaksProofs(_AboutProofs):
    def proof(self, proof, params):
        nodes = proof["accountProof"]
        return {**proof, "accountProof": [*nodes[:-1], nodes[-1][:-2] + "77"]}


class TruncatesProofs(_AboutProofs):
    def proof(self, proof, params):
        return {**proof, "storageProof": [{"proof": []} for _ in proof["storageProof"]]}


class ProvesAnotherBlock(_AboutProofs):
    def proof(self, proof, params):
        contract, slots, number = params
        return FakeNode.eth_getProof(self, contract, slots, hex(max(int(number, 16) - 3, 1)))


class ProvesAnotherSlot(_AboutProofs):
    def proof(self, proof, params):
        contract, slots, number = params
        return FakeNode.eth_getProof(self, contract, ["0x" + keccak256(b"another").hex() for _ in slots], number)


class _Forger(Liar):
    """Serves a chain of its own, made with care: all its headers, logs and proofs fit each other."""

    forged = None

    def lie(self, method, params, true):
        if self.forged is None:
            self.forged = self.forge()
        return getattr(FakeNode(self.forged, chain_id=self.chain_id), method)(*params)


class ForgesTheHead(_Forger):
    def forge(self):
        chain = self.chain.copy()
        chain.drop(1)
        chain.mine(nodes_removed(1, node_ids(1)))
        chain.mine(nodes_added(1, node_ids(666)))
        chain.pass_blocks(3)
        return chain


class ForgesHistory(_Forger):
    salt = 99

    def forge(self):
        chain = FakeChain.started(self.chain.depth)
        chain.salt = self.salt
        chain.mine(nodes_added(1, node_ids(666)))
        chain.pass_blocks(len(self.chain.blocks))
        return chain


class ForgesAnotherHistory(ForgesHistory):
    salt = 98


class WrongChain(Liar):
    def lie(self, method, params, true):
        return hex(CHAIN_ID + 1) if method == "eth_chainId" else true()


class OddChainId(Liar):
    def lie(self, method, params, true):
        return "chain" if method == "eth_chainId" else true()


class CallsTheHeadFinal(Liar):
    def lie(self, method, params, true):
        if method == "eth_getBlockByNumber" and params[0] in ("finalized", "safe"):
            return self.chain.head.header
        return true()


class StaysAtAnOldBlock(Liar):
    """From when it starts to lie, time stands still for it."""

    old = None

    def lie(self, method, params, true):
        if self.old is None:
            self.old = self.chain.copy()
        return getattr(FakeNode(self.old, chain_id=self.chain_id), method)(*params)


class GoesBack(StaysAtAnOldBlock):
    """Shows a chain that is shorter than what it showed before."""

    def lie(self, method, params, true):
        if self.old is None:
            self.old = self.chain.copy()
            self.old.drop(min(self.chain.depth, len(self.old.blocks) - 1))
        return super().lie(method, params, true)


class SendsAnotherBlock(Liar):
    """Whatever parent is asked for, it sends the first block."""

    def lie(self, method, params, true):
        return self.chain.blocks[1].header if method == "eth_getBlockByHash" else true()


class SlowToIndex(Liar):
    """Has no logs of a block when it is asked first."""

    asked = frozenset()

    def lie(self, method, params, true):
        if method == "eth_getLogs" and "blockHash" in params[0] and params[0]["blockHash"] not in self.asked:
            self.asked |= {params[0]["blockHash"]}
            return []
        return true()


class RefusesLogs(Liar):
    def lie(self, method, params, true):
        if method == "eth_getLogs":
            raise Refuses("rate limit exceeded")
        return true()


class RefusesProofs(Liar):
    def lie(self, method, params, true):
        if method == "eth_getProof":
            raise Refuses("the method is not available")
        return true()


class KnowsNothing(Liar):
    def lie(self, method, params, true):
        return true() if method == "eth_chainId" else None


class Babbles(Liar):
    """Answers with any JSON there is; the same for the same seed."""

    seed = 0
    rng = None

    def lie(self, method, params, true):
        self.rng = self.rng or random.Random(self.seed)
        if method == "eth_chainId" or self.rng.random() < 0.4:
            return true()
        return self.garble(true(), 0)

    def garble(self, value, depth):
        rng = self.rng
        if depth and rng.random() < 0.8:
            if isinstance(value, list) and value:
                at = rng.randrange(len(value))
                return [*value[:at], self.garble(value[at], depth), *value[at + 1 :]]
            if isinstance(value, dict) and value:
                name = rng.choice(sorted(value))
                return {**value, name: self.garble(value[name], depth)}
            if isinstance(value, str) and len(value) > 2:
                at = rng.randrange(len(value))
                return value[:at] + rng.choice(["0", "f", "x", "-", "", "_", "\u00e9", "00"]) + value[at + 1 :]
        if not depth and rng.random() < 0.7:
            return self.garble(value, 1)
        return rng.choice([None, "", "0x", "0x" + "f" * 64, -1, 0, 2**70, 1.5, True, [], {}, [[]], "0x-1"])


TELLING = (
    OmitsEverything,
    OmitsTheLast,
    OmitsRemovals,
    OmitsVerdicts,
    AltersANode,
    AltersAVersion,
    Repeats,
    RepeatsWithAnotherIndex,
    Reorders,
    SwapsTheContent,
    MarksAsRemoved,
    AddsAForeignLog,
    InventsANode,
    SaysANodeInACuratorsName,
    RemovesInACuratorsName,
    InventsAVerdict,
    HeaderWithAnotherState,
    HeaderWithAnotherHash,
    HeaderWithoutBloom,
    BreaksProofs,
    TruncatesProofs,
    ProvesAnotherBlock,
    ProvesAnotherSlot,
    ForgesTheHead,
    ForgesHistory,
    WrongChain,
    OddChainId,
    StaysAtAnOldBlock,
    GoesBack,
    RefusesLogs,
    RefusesProofs,
    KnowsNothing,
    AltersABlockHash,
)
"""Lies after which the liar must have been named and left."""

HARMLESS = (CallsTheHeadFinal,)
"""Lies of which nothing comes, so that nobody need notice."""


class Scene:
    """A chain, endpoints, a clock; and who is to be trusted, by the chain itself."""

    def __init__(self, folder, *liars, honest=2, depth=3, **config):
        self.chain = FakeChain.started(depth)
        self.now = 0.0
        self._settled = 0
        self.nodes = [liar(self.chain) for liar in liars] + [FakeNode(self.chain) for _ in range(honest)]
        self.rpc = FakeRpc(*self.nodes)
        self.liars = [self.rpc.endpoints[at] for at in range(len(liars))]
        self.everyone = list(self.rpc.endpoints)
        fields = {
            "rpc": tuple(endpoint.url for endpoint in self.rpc.endpoints),
            "chain_id": CHAIN_ID,
            "registry": ContractRef(REGISTRY, 1),
            "curators": (ContractRef(CURATOR, 1),),
            "database": folder / "chain.sqlite",
            "poll_interval": 0.002,
            "head_silence": PATIENCE,
        }
        self.config = ChainConfig(**{**fields, **config})
        self.policy = Policy(curators=(CURATOR,))
        self.never = {node_id(666), b"\xee" * 32}
        """Nodes that the registry never listed."""

    def clock(self):
        """The time of the head, and what `wait` lets pass."""
        return int(self.chain.head.header["timestamp"], 16) + self.now

    def open(self):
        """The trusted nodes, not yet entered."""
        return TrustedNodes(self.config, self.policy, clock=self.clock, rpc=self.rpc)

    def listed(self, block):
        """The nodes listed by accepted providers after a block, by the chain itself."""
        listed, accepted = {}, {}
        for each in self.chain.blocks[: block.number + 1]:
            for said in each.said:
                name = said.event.__name__
                if name == "NodesAdded":
                    listed.update(dict.fromkeys(said.values[1], said.indexed[0]))
                elif name == "NodesRemoved":
                    gone = {bytes.fromhex(address[2:]) for address in said.values[1]}
                    listed = {node: by for node, by in listed.items() if node[12:] not in gone}
                elif name == "VerdictChanged":
                    accepted[said.indexed[0]] = said.values[0] == 1
        return {node for node, provider in listed.items() if accepted.get(provider)}

    def expected(self):
        """Who is to be trusted when all is taken in."""
        return self.listed(self.chain.final) & self.listed(self.chain.head)

    def trusted(self, trusted):
        """Who is trusted."""
        return {node.node_id for node in trusted.nodes(MAILSERVER)}

    async def settle(self, trusted, seconds=60.0):
        """Until all is taken in; time passes quickly meanwhile, and at last blocks come.

        At no moment may a node be trusted that no final block lists, of those since all was taken in last.
        """
        finals = self.chain.blocks[min(self._settled, self.chain.final.number) : self.chain.final.number + 1]
        allowed = set().union(*(self.listed(block) for block in finals))
        rounds = 0
        async with asyncio.timeout(seconds):
            while True:
                found = self.trusted(trusted)
                assert found <= allowed, "trusted, but not listed by a final block"
                assert not found & self.never
                status = trusted.status()
                if (
                    status["head"] == self.chain.head.number
                    and (trusted.trusted_set.proven_block or 0) >= self.chain.final.number
                    and trusted.trusted_set.alarm is None
                    and found == self.expected()
                ):
                    self._settled = self.chain.final.number
                    return
                self.now += 0.2
                rounds += 1
                if rounds % 250 == 0:
                    self.chain.pass_blocks(1)
                    allowed |= self.listed(self.chain.final)
                await asyncio.sleep(0.001)

    async def breathe(self):
        """Let a few polls happen."""
        await asyncio.sleep(0.003)

    def first_years(self):
        """A history with everything in it."""
        self.chain.mine(nodes_added(1, node_ids(1, 2, 3)), nodes_added(2, node_ids(10, 11)))
        self.chain.mine(nodes_removed(1, node_ids(2)))
        self.chain.mine(verdict_changed(2, 2))
        self.chain.mine(provider_created(3), nodes_added(3, node_ids(20)), verdict_changed(3, 1))
        self.chain.mine(verdict_changed(3, 2))
        self.chain.mine(nodes_removed(2, node_ids(10)))
        self.chain.mine(nodes_added(1, node_ids(4)))
        self.chain.pass_blocks(self.chain.depth + 1)
