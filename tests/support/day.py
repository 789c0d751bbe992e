"""A day of a mail server in minutes: does it stay as small as it began, and forget what it should?

    python -m tests.support.day --hours 24

A server in a process of its own, whose clock the driver sets. From noon to noon 10 envelopes a second are posted over
RLPx and acknowledged, 864,000 in all; the server keeps two days besides today, and has three older ones at the start.
At midnight the oldest must go, and nothing else. In the end every hour is read back and compared. Prints one table;
ends with an error if an envelope was lost, a day forgotten or kept that should not, or memory grew.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from bench._report import Figure, report
from offchain.config import MailserverConfig
from offchain.keys import PrivateKey
from offchain.mailserver import server as server_module
from offchain.mailserver.archive.lmdb import LmdbArchive
from offchain.mailserver.server import Mailserver
from offchain.rlpx import peer as rlpx
from offchain.whisper.envelope import mine
from offchain.whisper.mail import Completion, HistoryRequest, decode_completion, seal_request
from offchain.whisper.protocol import SHH, BatchAnswered, Code, Envelope, Extension, ShhPeer, Status
from tests.support.mailserver import DAY, MARCH, FakeTrust

SERVER = PrivateKey(b"\x01" * 32)
NOON = MARCH + DAY // 2
KEPT_DAYS = 2
OLD_DAYS = 3
OLD_ENVELOPES = 20_000
"""In each of the days before."""

A_SECOND = 10
STEP = 60
"""Seconds between two settings of the clock."""

TTL = 300
TOPICS = 500
MAX_GROWTH = 20 * 1024**2
"""Bytes of memory that the server may have more at the end than after the first quarter."""

DEADLINE = 120.0
"""Seconds for anything to happen."""


def envelopes(rng, sent, count):
    """Of 300 to 700 bytes, Zipf over the topics."""
    made = []
    for _ in range(count):
        topic = int(TOPICS ** rng.random()).to_bytes(4, "big")
        made.append(mine(sent + TTL, TTL, topic, rng.randbytes(rng.randrange(260, 660)), 0.0))
    return made


async def serve(folder):
    """The server's process: for every line that sets the clock, one that says how it stands."""
    server_module.RETENTION_INTERVAL = 1e9  # here the clock's steps are the intervals
    now = float(NOON)
    config = MailserverConfig(folder, min_pow=0.0, retention_days=KEPT_DAYS, requests_per_minute=10**6)
    async with Mailserver(SERVER, config, FakeTrust(), clock=lambda: now) as server:
        print(json.dumps({"port": server.port}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            now = json.loads(line)
            await server.forget(now)
            days = server.archive.days()
            stats = {
                "memory": memory(),
                "days": [day.day for day in days],
                "bytes": sum(day.size for day in days),
                "envelopes": sum(day.count for day in days),
            }
            print(json.dumps(stats), flush=True)


def memory():
    """Bytes of this process's own memory, without the archive's files."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


class Driver:
    """Posts, sets the clock, reads back."""

    def __init__(self, process, rng):
        self._process = process
        self._rng = rng
        self._key = PrivateKey(rng.randbytes(32))
        self.now = float(NOON)
        self.states = []

    async def connect(self):
        port = (await self._line())["port"]
        peer = await rlpx.connect(self._key, SERVER.public, "127.0.0.1", port, [SHH])
        status = Status(light=True, confirmations=True)
        self._shh = await ShhPeer.start(peer, status, clock=lambda: self.now)

    async def set_clock(self, now):
        self.now = now
        self._process.stdin.write(json.dumps(now).encode() + b"\n")
        self.states.append(await self._line())

    async def post(self, batch):
        """Until all of it is on disk."""
        waiting = set(await self._shh.send_envelopes(batch, known_pow=1e9))
        async with asyncio.timeout(DEADLINE):
            async for event in self._shh:
                if isinstance(event, BatchAnswered):
                    assert not event.response.faults, event.response.faults[0].text
                    waiting.discard(event.response.batch)
                    if not waiting:
                        return

    async def read(self, lower, upper):
        """Hashes of everything that was sent from lower to upper."""
        found = []
        cursor = b""
        while True:
            request = HistoryRequest(lower, upper, b"\xff" * 64, (), 2_000, cursor)
            sealed = seal_request(request, SERVER.public, self._key, self.now, pow_target=0)
            await self._shh.send(Code.HISTORY_REQUEST, sealed.packet)
            async with asyncio.timeout(DEADLINE):
                async for event in self._shh:
                    if isinstance(event, Extension) and event.code == Code.DIRECT:
                        found += [each.hash for each in Envelope.decode_many(event.payload)]
                    elif isinstance(event, Extension) and event.code == Code.REQUEST_COMPLETE:
                        break
            end = decode_completion(event.payload)
            assert isinstance(end, Completion), end
            if not end.cursor:
                return found
            cursor = end.cursor
            self.now += 1.0 / 60  # no request twice

    async def close(self):
        await self._shh.close()
        self._process.stdin.close()
        async with asyncio.timeout(DEADLINE):
            await self._process.wait()
        assert self._process.returncode == 0

    async def _line(self):
        async with asyncio.timeout(DEADLINE):
            return json.loads(await self._process.stdout.readline())


def prepare(folder, rng):
    """The days before, as a server left them."""
    archive = LmdbArchive(folder)
    for age in range(1, OLD_DAYS + 1):
        for _ in range(OLD_ENVELOPES // 1_000):
            archive.add_many(envelopes(rng, MARCH - age * DAY + rng.randrange(DAY), 1_000))
    size = sum(day.size for day in archive.days())
    archive.close()
    return size


async def run(folder, hours, seed):
    """The whole of it; its figures. AssertionError if something is wrong."""
    rng = random.Random(seed)
    prepare(folder, rng)
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "tests.support.day", "--serve", str(folder)]
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    driver = Driver(process, rng)
    sent = {}
    begin = time.monotonic()
    try:
        await driver.connect()
        for step in range(hours * 3_600 // STEP):
            await driver.set_clock(NOON + (step + 1) * STEP)
            batch = envelopes(rng, NOON + step * STEP + rng.randrange(STEP), STEP * A_SECOND)
            await driver.post(batch)
            sent.setdefault(step * STEP // 3_600, []).extend(each.hash for each in batch)
        posted = time.monotonic() - begin
        await driver.set_clock(NOON + hours * 3_600 + STEP)
        for hour, hashes in sent.items():
            found = await driver.read(NOON + hour * 3_600, NOON + hour * 3_600 + 3_599)
            assert sorted(found) == sorted(hashes), f"hour {hour}: {len(found)} of {len(hashes)} were found"
        await driver.set_clock(NOON + hours * 3_600 + 2 * STEP)
        await driver.close()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return judge(driver.states, hours, sum(map(len, sent.values())), posted)


def judge(states, hours, count, posted):
    """Compare what the server said of itself with what it should have been."""
    today = MARCH // DAY
    for step, state in enumerate(states):
        day = (NOON + (step + 1) * STEP) // DAY if step < hours * 3_600 // STEP else (NOON + hours * 3_600) // DAY
        # For an hour after the start nothing goes for its age: the clock might have jumped.
        oldest = today - OLD_DAYS if (step + 1) * STEP <= 3_600 else day - KEPT_DAYS
        assert state["days"][0] == oldest, f"step {step}: {state['days']} are kept, on day {day}"
    last = states[-1]
    kept_old = sum(1 for day in last["days"] if day < today) * OLD_ENVELOPES
    assert last["envelopes"] == count + kept_old, f"{last['envelopes']} are kept, expected {count + kept_old}"
    memories = [state["memory"] for state in states]
    early, late = max(memories[: len(memories) // 4]), max(memories[-len(memories) // 4 :])
    figures = {
        "envelopes": Figure(count, "envelopes"),
        "posted and acknowledged": Figure(count / posted, "envelopes/s"),
        "lost": Figure(0, "envelopes", "<= 0"),
        "days at the start": Figure(len(states[0]["days"]), "days"),
        "days at the end": Figure(len(last["days"]), "days", f"<= {KEPT_DAYS + 1}"),
        "size on disk at the end": Figure(last["bytes"] / 1024**2, "MiB"),
        "size on disk by envelope": Figure(last["bytes"] / last["envelopes"], "bytes"),
        "memory, first quarter": Figure(early / 1024**2, "MiB"),
        "memory, last quarter": Figure(late / 1024**2, "MiB"),
        "memory grew by": Figure((late - early) / 1024**2, "MiB", f"<= {MAX_GROWTH / 1024**2:.0f}"),
    }
    assert late - early <= MAX_GROWTH, f"memory grew by {late - early} bytes"
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(run(Path(folder) / "archive", options.hours, options.seed))
    report(f"{options.hours} hours of a mail server, {A_SECOND} envelopes a second", figures, options.json)


if __name__ == "__main__":
    main()
