"""A chain that is a list of blocks: the registry's and a curator's logs, real header hashes, a real state trie.

`FakeChain` is the truth. `FakeNode` answers JSON-RPC about it and can be told to lie. `FakeRpc` is the product's own
client with the network taken out.
"""

import json
from dataclasses import dataclass, field

import msgspec
from eth_abi import encode

from offchain import rlp
from offchain.chain import events
from offchain.chain.answer import read_fast
from offchain.chain.commitment import COMMITMENT_SLOT, Commitment, verdict_slot
from offchain.chain.events import TOPICS, RawLog, plain_log
from offchain.chain.rpc import Rpc, Unreachable
from offchain.hashing import keccak256
from offchain.types import Address, KindId, NodeId, ProviderId
from tests.support.fake_sockets import FakeSockets

REGISTRY = Address(b"\x11" * 20)
CURATOR = Address(b"\xcc" * 20)
OTHER_CURATOR = Address(b"\xdd" * 20)
ADMIN = Address(b"\xaa" * 20)
CHAIN_ID = 31337
CODE_HASH = keccak256(b"the registry's code")
GENESIS_TIME = 1_700_000_000
LATER = 2_000_000_000
"""An expiry that no test reaches."""
MAILSERVERS = KindId(1)


def node_id(number):
    """The id of a node; the same for the same number."""
    return NodeId(keccak256(b"node %d" % number))


def node_ids(*numbers):
    """The ids of nodes."""
    return [node_id(number) for number in numbers]


def word(value):
    """A number or address as 32 bytes."""
    return value.to_bytes(32, "big") if isinstance(value, int) else bytes(value).rjust(32, b"\0")


@dataclass(frozen=True)
class Said:
    """What a contract says in a log, before it has a place on the chain. Without a version if it is a curator's."""

    contract: Address
    event: type
    indexed: tuple
    types: tuple
    values: tuple

    def topics(self):
        return [TOPICS[self.event], *(word(value) for value in self.indexed)]

    def data(self, version):
        if self.contract != REGISTRY:
            return encode(self.types, self.values)
        return encode(("uint256", *self.types), (version, *self.values))


def provider_created(provider, uri="https://provider.example"):
    return Said(REGISTRY, events.ProviderCreated, (provider, ADMIN), ("string",), (uri,))


def kind_created(kind, name):
    return Said(REGISTRY, events.KindCreated, (kind,), ("string",), (name,))


def nodes_added(provider, ids, kind=MAILSERVERS, expires_at=LATER):
    return Said(REGISTRY, events.NodesAdded, (provider, kind), ("uint256", "bytes32[]"), (expires_at, list(ids)))


def nodes_removed(provider, ids, kind=MAILSERVERS, reason=0):
    addresses = ["0x" + each[-20:].hex() for each in ids]
    return Said(REGISTRY, events.NodesRemoved, (provider, kind), ("uint8", "address[]"), (reason, addresses))


def nodes_renewed(provider, ids, kind=MAILSERVERS, expires_at=LATER + 1):
    addresses = ["0x" + each[-20:].hex() for each in ids]
    return Said(REGISTRY, events.NodesRenewed, (provider, kind), ("uint256", "address[]"), (expires_at, addresses))


def verdict_changed(provider, status, kind=0, until=0, weight=0, curator=CURATOR):
    return Said(
        curator, events.VerdictChanged, (provider, kind), ("uint8", "uint64", "uint128"), (int(status), until, weight)
    )


def raw_log(said, version=1, block=1, index=0, block_hash=b"\x0b" * 32, tx=None):
    """A log as JSON-RPC writes it."""
    return RawLog(
        address="0x" + said.contract.hex(),
        topics=["0x" + topic.hex() for topic in said.topics()],
        data="0x" + said.data(version).hex(),
        blockNumber=hex(block),
        blockHash="0x" + block_hash.hex(),
        transactionHash="0x" + (tx or keccak256(b"tx %d %d" % (block, index))).hex(),
        logIndex=hex(index),
    )


