"""The part that is in C: None where it is not built, and then Python does the same."""

from __future__ import annotations

try:
    from offchain.chain import _native as native
except ImportError:  # Built by `make setup` where there is a C compiler.
    native = None  # type: ignore[assignment]

__all__ = ["native"]
