"""The parts that are in C: None where they are not built, and then Python does the same."""

from __future__ import annotations

try:
    from offchain.chain import _listings as native_listings
    from offchain.chain import _native as native

    if (native.REVISION, native_listings.REVISION) != (3, 1):
        raise ImportError("built from other sources: `make setup` builds them anew")
except (ImportError, AttributeError):  # Built by `make setup` where there is a C compiler.
    native = None  # type: ignore[assignment]
    native_listings = None  # type: ignore[assignment]

__all__ = ["native", "native_listings"]
