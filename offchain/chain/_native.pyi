from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

def chain(version: int, digest: bytes, payloads: list[bytes], starts: list[int]) -> tuple[int, bytes]: ...
def read_logs(
    answer: bytes, start: int, make: Callable[[bytes, int, bytes, int, int, bytes, bytes], T]
) -> tuple[tuple[T, ...], int] | None: ...
