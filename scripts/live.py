"""What a chain with other people on it asks for: the right chain, enough money, and patience.

A transaction that is in a block can leave it again. So nothing here counts before `confirmations` blocks, and what was
seen in a block is looked up in the chain as it is then.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from brownie import chain, network, web3
from brownie._config import CONFIG
from brownie.exceptions import TransactionError, VirtualMachineError
from brownie.network.account import ClefAccount
from web3.exceptions import TransactionNotFound, Web3RPCError

from scripts.refusal import Refusal

LOCAL_CHAINS = frozenset((1337, 31337))
"""Ids of chains that are nobody else's: what plays with keys, time and test tokens is allowed there only."""

ANY_CHAIN = frozenset(("waypost", "waypost-demo"))
"""Networks that are whatever endpoint the environment names; their definition does not tell the chain."""

PATIENCE = 1800.0
"""Seconds to wait for a transaction before its command ends, saying so."""
INTERVAL = 0.5
"""Seconds between two looks."""


def check_chain(expected=None) -> None:
    """Refusal if the endpoint serves another chain than the one that is meant."""
    if CONFIG.network_type != "live":
        return
    active = network.show_active()
    if expected is None and active not in ANY_CHAIN:
        expected = CONFIG.active_network.get("chainid")
    if expected is None:
        return
    if str(expected) != str(chain.id):
        raise Refusal(f"{active} is chain {chain.id} at this endpoint, and chain {expected} is meant")


def afford(sender, gas: int) -> str:
    """What so much gas costs, as words to add; Refusal if the sender has less."""
    price = web3.eth.gas_price
    cost, held = gas * price, web3.eth.get_balance(str(sender))
    if held < cost:
        raise Refusal(f"{sender} has {ether(held)}, and {gas:,} gas cost about {ether(cost)} now")
    return "" if chain.id in LOCAL_CHAINS else f", about {ether(cost)} of {ether(held)}"


def ether(wei: int) -> str:
    """An amount of the chain's own currency."""
    return f"{web3.from_wei(wei, 'ether'):.6f} ether"


def settle(digest, confirmations: int, patience: float = PATIENCE):
    """Wait until a transaction has so many blocks on it, its own counted. Returns its receipt.

    Refusal if it left the chain for good, if it is not there in time, or if it failed.
    """
    end, seen = time.monotonic() + patience, -1
    while True:
        receipt = _receipt(digest)
        if receipt is None and not _is_known(digest):
            raise Refusal(
                f"transaction {shown(digest)} is in no block any more and is not waiting: the chain was reorganised; "
                "see what holds now, and run the command again"
            )
        depth = 0 if receipt is None else web3.eth.block_number - receipt["blockNumber"] + 1
        if depth >= confirmations:
            if receipt["status"] != 1:
                raise Refusal(f"transaction {shown(digest)} failed")
            return receipt
        if depth != seen and confirmations > 1:
            print(f"  {depth} of {confirmations} confirmations")
        seen = depth
        if time.monotonic() > end:
            raise Refusal(
                f"transaction {shown(digest)} has {depth} of {confirmations} confirmations; it may still come"
            )
        time.sleep(INTERVAL)


def sent_as(account: str, nonce: int, since: int):
    """The hash of an account's transaction of this number: in a block from `since` on, which any endpoint knows."""
    for number in range(since, chain.height + 1):
        for each in web3.eth.get_block(number, full_transactions=True)["transactions"]:
            if (each["from"], each["nonce"]) == (account, nonce):
                return each["hash"]
    raise Refusal(f"the endpoint shows no block with transaction {nonce} of {account} from block {since} on")


def transaction(digest):
    """A transaction; Refusal if the endpoint does not know it."""
    try:
        return web3.eth.get_transaction(digest)
    except TransactionNotFound:
        raise Refusal(f"the endpoint does not know transaction {shown(digest)}") from None


def shown(digest) -> str:
    """A hash as 64 digits after 0x."""
    return digest if isinstance(digest, str) else "0x" + bytes(digest).hex()


def until(holds: Callable[[], bool], otherwise: str, patience: float = PATIENCE) -> None:
    """Wait until something holds; Refusal with the words if it does not in time."""
    end = time.monotonic() + patience
    while not holds():
        if time.monotonic() > end:
            raise Refusal(otherwise)
        time.sleep(INTERVAL)


@contextlib.contextmanager
def refusals(sender):
    """Tell in one line what Brownie, the endpoint or the signer has against a transaction."""
    signer = (ValueError,) if isinstance(sender, ClefAccount) else ()  # "Request denied", as it is raised there
    try:
        yield
    except (TransactionError, VirtualMachineError, Web3RPCError, *signer) as error:
        raise Refusal(f"it was not carried out: {error}") from None


def _receipt(digest):
    """The receipt, if its block is in the chain."""
    try:
        receipt = web3.eth.get_transaction_receipt(digest)
    except TransactionNotFound:
        return None
    block = receipt["blockNumber"]
    if block is None or web3.eth.get_block(block)["hash"] != receipt["blockHash"]:
        return None  # of a block that was left
    return receipt


def _is_known(digest) -> bool:
    try:
        web3.eth.get_transaction(digest)
    except TransactionNotFound:
        return False
    return True
