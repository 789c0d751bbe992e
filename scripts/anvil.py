"""Make anvil answer as Brownie expects.

anvil answers `eth_sendTransaction` before the block is stored, and for some milliseconds (more with
`--steps-tracing`) the sender's nonce has grown while there is no receipt yet. Brownie takes just that for a transaction
that was dropped, and raises "Tx dropped without known replacement"; or else it sleeps for a second before it looks
again. So the answer is held back until the receipt is there, or for a second where blocks come by the clock. Nothing
changes on other nodes.
"""

from __future__ import annotations

import time

from web3.middleware import Web3Middleware

NAME = "receipt before answer"
PATIENCE = {True: 60.0, False: 1.0}
"""Seconds, by whether anvil mines a block for each transaction. That takes milliseconds; with a hundred proofs and
traces, more than a second."""


class ReceiptBeforeAnswer(Web3Middleware):
    """Hold back the answer to a sent transaction until its receipt is stored."""

    def wrap_make_request(self, make_request):
        def request(method, params):
            response = make_request(method, params)
            if method in ("eth_sendTransaction", "eth_sendRawTransaction") and response.get("result"):
                _await_receipt(make_request, response["result"])
            return response

        return request


def install(web3) -> None:
    """Use it from now on; again is harmless."""
    if NAME not in web3.middleware_onion:
        web3.middleware_onion.inject(ReceiptBeforeAnswer, name=NAME, layer=0)


def _await_receipt(make_request, transaction_hash) -> None:
    client = make_request("web3_clientVersion", []).get("result") or ""
    if not client.lower().startswith("anvil"):
        return
    end = time.monotonic() + PATIENCE[make_request("anvil_getAutomine", []).get("result") is True]
    while make_request("eth_getTransactionReceipt", [transaction_hash]).get("result") is None:
        if time.monotonic() > end:
            return  # Brownie goes on waiting
        time.sleep(0.001)
