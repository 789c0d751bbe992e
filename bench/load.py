"""Does one mail server serve 500 people at once, from an archive of ten million envelopes?

A server in a process of its own. First 500 clients, each on its own connection, ask once a second for a page of 20: of
one to five topics, from a random moment on, page after page by cursor; each page is compared with what is known to be
kept. A request is due every second whether or not the last one was answered in time, and its time counts from when
it was due. Then 2,000 connections do nothing while 100 clients ask: what does an idle connection cost?

With --bloom the clients ask as old programs do, by the bloom filter of their topics: pages then hold what else the
filter lets through, and what is known of must be among it.

The archive is built once and kept in --cache. `make load` runs the whole of it, for about seven minutes; the default
here is short. Ends with an error if a page was wrong or did not come.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import resource
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench._bulk import DAY, NOW, Known, kept, warm
from bench._report import Figure, report
from bench._server import KEY, Running, running
from offchain import rlp
from offchain.errors import PeerError
from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.rlpx import peer as rlpx
from offchain.whisper.bloom import merge, topic_bloom
from offchain.whisper.mail import Completion, HistoryRequest, decode_completion, seal_request
from offchain.whisper.protocol import SHH, Code, Extension, ShhPeer, Status

PAGE = 20
MAX_TOPICS = 5
PATIENCE = 30.0
"""Seconds for an answer; then it counts as an error."""

EAGER = 20
"""Clients that ask as fast as they can, to see what a request costs."""

CONNECTING = 32
"""Handshakes at a time."""

STATUS = Status(light=True)


@dataclass(slots=True)
class Tally:
    """What came of the requests."""

    times: list[float] = field(default_factory=list)
    """Seconds from when a request was due to the last byte of its answer."""

    envelopes: int = 0
    missing: int = 0
    wrong: int = 0
    """Envelopes that were not to be in a page, or not there."""

    errors: list[str] = field(default_factory=list)


class Client:
    """Reads history on one connection, page after page, from another place whenever there is no more."""

    def __init__(
        self, key: PrivateKey, shh: ShhPeer, known: Known, rng: random.Random, tally: Tally, by_bloom: bool
    ) -> None:
        self._by_bloom = by_bloom
        self._key = key
        self._shh = shh
        self._known = known
        self._rng = rng
        self._tally = tally
        self._request = self._another()

    @classmethod
    async def connect(cls, port: int, known: Known, rng: random.Random, tally: Tally, by_bloom: bool = False) -> Client:
        key = PrivateKey(rng.randbytes(32))
        peer = await rlpx.connect(key, KEY.public, "127.0.0.1", port, [SHH], timeout=PATIENCE)
        return cls(key, await ShhPeer.start(peer, STATUS, timeout=PATIENCE), known, rng, tally, by_bloom)

    async def ask_every_second(self, seconds: int) -> None:
        """From a random part of a second on."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._rng.random()
        for _ in range(seconds):
            await asyncio.sleep(due - loop.time())
            try:
                async with asyncio.timeout(PATIENCE):
                    found, cursor = await self._page()
            except (PeerError, TimeoutError) as error:
                self._tally.errors.append(f"{type(error).__name__}: {error}")
                return
            self._tally.times.append(loop.time() - due)
            self._check(found, cursor)
            due += 1

    async def ask_at_once(self, seconds: float) -> None:
        """Ask again as soon as one was answered."""
        end = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            found, cursor = await self._page()
            self._tally.times.append(time.perf_counter() - begun)
            self._check(found, cursor)

    async def close(self) -> None:
        await self._shh.close()

    async def _page(self) -> tuple[list[bytes], bytes]:
        """The hashes of a page's envelopes, and its cursor."""
        request = self._request
        if self._by_bloom:
            request = replace(request, bloom=merge(*map(topic_bloom, request.topics)), topics=())
        sealed = seal_request(request, KEY.public, self._key, time.time())
        await self._shh.send(Code.HISTORY_REQUEST, sealed.packet)
        found: list[bytes] = []
        async for event in self._shh:
            if isinstance(event, Extension) and event.code == Code.DIRECT:
                found += map(keccak256, rlp.split_list(event.payload))
            elif isinstance(event, Extension) and event.code == Code.REQUEST_COMPLETE:
                end = decode_completion(event.payload)
                if not isinstance(end, Completion) or end.request_id != sealed.id:
                    raise PeerError(f"the answer ends with {end}")
                return found, end.cursor
        raise PeerError("the connection ended")

    def _check(self, found: list[bytes], cursor: bytes) -> None:
        request, tally = self._request, self._tally
        positions = self._known.page(request.topics, request.lower, request.upper, PAGE, request.cursor)
        if self._by_bloom and cursor:
            positions = [at for at in positions if at <= cursor]
        expected = [at[4:] for at in positions]
        tally.envelopes += len(found)
        if self._by_bloom:
            tally.missing += len(set(expected) - set(found))
        elif found != expected:
            tally.missing += len(set(expected) - set(found))
            tally.wrong += max(len(set(found) - set(expected)), 1)
        if cursor and (self._by_bloom or (positions and cursor == positions[-1])):
            self._request = HistoryRequest(request.lower, request.upper, None, request.topics, PAGE, cursor)
        else:
            tally.wrong += bool(cursor) or (len(expected) == PAGE and not self._by_bloom)
            self._request = self._another()

    def _another(self) -> HistoryRequest:
        lower = NOW - 2 * DAY + self._rng.randrange(2 * DAY - 60)
        topics = tuple(self._rng.sample(self._known.topics, self._rng.randint(1, MAX_TOPICS)))
        return HistoryRequest(lower, min(lower + DAY, NOW), None, topics, PAGE)


