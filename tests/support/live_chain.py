"""A chain that stands for a live one: an id of its own, blocks only when they are asked for, no account that it holds
the key of. And Brownie as somebody has it who uses it there: a home folder with networks and a keystore.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from eth_account import Account
from web3 import HTTPProvider, Web3

from tests.support.chain_world import BUILD, ROOT, Unavailable, find_anvil, free_port

CHAIN_ID = 777_777
PASSWORD = "correct horse"


PATIENCE = 300.0
"""Seconds to wait for anything. A Brownie process takes three to start, many more on a busy machine."""


def wait_until(holds) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.05)


class LiveChain:
    """The chain, with an account that has money and one that has none."""

    def __init__(self, folder: Path) -> None:
        if not (BUILD / "NodeRegistry.json").exists():
            raise Unavailable("the contracts are not compiled; run: brownie compile")
        self._started: list[subprocess.Popen] = []
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [
            find_anvil(), "--port", str(self.port), "--silent", "--chain-id", str(CHAIN_ID), "--accounts", "0",
            "--no-mining", "--order", "fifo",
        ]  # fmt: skip
        self._anvil = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.web3 = Web3(HTTPProvider(self.url, request_kwargs={"timeout": 30}))
        try:
            wait_until(self.web3.is_connected)
            self.home = folder / "home"
            self.owner, self.poor = (Account.from_key(bytes([number]) * 32) for number in (17, 18))
            self.request("anvil_setBalance", self.owner.address, hex(10 * 10**18))
            self._make_home()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the chain, and whatever a failed test left running on it."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stdout.close()
        self._anvil.terminate()
        self._anvil.wait(10)

    def request(self, method: str, *parameters):
        """One request's result; RuntimeError with the node's error."""
        answer = self.web3.provider.make_request(method, list(parameters))
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def nonce(self) -> int:
        """How many transactions of the owner are in blocks."""
        return self.web3.eth.get_transaction_count(self.owner.address)

    def waiting(self) -> int:
        """How many transactions wait for a block."""
        return int(self.request("txpool_status")["pending"], 16)

    def mine(self, blocks: int = 1) -> None:
        self.request("anvil_mine", hex(blocks))

    @contextlib.contextmanager
    def blocks(self):
        """Blocks come by themselves."""
        over = threading.Event()

        def go() -> None:
            while not over.wait(0.1):
                self.mine()

        thread = threading.Thread(target=go)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def brownie(self, *words: str) -> subprocess.Popen:
        """`brownie run ...` on this chain."""
        command = [Path(sys.executable).parent / "brownie", "run", *words, "--network", "waypost"]
        return self._start(command)

    def session(self, script: str) -> subprocess.Popen:
        """Python in the project, connected to this chain, as `brownie console` has it."""
        prelude = (
            "from brownie import network, project\n"
            f"loaded = project.load({str(ROOT)!r})\n"
            "loaded.load_config()\n"
            "loaded._add_to_main_namespace()\n"
            "network.connect('waypost')\n"
        )
        return self._start([sys.executable, "-c", prelude + script])

    def _start(self, command: list) -> subprocess.Popen:
        environment = {
            **os.environ,
            "HOME": str(self.home),
            "WAYPOST_RPC": self.url,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "SOLCX_BINARY_PATH": os.environ.get("SOLCX_BINARY_PATH", str(ROOT / ".solcx")),
        }
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._started.append(process)
        return process

    def _make_home(self) -> None:
        accounts = self.home / ".brownie" / "accounts"
        accounts.mkdir(parents=True)
        for name, account in (("ops", self.owner), ("poor", self.poor)):
            # Few iterations: how long a keystore holds out is not what is tested.
            keystore = Account.encrypt(account.key, PASSWORD, kdf="pbkdf2", iterations=2)
            (accounts / f"{name}.json").write_text(json.dumps(keystore))
        (self.home / "password").write_text(PASSWORD + "\n")
        (self.home / "wrong").write_text("wrong horse\n")
        made = subprocess.run(
            [sys.executable, ROOT / "setup" / "networks.py"],
            env={**os.environ, "HOME": str(self.home)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            raise Unavailable(made.stderr)