def event(said, version=1, block=1, index=0):
    """The event as the product decodes it."""
    return events.decode(plain_log(raw_log(said, version, block, index)))


# State tries


def trie(items):
    """The root of the trie that holds these items, and a function from a key to its proof."""
    nodes = {}
    pairs = [(keccak256(key).hex(), value) for key, value in items.items()]
    top = _node(pairs, nodes) if pairs else b""
    encoded = rlp.encode(top)
    root = keccak256(encoded)
    nodes[root] = encoded

    def prove(key):
        return _proof(root, keccak256(key).hex(), nodes)

    return root, prove


def _node(pairs, nodes):
    if len(pairs) == 1:
        path, value = pairs[0]
        return [_hex_prefix(path, True), value]
    shared = 0
    while len({path[shared] for path, _ in pairs}) == 1:
        shared += 1
    if shared:
        below = _reference(_node([(path[shared:], value) for path, value in pairs], nodes), nodes)
        return [_hex_prefix(pairs[0][0][:shared], False), below]
    branch = []
    for nibble in "0123456789abcdef":
        below = [(path[1:], value) for path, value in pairs if path[0] == nibble]
        branch.append(_reference(_node(below, nodes), nodes) if below else b"")
    return [*branch, b""]


def _reference(node, nodes):
    encoded = rlp.encode(node)
    if len(encoded) < 32:
        return node
    nodes[keccak256(encoded)] = encoded
    return keccak256(encoded)


def _hex_prefix(path, leaf):
    flag = 2 * leaf + len(path) % 2
    return bytes.fromhex(f"{flag:x}" + ("" if len(path) % 2 else "0") + path)


def _proof(root, path, nodes):
    found, item = [], root
    while isinstance(item, list) or item in nodes:
        if not isinstance(item, list):
            found.append(nodes[item])
            item = rlp.decode(nodes[item])
            continue
        if len(item) == 17:
            item, path = item[int(path[0], 16)], path[1:]
            continue
        if not item:
            break
        text = item[0].hex()
        part = text[1:] if int(text[0], 16) % 2 else text[2:]
        if int(text[0], 16) >= 2 or not path.startswith(part):
            break
        item, path = item[1], path[len(part) :]
    return found


# The chain


@dataclass(frozen=True)
class FakeBlock:
    """A block with everything that an endpoint tells of it."""

    number: int
    header: dict
    logs: tuple
    commitment: Commitment
    slots: dict
    """By contract and slot."""
    said: tuple = ()

    @property
    def hash(self):
        return bytes.fromhex(self.header["hash"][2:])


