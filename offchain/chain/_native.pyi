from collections.abc import Callable, Sequence
from typing import Any, overload

from offchain.chain.events import PlainLog

REVISION: int

class Logs(Sequence[PlainLog]):
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, at: int) -> PlainLog: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[PlainLog]: ...
    def check(
        self, contracts: bytes, verdict: bytes, first: int, last: int, version: int, digest: bytes
    ) -> tuple[int, bytes] | None: ...
    def fold(
        self,
        at: int,
        stage: dict[Any, Any],
        changed: dict[Any, Any],
        below: list[dict[Any, Any]],
        lists: dict[bytes, tuple[Any, Any]],
        origin: type,
        listing: type,
    ) -> int: ...

def chain(version: int, digest: bytes, payloads: list[bytes], starts: list[int]) -> tuple[int, bytes]: ...
def read_logs(
    answer: bytes, start: int, make: Callable[[bytes, int, bytes, int, int, bytes, bytes], PlainLog]
) -> tuple[Logs, int] | None: ...
