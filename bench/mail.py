"""How many envelopes a second does a history fetch deliver on one connection?

A mail server in a process of its own, on loopback TCP. First a sender posts envelopes of 500 bytes and waits until
each is on the server's disk; then a client fetches them all by topic, page by page, and verifies them: every envelope
decoded and hashed, of the right topic, in order, each once, none missing. At last many clients ask for small pages: as
fast as they can, and then once a second each, where the slowest of a hundred answers counts. For comparison: geth
1.8.27's mail server delivered 7,700 envelopes/s on one connection; Status tested 100 concurrent requests.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench._report import Figure, report
from bench._server import KEY, Running, running
from offchain.keys import PrivateKey
from offchain.rlpx import peer as rlpx
from offchain.whisper.envelope import Envelope, mine
from offchain.whisper.mail import Completion, HistoryRequest, decode_completion, seal_request
from offchain.whisper.protocol import SHH, Acknowledged, Code, Extension, ShhPeer, Status

SIZE = 500
TOPIC = b"mail"
PACED_SECONDS = 4
STATUS = Status(light=True, confirmations=True)


class Client:
    """A sender or reader."""

    def __init__(self, key: PrivateKey, shh: ShhPeer) -> None:
        self.key = key
        self.shh = shh

    @classmethod
    async def connect(cls, port: int, rng: random.Random) -> Client:
        key = PrivateKey(rng.randbytes(32))
        return cls(key, await ShhPeer.start(await rlpx.connect(key, KEY.public, "127.0.0.1", port, [SHH]), STATUS))

    async def post(self, envelopes: list[Envelope]) -> None:
        """Send, and wait until all is stored."""
        batches: set[bytes] = set()
        for at in range(0, len(envelopes), 200):
            batches.update(await self.shh.send_envelopes(envelopes[at : at + 200], known_pow=1.0))
        async for event in self.shh:
            if isinstance(event, Acknowledged):
                batches.discard(event.batch)
                if not batches:
                    return

    async def fetch(self, lower: int, upper: int, limit: int, pages: int) -> tuple[list[Envelope], float]:
        """The envelopes of some pages, and the time of the first."""
        found: list[Envelope] = []
        first = 0.0
        cursor = b""
        for _ in range(pages):
            request = HistoryRequest(lower, upper, None, (TOPIC,), limit, cursor)
            sealed = seal_request(request, KEY.public, self.key, time.time())
            await self.shh.send(Code.HISTORY_REQUEST, sealed.packet)
            async for event in self.shh:
                if not isinstance(event, Extension):
                    continue
                if event.code == Code.DIRECT:
                    found += Envelope.decode_many(event.payload)
                    first = first or time.perf_counter()
                elif event.code == Code.REQUEST_COMPLETE:
                    end = decode_completion(event.payload)
                    assert isinstance(end, Completion), end
                    assert end.request_id == sealed.id
                    cursor = end.cursor
                    break
            if not cursor:
                break
        return found, first


def verify(found: list[Envelope], expected: set[bytes], lower: int, upper: int) -> None:
    """Every envelope that was posted, once, in order."""
    positions = [(each.sent, each.hash) for each in found]
    assert all(each.topic == TOPIC and lower <= each.sent <= upper for each in found)
    assert positions == sorted(positions)
    assert {each.hash for each in found} == expected
    assert len(found) == len(expected)


async def measure(server: Running, count: int, clients: int, rng: random.Random) -> dict[str, Figure]:
    port, now = server.port, int(time.time())
    envelopes = [mine(now + 600, 600 + rng.randrange(3000), TOPIC, rng.randbytes(SIZE - 30), 0.0) for _ in range(count)]
    expected = {each.hash for each in envelopes}
    lower, upper = now - 4000, now
    sender = await Client.connect(port, rng)
    begin = time.perf_counter()
    await sender.post(envelopes)
    posted = time.perf_counter() - begin
    await sender.shh.close()

    rates, firsts = [], []
    busy = time.process_time() + server.cpu()
    for _ in range(3):
        reader = await Client.connect(port, rng)
        begin = time.perf_counter()
        found, first = await reader.fetch(lower, upper, 2000, count)
        verify(found, expected, lower, upper)
        rates.append(count / (time.perf_counter() - begin))
        firsts.append((first - begin) * 1e3)
        await reader.shh.close()

    busy = time.process_time() + server.cpu() - busy
    times: list[float] = []

    async def ask(client: Client) -> None:
        for _ in range(5):
            start = rng.randrange(lower, upper)
            begin = time.perf_counter()
            await client.fetch(start, upper, 20, 1)
            times.append(time.perf_counter() - begin)

    crowd = [await Client.connect(port, rng) for _ in range(clients)]
    begin = time.perf_counter()
    await asyncio.gather(*map(ask, crowd[:50]))
    spent = time.perf_counter() - begin
    at_once = len(times)
    times.clear()

    missing = 0

    async def ask_every_second(client: Client) -> None:
        nonlocal missing
        await asyncio.sleep(rng.random())
        for _ in range(PACED_SECONDS):
            start = rng.randrange(lower, upper - 1000)
            begin = time.perf_counter()
            found, _ = await client.fetch(start, upper, 20, 1)
            times.append(time.perf_counter() - begin)
            missing += 20 - len(found)
            await asyncio.sleep(max(0.0, 1 - times[-1]))

    await asyncio.gather(*map(ask_every_second, crowd))
    times.sort()
    await asyncio.gather(*(each.shh.close() for each in crowd))
    return {
        "fetched on one connection": Figure(max(rates), "envelopes/s", ">= 20000"),
        "fetched in a second of both ends' processor": Figure(3 * count / busy, "envelopes/s"),
        "first envelope after": Figure(min(firsts), "ms"),
        "posted and acknowledged": Figure(count / posted, "envelopes/s"),
        "requests of 20 by 50 clients": Figure(at_once / spent, "requests/s"),
        f"{clients} clients once a second, p50": Figure(times[len(times) // 2] * 1e3, "ms"),
        f"{clients} clients once a second, p99": Figure(times[len(times) * 99 // 100] * 1e3, "ms", "<= 100"),
        f"{clients} clients once a second, missing": Figure(missing, "envelopes", "<= 0"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--envelopes", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=500)
    options = parser.parse_args()
    bounds = {
        "min_pow": 0.0,
        "envelopes_per_second": 1e9,
        "requests_per_minute": 10**6,
        "requests_per_minute_per_address": 10**9,
    }
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), **bounds) as server:
        rng = random.Random(options.seed)
        figures = asyncio.run(measure(server, options.envelopes, options.clients, rng))
    report(f"{options.envelopes:,} envelopes of {SIZE} bytes from a mail server", figures, options.json)


if __name__ == "__main__":
    main()
