"""Custom errors as tests name them. Brownie shows them as `Name: arg, arg`, addresses in lower case: only here."""

from __future__ import annotations

import brownie


def reverts_with(error: str, *arguments):
    """Expect a call to revert with just this custom error and these arguments."""
    return brownie.reverts(f"{error}: {', '.join(map(_shown, arguments))}")


def _shown(argument) -> str:
    if isinstance(argument, bytes):
        return repr(bytes(argument))
    text = str(argument)
    return text.lower() if text.startswith("0x") else text
