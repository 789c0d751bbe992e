"""The part that is in C: None where it is not built, and then Python does the same."""

from __future__ import annotations

try:
    from offchain.chain import _native as native
    from offchain.chain._native import Logs  # noqa: F401  # One that was built from an older source has none.
except ImportError:  # Built by `make setup` where there is a C compiler.
    native = None  # type: ignore[assignment]

__all__ = ["native"]
