"""A chain for benchmarks: anvil on a free port, and a contract that emits the registry's events in bulk."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from web3 import HTTPProvider, Web3
from web3.contract import Contract

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "bench/contracts/EventSource.sol"
YEAR = 365 * 86_400
GAS = 900_000_000
"""For one transaction that emits many events."""


class Anvil:
    """anvil on a free port; ends with the block."""

    def __init__(self, *options: str) -> None:
        program = shutil.which("anvil", path=str(ROOT / "node_modules" / ".bin"))
        if program is None:
            raise SystemExit("anvil is not installed; run: make setup")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.ws = f"ws://127.0.0.1:{port}"
        command = [program, "--port", str(port), "--silent", "--hardfork", "cancun", "--slots-in-an-epoch", "1"]
        command += ["--gas-limit", "1000000000000", "--block-base-fee-per-gas", "0", *options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.web3 = Web3(HTTPProvider(self.url, request_kwargs={"timeout": 120}))

    def __enter__(self) -> Anvil:
        deadline = time.monotonic() + 15
        while not self.web3.is_connected():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("anvil does not start")
            time.sleep(0.05)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(10)

    def deploy(self, abi: list[Any], bytecode: str, *arguments: Any) -> tuple[Contract, int]:
        """A contract, and its block."""
        sender = self.web3.eth.accounts[0]
        contract = self.web3.eth.contract(abi=abi, bytecode=bytecode)
        receipt = self.receipt(contract.constructor(*arguments).transact({"from": sender, "gas": 10_000_000}))
        address = receipt["contractAddress"]
        assert address is not None
        return self.web3.eth.contract(address, abi=abi), receipt["blockNumber"]

    def receipt(self, transaction: Any) -> Any:
        """The receipt of a transaction that must succeed."""
        receipt = self.web3.eth.wait_for_transaction_receipt(transaction, timeout=120, poll_latency=0.005)
        if receipt["status"] != 1:
            raise SystemExit("a transaction reverted")
        return receipt

    def mine(self, blocks: int) -> None:
        """Let blocks pass."""
        self.web3.provider.make_request("anvil_mine", [hex(blocks)])  # type: ignore[arg-type]


def compile_source() -> tuple[list[Any], str]:
    """ABI and bytecode of EventSource, by the compiler that the contracts are compiled with."""
    request = {
        "language": "Solidity",
        "sources": {SOURCE: {"content": (ROOT / SOURCE).read_text()}},
        "settings": {
            "optimizer": {"enabled": True, "runs": 200},
            "evmVersion": "cancun",
            "outputSelection": {"*": {"EventSource": ["abi", "evm.bytecode.object"]}},
        },
    }
    compiler = ["node", str(ROOT / "setup" / "solc-launcher.mjs"), "--standard-json"]
    done = subprocess.run(compiler, input=json.dumps(request), capture_output=True, text=True, check=True, cwd=ROOT)
    output = json.loads(done.stdout)
    try:
        built = output["contracts"][SOURCE]["EventSource"]
    except KeyError:
        raise SystemExit(f"EventSource does not compile: {output.get('errors')}") from None
    return built["abi"], built["evm"]["bytecode"]["object"]


def emit(chain: Anvil, source: Contract, events: int, nodes_each: int, per_transaction: int) -> None:
    """Emit so many events, in blocks of so many."""
    expires_at = int(time.time()) + YEAR
    sender = chain.web3.eth.accounts[0]
    for start in range(0, events, per_transaction):
        count = min(per_transaction, events - start)
        call = source.functions.addNodes(expires_at, count, nodes_each)
        chain.receipt(call.transact({"from": sender, "gas": GAS}))