async def connect_many(
    count: int, port: int, known: Known, rng: random.Random, tally: Tally, by_bloom: bool = False
) -> list[Client]:
    """Clients, some handshakes at a time."""
    gate = asyncio.Semaphore(CONNECTING)

    async def one() -> Client:
        async with gate:
            return await Client.connect(port, known, random.Random(rng.random()), tally, by_bloom)

    return await asyncio.gather(*(one() for _ in range(count)))


async def close_all(clients: list[Client]) -> None:
    await asyncio.gather(*(each.close() for each in clients))


def percentile(times: list[float], share: float) -> float:
    """In milliseconds."""
    return sorted(times)[min(int(len(times) * share), len(times) - 1)] * 1e3 if times else float("nan")


def of(tally: Tally, who: str, goals: bool) -> dict[str, Figure]:
    """The figures of one part."""
    return {
        f"{who}: requests": Figure(len(tally.times), "requests"),
        f"{who}: p50": Figure(percentile(tally.times, 0.5), "ms", "<= 20" if goals else ""),
        f"{who}: p99": Figure(percentile(tally.times, 0.99), "ms", "<= 100" if goals else ""),
        f"{who}: p99.9": Figure(percentile(tally.times, 0.999), "ms"),
        f"{who}: slowest": Figure(percentile(tally.times, 1), "ms"),
        f"{who}: envelopes": Figure(tally.envelopes, "envelopes"),
        f"{who}: missing": Figure(tally.missing, "envelopes", "<= 0"),
        f"{who}: wrong": Figure(tally.wrong, "envelopes", "<= 0"),
        f"{who}: errors": Figure(len(tally.errors), "errors", "<= 0"),
    }