@dataclass
class FakeChain:
    """The truth: blocks, the highest of which may be replaced."""

    depth: int = 2
    """How far below the head the final block is."""
    blocks: list = field(default_factory=list)
    salt: int = 0
    later: int = 0
    """Seconds that passed without blocks."""

    def __post_init__(self):
        if not self.blocks:
            self._append((), Commitment(), {})

    @classmethod
    def started(cls, depth=2):
        """With the registry, a kind and two providers; the curator accepts the first."""
        chain = cls(depth)
        chain.mine(kind_created(1, "mailserver"))
        chain.mine(provider_created(1), provider_created(2))
        chain.mine(verdict_changed(1, 1))
        return chain

    @property
    def head(self):
        return self.blocks[-1]

    @property
    def final(self):
        return self.blocks[max(len(self.blocks) - 1 - self.depth, 0)]

    def mine(self, *said):
        """A block in which the contracts say this."""
        parent = self.head
        commitment, slots, logs = parent.commitment, dict(parent.slots), []
        for each in said:
            version = commitment.version + 1
            if each.contract == REGISTRY:
                payload = b"".join(each.topics()) + each.data(version)
                commitment = Commitment(version, keccak256(commitment.hash + payload)[:28])
            else:
                provider, kind = each.indexed
                status, until, weight = each.values
                slots[each.contract, verdict_slot(ProviderId(provider), KindId(kind))] = word(
                    status | until << 8 | weight << 72
                )
            logs.append((each, version))
        slots[REGISTRY, COMMITMENT_SLOT] = commitment.word
        return self._append(logs, commitment, slots)

    def pass_blocks(self, count):
        """Blocks in which nothing is said."""
        for _ in range(count):
            self.mine()

    def drop(self, depth):
        """Take the highest blocks away; what is mined then has other hashes."""
        del self.blocks[len(self.blocks) - depth :]
        self.salt += 1

    def copy(self):
        """Another chain with the same blocks so far."""
        return FakeChain(self.depth, list(self.blocks), self.salt, self.later)

    @property
    def time(self):
        """The head's, Unix."""
        return int(self.head.header["timestamp"], 16)

    def by_hash(self, block_hash):
        return next((block for block in self.blocks if block.hash == block_hash), None)

    def _append(self, logs, commitment, slots):
        number = len(self.blocks)
        contracts = {REGISTRY, CURATOR, OTHER_CURATOR}
        state_root, _ = trie({contract: self._account(contract, slots) for contract in contracts})
        parent = self.blocks[-1].hash if self.blocks else bytes(32)
        time = GENESIS_TIME + 12 * number + self.later
        header = _header(number, time, parent, state_root, self.salt, bloom_of(said for said, _ in logs))
        block_hash = bytes.fromhex(header["hash"][2:])
        raws = tuple(raw_log(said, version, number, index, block_hash) for index, (said, version) in enumerate(logs))
        block = FakeBlock(number, header, raws, commitment, slots, tuple(said for said, _ in logs))
        self.blocks.append(block)
        return block

    @staticmethod
    def storage(contract, slots):
        """The storage trie of a contract."""
        values = {slot: value for (owner, slot), value in slots.items() if owner == contract and value.strip(b"\0")}
        return trie({slot: rlp.encode(value.lstrip(b"\0")) for slot, value in values.items()})

    @classmethod
    def _account(cls, contract, slots):
        return rlp.encode([1, 0, cls.storage(contract, slots)[0], CODE_HASH])

    @classmethod
    def proof(cls, block, contract, slots):
        """The answer to eth_getProof."""
        _, prove = trie({each: cls._account(each, block.slots) for each in (REGISTRY, CURATOR, OTHER_CURATOR)})
        _, prove_slot = cls.storage(contract, block.slots)
        return {
            "accountProof": ["0x" + node.hex() for node in prove(contract)],
            "storageProof": [{"proof": ["0x" + node.hex() for node in prove_slot(slot)]} for slot in slots],
        }


def bloom_of(said):
    """The bloom filter of a block's logs (Yellow Paper, 4.4.3)."""
    bits = 0
    for each in said:
        for item in (each.contract, *each.topics()):
            digest = keccak256(item)
            for at in (0, 2, 4):
                bits |= 1 << int.from_bytes(digest[at : at + 2], "big") % 2048
    return bits.to_bytes(256, "big")


def _header(number, time, parent, state_root, salt, bloom):
    fields = {
        "parentHash": parent,
        "sha3Uncles": bytes(32),
        "miner": bytes(20),
        "stateRoot": state_root,
        "transactionsRoot": bytes(32),
        "receiptsRoot": bytes(32),
        "logsBloom": bloom,
        "difficulty": 0,
        "number": number,
        "gasLimit": 30_000_000,
        "gasUsed": 0,
        "timestamp": time,
        "extraData": b"%d" % salt,
        "mixHash": bytes(32),
        "nonce": bytes(8),
        "baseFeePerGas": 7,
    }
    raw = {name: hex(value) if isinstance(value, int) else "0x" + value.hex() for name, value in fields.items()}
    return {**raw, "hash": "0x" + keccak256(rlp.encode(list(fields.values()))).hex()}


class Refuses(Exception):
    """The node answers with an error."""


