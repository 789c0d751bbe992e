from collections.abc import Callable
from typing import Any

REVISION: int

def columns(listings: dict[Any, Any], listing: type, origin: type) -> tuple[bytes, list[int], list[Any], list[int]]: ...
def gather(
    listings: dict[Any, Any],
    apart: set[Any],
    now: int,
    list_of: Callable[[Any, Any], tuple[dict[Any, Any], float] | None],
    listing: type,
    origin: type,
) -> float: ...
