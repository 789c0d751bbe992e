"""Let Brownie recognise contracts with immutables, so that `brownie test --coverage` counts them.

Brownie compares the deployed code with the compiled one, byte by byte, and drops the source map if they differ.
Immutables are zeros in the compiled code and values in the deployed one, so contracts that have any are left out of the
coverage report without a word. Here bytes that are zero in the compiled code may have any value in the deployed one.
"""

from __future__ import annotations

from brownie.network import contract, web3

_compare = contract._verify_deployed_code


def install() -> None:
    """Use it from now on; again is harmless."""
    contract._verify_deployed_code = _is_the_one


def _is_the_one(address, expected: str, language: str) -> bool:
    if _compare(address, expected, language):
        return True
    deployed, compiled = bytes(web3.eth.get_code(address)), _bytes(expected)
    if language != "Solidity" or compiled is None or len(deployed) != len(compiled):
        return False
    return all(want in (0, found) for want, found in zip(compiled, deployed, strict=True))


def _bytes(code: str) -> bytes | None:
    try:
        return bytes.fromhex(code.removeprefix("0x"))
    except ValueError:
        return None  # a library's place is still open in it