@dataclass
class FakeNode:
    """An endpoint. `omits`, `alters` and the like make it lie about logs; `down` makes it unreachable."""

    chain: FakeChain
    down: bool = False
    chain_id: int = CHAIN_ID
    tamper: object = None
    """A function from a list of logs to the list that it sends."""
    proofs: bool = True
    batches: bool = True
    max_range: int = 10_000
    calls: list = field(default_factory=list)

    def answer(self, method, params):
        self.calls.append((method, params))
        return getattr(self, method)(*params)

    def eth_chainId(self):
        return hex(self.chain_id)

    def eth_getBlockByNumber(self, number, _):
        named = {"latest": self.chain.head, "safe": self.chain.final, "finalized": self.chain.final}
        if number in named:
            return named[number].header
        index = int(number, 16)
        return self.chain.blocks[index].header if index < len(self.chain.blocks) else None

    def eth_getBlockByHash(self, block_hash, _):
        block = self.chain.by_hash(bytes.fromhex(block_hash[2:]))
        return None if block is None else block.header

    def eth_getLogs(self, wanted):
        if "blockHash" in wanted:
            block = self.chain.by_hash(bytes.fromhex(wanted["blockHash"][2:]))
            if block is None:
                raise Refuses("unknown block")
            blocks = [block]
        else:
            first, last = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
            if last - first + 1 > self.max_range:
                raise Refuses(f"query returns too much, limited to a {self.max_range} block range")
            blocks = self.chain.blocks[first : last + 1]
        logs = [log for block in blocks for log in block.logs if log.address in wanted["address"]]
        return [to_json(log) for log in (self.tamper(logs) if self.tamper else logs)]

    def eth_getProof(self, contract, slots, number):
        if not self.proofs:
            raise Refuses("no proofs here")
        block = self.chain.blocks[int(number, 16)]
        return self.chain.proof(block, bytes.fromhex(contract[2:]), [bytes.fromhex(slot[2:]) for slot in slots])


class FakeRpc(Rpc):
    """The product's client, its requests answered by fake nodes."""

    def __init__(self, *nodes):
        super().__init__([f"http://node{index}.example" for index in range(len(nodes))])
        self.nodes = dict(zip((endpoint.url for endpoint in self.endpoints), nodes, strict=True))
        self.sockets = FakeSockets()

    @property
    def session(self):
        return self.sockets

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, tb):
        pass

    def demote(self, endpoint, reason):
        """Without a pause: tests do not wait. The next in turn is asked."""
        endpoint.failures += 1
        endpoint.last_error = reason
        self.endpoints.remove(endpoint)
        self.endpoints.append(endpoint)

    async def _post(self, endpoint, request):
        node = self.nodes[endpoint.url]
        if node.down:
            raise Unreachable(f"{endpoint.name} is down")
        calls = json.loads(request)
        if isinstance(calls, list):
            answer = [self._answer(node, call) for call in calls] if node.batches else self._answer(node, {"id": None})
        else:
            answer = self._answer(node, calls)
        return json.dumps(answer).encode(), 0.001

    @staticmethod
    def _answer(node, call):
        answer = {"jsonrpc": "2.0", "id": call["id"]}
        try:
            if "method" not in call:
                raise Refuses("no batches here")
            answer["result"] = node.answer(call["method"], call["params"])
        except Refuses as refusal:
            answer["error"] = {"code": -32000, "message": str(refusal)}
        return answer


def to_json(log):
    """A log as a JSON object."""
    names = ("address", "topics", "data", "blockNumber", "blockHash", "transactionHash", "logIndex")
    return {name: getattr(log, name) for name in names}


def altered(log, **changes):
    """The same log but for some fields."""
    values = {name: getattr(log, name) for name in log.__struct_fields__}
    return RawLog(**{**values, **changes})


def packed(logs):
    """Logs as the C reader gives them, through an endpoint's words; at least one."""
    written = [
        {
            "address": "0x" + log.address.hex(),
            "topics": ["0x" + log.payload[32 * at : 32 * at + 32].hex() for at in range(log.topic_count)],
            "data": "0x" + log.payload[32 * log.topic_count :].hex(),
            "blockNumber": hex(log.block),
            "blockHash": "0x" + log.block_hash.hex(),
            "transactionHash": "0x" + log.tx.hex(),
            "logIndex": hex(log.index),
        }
        for log in logs
    ]
    return read_fast(msgspec.json.encode({"id": 1, "result": written})).result