async def measure(server: Running, known: Known, options: argparse.Namespace) -> tuple[dict[str, Figure], list[str]]:
    rng = random.Random(options.seed)
    crowd = Tally()
    clients = await connect_many(options.clients, server.port, known, rng, crowd, options.bloom)
    begun, own = server.cpu(), time.process_time()
    await asyncio.gather(*(each.ask_every_second(options.seconds) for each in clients))
    busy, own = (server.cpu() - begun) / options.seconds, (time.process_time() - own) / options.seconds
    await close_all(clients)
    figures = of(crowd, f"{options.clients} clients", True)
    figures[f"{options.clients} clients: processor of the server"] = Figure(busy * 100, "% of one")
    figures[f"{options.clients} clients: processor of the clients"] = Figure(own * 100, "% of one")

    few = Tally()
    active = await connect_many(options.active, server.port, known, rng, few, options.bloom)
    await asyncio.gather(*(each.ask_every_second(2) for each in active))
    eager = Tally()
    hungry = await connect_many(EAGER, server.port, known, rng, eager, options.bloom)
    begun = server.cpu()
    await asyncio.gather(*(each.ask_at_once(options.eager_seconds) for each in hungry))
    a_request = (server.cpu() - begun) / len(eager.times)
    await close_all(hungry)
    before = server.memory()
    idle = await connect_many(options.idle, server.port, known, rng, few)
    after = server.memory()
    gc.collect()
    gc.freeze()  # our ends of so many connections, likewise
    begun = server.cpu()
    await asyncio.gather(*(each.ask_every_second(options.idle_seconds) for each in active))
    busy = (server.cpu() - begun) / options.idle_seconds
    later = server.memory()
    await close_all(active + idle)
    name = f"{options.active} clients beside {options.idle} idle"
    figures |= of(few, name, False)
    name_eager = f"{EAGER} clients as fast as they can"
    figures[name_eager] = Figure(len(eager.times) / options.eager_seconds, "requests/s")
    figures[f"{name_eager}: missing"] = Figure(eager.missing, "envelopes", "<= 0")
    figures["processor of the server for a request"] = Figure(a_request * 1e3, "ms")
    figures[f"{name}: processor of the server"] = Figure(busy * 100, "% of one")
    figures["memory of an idle connection"] = Figure((after - before) / options.idle / 1024, "KiB")
    figures["memory of an idle connection, later"] = Figure((later - before) / options.idle / 1024, "KiB")
    figures["memory of the server"] = Figure(later / 1024**2, "MiB")
    return figures, crowd.errors + few.errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--envelopes", type=int, default=200_000)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=5, help="how long the clients ask")
    parser.add_argument("--idle", type=int, default=500, help="connections that do nothing")
    parser.add_argument("--active", type=int, default=100, help="clients that ask meanwhile")
    parser.add_argument("--idle-seconds", type=int, default=5, help="how long they do")
    parser.add_argument("--bloom", action="store_true", help="ask by bloom filters, as old programs do")
    parser.add_argument("--eager-seconds", type=int, default=3, help="how long some ask as fast as they can")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server")
    parser.add_argument("--cold", action="store_true", help="begin with an archive that the system has not in memory")
    parser.add_argument("--cache", type=Path, help="where to keep the archive; a temporary folder otherwise")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with ExitStack() as stack:
        cache = options.cache or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        archive, known, _ = kept(cache, options.envelopes, options.seed)
        warm(archive.glob("*/data.mdb"), options.cold)
        gc.freeze()  # what is known is a lot, and looking through it for garbage takes as long as many answers
        bounds = {"retention_days": 100_000, "max_archive_bytes": 2**50, "max_peers": 5_000, "workers": options.workers}
        bounds |= {"requests_per_minute": 10**6, "requests_per_minute_per_address": 10**9}
        server = stack.enter_context(running(archive, **bounds))
        figures, errors = asyncio.run(measure(server, known, options))
    asked = ", asked by bloom filter" * options.bloom
    report(f"a mail server with {options.envelopes:,} envelopes{asked}", figures, options.json)
    if any(figure.goal == "<= 0" and figure.value for figure in figures.values()):
        raise SystemExit("\n".join(errors[:10]) or "pages were wrong")


if __name__ == "__main__":
    main()
