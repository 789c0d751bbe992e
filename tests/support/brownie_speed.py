"""Keep Brownie's heap small, for it collects garbage at every revert: after every test, and, with coverage, every call.

What it holds when the tests begin (the contracts' syntax trees and source maps, 180 MB) is put where the collector does
not look. A trace has the whole memory at every step, and Brownie keeps those of all transactions: with coverage each is
let go as soon as it was counted, and those of deployments, which count for nothing, are not asked for. Without this the
tests take two and a half times as long, and coverage hours.
"""

from __future__ import annotations

import gc

from brownie.network.transaction import TransactionReceipt
from brownie.test import coverage

_expand_trace = TransactionReceipt._expand_trace


def install() -> None:
    """Use it from now on; again is harmless."""
    gc.collect()
    gc.freeze()


def forget_traces() -> None:
    """For a run with coverage: keep no trace that was counted, and ask for none that is not."""
    TransactionReceipt._expand_trace = _expand_and_forget


def _expand_and_forget(receipt) -> None:
    if receipt.contract_address and receipt.status == 1:
        coverage._add_transaction(receipt.coverage_hash, {})
    else:
        _expand_trace(receipt)
    receipt._trace = receipt._raw_trace = []
