"""Calls and transactions straight over JSON-RPC, for tests that make tens of thousands of them.

Brownie takes a tenth of a second for a transaction and some milliseconds for a call. Here many calls go in one request,
and a transaction is sent, mined and read in a few milliseconds. Only for anvil, which mines each transaction at once.
"""

from __future__ import annotations

import functools
import json
import time
import urllib.request

from eth_abi import decode

from offchain.hashing import keccak256


class Reverted(Exception):
    """The call reverted with the custom error of this name, which says these subjects: each as `plain` gives it."""

    def __init__(self, name: str, subjects: tuple = ()) -> None:
        super().__init__(name)
        self.name, self.subjects = name, subjects


class Wire:
    """One chain; functions are Brownie's contract methods, for their encoding."""

    def __init__(self, endpoint: str, *abis: list) -> None:
        self._endpoint = endpoint
        errors = [entry for abi in abis for entry in abi if entry["type"] == "error"]
        self._errors = {_selector(entry): entry for entry in errors}

    def request(self, method: str, *parameters):
        """One request's result; RuntimeError with the node's error."""
        answer = self._post({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)})
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def read(self, *calls: tuple) -> list:
        """The outputs of (function, arguments...), all of the latest block, as Brownie would decode them."""
        batch = [
            {"jsonrpc": "2.0", "id": index, "method": "eth_call", "params": [_call(function, arguments), "latest"]}
            for index, (function, *arguments) in enumerate(calls)
        ]
        answers = sorted(self._post(batch), key=lambda answer: answer["id"])
        return [function.decode_output(answer["result"]) for (function, *_), answer in zip(calls, answers, strict=True)]

    def now(self) -> int:
        """The time of the latest block."""
        return int(self.request("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def pass_time(self, seconds: int) -> None:
        """Mine a block that much later."""
        self.request("evm_setNextBlockTimestamp", self.now() + seconds)
        self.request("evm_mine")

    def send(self, sender, function, *arguments) -> list[dict]:
        """Send a transaction with the time of the latest block; its logs. Reverted if it is refused."""
        sent = {"from": str(sender), "gas": hex(3_000_000), "gasPrice": "0x0", **_call(function, arguments)}
        answer = self._post({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [sent, "latest"]})
        if "error" in answer:
            raise self._reverted(answer["error"])
        self.request("evm_setNextBlockTimestamp", self.now())
        digest = self.request("eth_sendTransaction", sent)
        deadline = time.monotonic() + 60
        while (receipt := self.request("eth_getTransactionReceipt", digest)) is None:
            assert time.monotonic() < deadline, "no receipt"
        assert int(receipt["status"], 16) == 1, "went as a call, not as a transaction"
        return [_log(log) for log in receipt["logs"]]

    def logs(self, places: list[str]) -> list[tuple[dict, int]]:
        """All logs of the contracts, each with the time of its block."""
        logs = self.request("eth_getLogs", {"fromBlock": "0x0", "address": places})
        numbers = sorted({log["blockNumber"] for log in logs})
        blocks = [
            {"jsonrpc": "2.0", "id": index, "method": "eth_getBlockByNumber", "params": [number, False]}
            for index, number in enumerate(numbers)
        ]
        answers = {answer["id"]: int(answer["result"]["timestamp"], 16) for answer in self._post(blocks)}
        times = {number: answers[index] for index, number in enumerate(numbers)}
        return [(_log(log), times[log["blockNumber"]]) for log in logs]

    def word(self, place: str, slot: str) -> int:
        """The raw content of a slot."""
        return int(self.request("eth_getStorageAt", place, slot, "latest"), 16)

    def _reverted(self, error: dict) -> Reverted:
        data = bytes.fromhex((error.get("data") or "0x")[2:])
        entry = self._errors.get(data[:4])
        if entry is None:
            return Reverted(str(error))
        return Reverted(entry["name"], tuple(map(plain, decode([part["type"] for part in entry["inputs"]], data[4:]))))

    def _post(self, document):
        body = json.dumps(document).encode()
        request = urllib.request.Request(self._endpoint, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)


def plain(value):
    """A value of an ABI type in one form, whoever decoded it: addresses as lower-case text."""
    if isinstance(value, (int, bytes)):
        return value if isinstance(value, int) else bytes(value)
    return str(value).lower()


def _selector(entry: dict) -> bytes:
    return keccak256(f"{entry['name']}({','.join(part['type'] for part in entry['inputs'])})".encode())[:4]


def _call(function, arguments: list | tuple) -> dict:
    return {"to": function._address, "data": _encoded(function, *map(_frozen, arguments))}


@functools.lru_cache(maxsize=10_000)
def _encoded(function, *arguments) -> str:
    return function.encode_input(*arguments)


def _frozen(value):
    if isinstance(value, (list, tuple)):
        return tuple(map(_frozen, value))
    if isinstance(value, bytes):
        return bytes(value)
    return value if isinstance(value, int) else str(value)


def _log(log: dict) -> dict:
    return {"topics": [bytes.fromhex(topic[2:]) for topic in log["topics"]], "data": bytes.fromhex(log["data"][2:])}
