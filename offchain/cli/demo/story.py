"""The story of the demonstration: eight steps, each of which checks what it shows.

A chain with a registry and a curator; two providers, of whom the curator accepts one; servers of the accepted
provider, of the other, and of nobody; a sender, and a recipient who comes back online. Nothing is simulated: every
actor is a process with a home folder of its own, and what passes between them goes through the chain and the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offchain.cli.demo import chain
from offchain.cli.demo.actors import Actor, ActorFailed, Troupe
from offchain.cli.demo.report import Report
from offchain.cli.demo.stage import Player, Stage

STEPS = 8
KIND = "mailserver"
TOPIC = "waypost-demo"
ACCEPTED, OUTSIDER = 1, 2
"""The providers' numbers in the registry."""

TRUSTED_SERVERS = 3
PAGE = 5
"""Envelopes in a page of the fetch that is interrupted: small, so that there is a middle to interrupt."""

WITHIN = 30.0
"""Seconds that the demonstration waits for anything before it calls it missing."""

Event = dict[str, Any]


@dataclass(slots=True)
class Fetched:
    """What a fetch printed."""

    lines: list[str] = field(default_factory=list)
    done: Event = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def servers(self) -> list[str]:
        """Who delivered pages, in order."""
        return list(self.done.get("servers", []))


class Story:
    """Plays the steps on a stage."""

    def __init__(self, stage: Stage, troupe: Troupe, report: Report, lines: Sequence[str]) -> None:
        self._stage = stage
        self._troupe = troupe
        self._report = report
        self._lines = list(lines)
        self._players: dict[str, Player] = {}
        self._servers: dict[str, Actor] = {}
        self._ready: dict[str, Event] = {}
        self._tasks: list[asyncio.Task[Any]] = []
        self._client: Actor | None = None
        self._fetches = 0

    async def play(self) -> None:
        """All steps. CheckFailed or ActorFailed at the first thing that does not hold."""
        try:
            await self._the_chain()
            await self._two_providers()
            await self._the_servers()
            await self._the_sender()
            await self._the_client()
            await self._a_removal()
            await self._the_user_decides()
            await self._a_crash()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # 1

    async def _the_chain(self) -> None:
        report, stage = self._report, self._stage
        report.begin("A chain, the registry and a curator")
        bootstrap = self._cast("bootstrap", {"discovery": {"lan": True}})
        bootstrap_actor = self._background(self._start_node(bootstrap))
        await chain.start(self._troupe, stage)
        report.tell(f"a local chain answers at {stage.rpc}")
        report.command("brownie run deploy")
        deployed = await chain.deploy(self._troupe, stage)
        for name, contract in deployed["contracts"].items():
            report.check(
                f"{name} is deployed",
                await chain.has_code(stage, contract["address"]),
                f"{contract['address']} in block {contract['block']}",
            )
        self._ready["bootstrap"] = await bootstrap_actor

    # 2

    async def _two_providers(self) -> None:
        report, stage = self._report, self._stage
        report.begin("Two providers; the curator accepts one of them")
        names = ["alpha", "bravo", "charlie", "outsider", "impostor", "own"]
        for name in names:
            self._cast(name, self._server_config())
        for name in names:
            self._tasks.append(asyncio.create_task(self._start_server(name)))
        listed = {"alpha": ACCEPTED, "bravo": ACCEPTED, "charlie": ACCEPTED, "outsider": OUTSIDER}
        report.command(f"waypost node authorize --provider {ACCEPTED} --kind {KIND}      (each operator, with its key)")
        proofs = dict(
            zip(
                listed,
                await asyncio.gather(*(self._authorize(name, provider) for name, provider in listed.items())),
                strict=True,
            )
        )
        report.command("brownie run apply main plan.json")
        await chain.list_nodes(
            self._troupe,
            stage,
            {
                provider: [proofs[name] for name, lister in listed.items() if lister == provider]
                for provider in (ACCEPTED, OUTSIDER)
            },
            accepted=ACCEPTED,
        )
        for name, provider in listed.items():
            player = self._players[name]
            report.check(
                f"{name} is listed by provider {provider}",
                await chain.is_listed(stage, provider, player.address),
                f"node {player.node_id[:10]}.., address {player.address[:10]}.., its own key agreed",
            )
        impostor = self._players["impostor"]
        report.check(
            "impostor is listed by nobody",
            not await chain.is_known(stage, impostor.address),
            f"node {impostor.node_id[:10]}..",
        )

    # 3

    async def _the_servers(self) -> None:
        report = self._report
        report.begin("Six mail servers and a bootstrap node, each announced in Discovery v5")
        report.command("waypost node run        waypost mailserver        (seven processes)")
        bootstrap = self._ready["bootstrap"]
        report.tell(f"bootstrap node {bootstrap['nodeId'][:10]}.. on UDP {bootstrap['udp']}")
        for name, server in self._servers_expected().items():
            actor = await self._wait_server(name)
            ready = self._ready[name]
            report.check(
                f"{name} runs and has a signed record",
                ready["nodeId"] == server.node_id and KIND in ready["kinds"],
                f"node {ready['nodeId'][:10]}.., UDP {ready['udp']}, TCP {ready['tcp']}, process {actor.pid}",
            )

    # 4

    async def _the_sender(self) -> None:
        report = self._report
        count = len(self._lines)
        report.begin(f"A sender posts {count:,} messages while the recipient is offline")
        self._cast("client", self._client_config(pool=TRUSTED_SERVERS))
        sender = self._cast("sender", self._client_config(pool=TRUSTED_SERVERS))
        recipient = self._players["client"].key.public.to_bytes().hex()
        text = self._stage.folder / "text.txt"
        text.write_text("\n".join(self._lines) + "\n")
        report.command(f"waypost mail send --to 0x{recipient[:8]}.. --topic {TOPIC} --input text.txt")
        started = time.monotonic()
        posted = await self._run_waypost(
            "sender", sender, "mail", "send", "--to", "0x" + recipient, "--topic", TOPIC, "--input", str(text),
            "--spread", str(count), "--servers", str(TRUSTED_SERVERS),
        )  # fmt: skip
        trusted = {self._players[name].node_id for name in ("alpha", "bravo", "charlie")}
        report.check(
            "every line is an envelope", posted["posted"] == count, f"{posted['posted']:,} of {count:,} posted"
        )
        used = set(posted["servers"])
        report.check(
            "only trusted servers were used", bool(used) and used <= trusted, ", ".join(sorted(map(self._name, used)))
        )
        report.figure("posting, with proof of work and start-up", time.monotonic() - started, "s")
        for name in ("alpha", "bravo", "charlie"):
            stored = await self._servers[name].wait_for(
                lambda event: event.get("event") == "archive" and event["envelopes"] >= count,
                f"{count} envelopes in its archive",
                WITHIN,
            )
            report.check(f"{name} has them all", True, f"{stored['envelopes']:,} envelopes, relayed and stored durably")

    # 5

    async def _the_client(self) -> None:
        report = self._report
        report.begin("The recipient comes online, finds the trusted servers and fetches its history")
        report.command("waypost serve")
        started = time.monotonic()
        self._client = await self._troupe.start(
            "client", self._command(self._players["client"], "serve"), cwd=self._stage.folder
        )
        ready = await self._client.ready(WITHIN)
        report.quote("serve", f"listening at {ready['url']}")
        fresh = await self._expect(lambda event: event.get("event") == "state" and event["state"] == "FRESH", "FRESH")
        report.check("the registry is followed by its events", True, f"state FRESH, block {fresh.get('block', '?')}")
        trusted = {self._players[name].node_id: name for name in ("alpha", "bravo", "charlie")}
        first = 0.0
        for node_id, name in trusted.items():
            event = await self._pool(node_id, "ready")
            admitted = await self._pool(node_id, "admitted")
            first = min(first or event["time"], event["time"])
            report.check(f"{name} is admitted and connected", True, admitted["reason"])
        report.figure(
            "first trusted server connected, after start", first - (time.time() - time.monotonic() + started), "s"
        )
        for name in ("outsider", "impostor"):
            await self._pool(self._players[name].node_id, "discarded")
            report.command(f"waypost verify {self._ready[name]['enode'][:16]}..")
            verdict = await self._run_waypost(
                f"verify {name}", self._players["client"], "verify", self._ready[name]["enode"], codes={3}
            )
            report.check(f"{name} is discarded", not verdict["trusted"], verdict["summary"])
        pool = {node["nodeId"] for node in await self._pool_now() if node["state"] == "ready"}
        report.check("the pool holds exactly the three", pool == set(trusted), ", ".join(sorted(map(self._name, pool))))
        fetched = await self._fetch("its history")
        self._compare(fetched)
        report.figure("history of the whole text", fetched.seconds, "s")

    # 6

    async def _a_removal(self) -> None:
        report, stage = self._report, self._stage
        report.begin("The provider removes the server in use")
        used = await self._server_in_use()
        name = self._name(used)
        address = self._players[name].address
        before = len(self._client_events)
        report.command(f"brownie run nodes remove {ACCEPTED} {KIND} {address[:10]}..")
        async with chain.BlockClock(stage) as heights:
            await chain.remove_node(self._troupe, stage, ACCEPTED, address)
            dropped = await self._pool(used, "dropped", since=before)
        mined = heights.before(dropped["block"])
        report.check(f"{name} left the registry", not await chain.is_known(stage, address), f"block {dropped['block']}")
        report.quote("serve", f"dropped {name}: {dropped['reason']}")
        report.check(
            "its connection was closed in reaction to the event", bool(dropped["connected"]), dropped["reason"]
        )
        if mined is not None:
            report.figure("from the block to the dropped connection, at most", (dropped["time"] - mined) * 1e3, "ms")
        if dropped.get("reactionSeconds") is not None:
            report.figure(
                "from the event to the dropped connection, by the client", dropped["reactionSeconds"] * 1e3, "ms"
            )
        fetched = await self._fetch("its history again")
        report.check(
            "another server was picked",
            bool(fetched.servers) and used not in fetched.servers,
            ", ".join(map(self._name, fetched.servers)),
        )
        self._compare(fetched)

    # 7

    async def _the_user_decides(self) -> None:
        report = self._report
        report.begin("The user blocks the provider and adds an own server")
        client = self._players["client"]
        left = {node["nodeId"] for node in await self._pool_now() if node["state"] == "ready"}
        report.command(f"waypost providers block {ACCEPTED} --dry-run")
        preview = await self._run_waypost("preview", client, "providers", "block", str(ACCEPTED), "--dry-run")
        report.check(
            "the switch says beforehand what it does",
            preview["stay"] == 0 and preview["nodes"] == len(left),
            preview["summary"],
        )
        before = len(self._client_events)
        report.command(f"waypost providers block {ACCEPTED}")
        await self._run_waypost("block", client, "providers", "block", str(ACCEPTED), "--yes")
        for node_id in left:
            event = await self._pool(node_id, "dropped", since=before)
            report.check(f"{self._name(node_id)} is dropped", True, event["reason"])
        own = self._ready["own"]
        report.command(f"waypost own add enode://{own['enode'][8:16]}..")
        await self._run_waypost("own", client, "own", "add", own["enode"], "--label", "at home")
        event = await self._pool(own["nodeId"], "ready", since=before)
        admitted = await self._pool(own["nodeId"], "admitted", since=before)
        report.check("the own server is used", bool(event["own"]), admitted["reason"])
        pool = {node["nodeId"] for node in await self._pool_now() if node["state"] == "ready"}
        report.check("the pool holds nothing else", pool == {own["nodeId"]}, ", ".join(map(self._name, pool)))
        report.tell("and both taken back:")
        before = len(self._client_events)
        report.command("waypost own remove 'at home'")
        await self._run_waypost("own remove", client, "own", "remove", "at home")
        event = await self._pool(own["nodeId"], "dropped", since=before)
        report.check("the own server is left", True, event["reason"])
        report.command(f"waypost providers unblock {ACCEPTED}")
        await self._run_waypost("unblock", client, "providers", "unblock", str(ACCEPTED), "--yes")
        for node_id in left:
            event = await self._pool(node_id, "ready", since=before)
            report.check(f"{self._name(node_id)} is back", True, event["reason"])

    # 8

    async def _a_crash(self) -> None:
        report = self._report
        report.begin("A server is killed in the middle of a fetch")
        fetch = await self._start_fetch("--page-size", str(PAGE))
        first = await fetch.wait_for(lambda event: progress(event) == "page", "a first page", WITHIN)
        victim = first["progress"]["nodeId"]
        self._servers[self._name(victim)].kill()
        report.command(f"kill -9 {self._servers[self._name(victim)].pid}      ({self._name(victim)}, which is sending)")
        fetched = await self._finish_fetch(fetch)
        pages = Counter(event["progress"]["nodeId"] for event in fetched.events if progress(event) == "page")
        total = sum(pages.values())
        report.check(
            "it was in the middle",
            0 < pages[victim] < total,
            f"{pages[victim]} of {total} pages came from {self._name(victim)}",
        )
        failed = [event["progress"] for event in fetched.events if progress(event) == "failed"]
        others = [self._name(node_id) for node_id in pages if node_id != victim]
        report.check("the client went on with another server", bool(failed) and bool(others), ", ".join(others))
        for event in failed:
            report.quote("fetch", f"{self._name(event['nodeId'])}: {event['reason']}")
        self._compare(fetched)

    # Actors

    def _cast(self, name: str, config: dict[str, dict[str, object]]) -> Player:
        player = self._stage.player(name, config)
        self._players[name] = player
        return player

    def _server_config(self) -> dict[str, dict[str, object]]:
        return {"chain": self._stage.chain_config(), "discovery": {"lan": True}}

    def _client_config(self, *, pool: int) -> dict[str, dict[str, object]]:
        return {
            "chain": self._stage.chain_config(),
            "discovery": {"lan": True, "bootnodes": [self._ready["bootstrap"]["enr"]]},
            "client": {"pool_target": pool},
        }

    def _servers_expected(self) -> dict[str, Player]:
        names = ("alpha", "bravo", "charlie", "outsider", "impostor", "own")
        return {name: self._players[name] for name in names}

    def _command(self, player: Player, *arguments: str) -> list[str]:
        return [*self._stage.waypost, "--home", str(player.home), "--json", *arguments]

    async def _start_node(self, player: Player) -> Event:
        actor = await self._troupe.start("bootstrap", self._command(player, "node", "run"), cwd=self._stage.folder)
        return await actor.ready(WITHIN)

    async def _start_server(self, name: str) -> None:
        bootnode = self._ready["bootstrap"]["enr"]
        actor = await self._troupe.start(
            name, self._command(self._players[name], "mailserver", "--bootnode", bootnode), cwd=self._stage.folder
        )
        self._servers[name] = actor
        self._ready[name] = await actor.ready(WITHIN)

    async def _wait_server(self, name: str) -> Actor:
        deadline = time.monotonic() + WITHIN
        while name not in self._ready:
            for task in self._tasks:
                if task.done():
                    task.result()
            if time.monotonic() > deadline:
                raise ActorFailed(f"{name} did not start within {WITHIN:g} s")
            await asyncio.sleep(0.02)
        return self._servers[name]

    async def _authorize(self, name: str, provider: int) -> Event:
        return await self._run_waypost(
            f"authorize {name}", self._players[name], "node", "authorize", "--provider", str(provider), "--kind", KIND
        )

    async def _run_waypost(self, log: str, player: Player, *arguments: str, codes: Iterable[int] = (0,)) -> Event:
        """Run a command that answers with one document."""
        actor = await self._troupe.run(
            log,
            self._command(player, *arguments),
            within=WITHIN * 2,
            cwd=self._stage.folder,
            codes=frozenset(codes),
        )
        if not actor.events:
            raise ActorFailed(f"{log} printed no document\n{actor.tail()}")
        return actor.events[-1]

    def _background(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    def _name(self, node_id: str) -> str:
        for name, player in self._players.items():
            if player.node_id == node_id:
                return name
        return node_id[:10] + ".."

    # The client

    @property
    def _client_events(self) -> list[Event]:
        assert self._client is not None
        return self._client.events

    async def _expect(self, test: Any, what: str, *, since: int = 0) -> Event:
        assert self._client is not None
        return await self._client.wait_for(test, what, WITHIN, since=since)

    async def _pool(self, node_id: str, what: str, *, since: int = 0) -> Event:
        """The client's event that something happened to a node."""
        return await self._expect(
            lambda event: event.get("event") == "pool" and event["nodeId"] == node_id and event["what"] == what,
            f"{self._name(node_id)} {what}",
            since=since,
        )

    async def _pool_now(self) -> list[Event]:
        """The pool as the daemon's HTTP interface shows it."""
        status = await self._run_waypost("status", self._players["client"], "status")
        pool: list[Event] = status["poolNodes"]
        return pool

    async def _server_in_use(self) -> str:
        """The server that served the last fetch."""
        return self._last_servers[-1]

    async def _start_fetch(self, *options: str) -> Actor:
        self._fetches += 1
        self._report.command(f"waypost mail fetch --topic {TOPIC} {' '.join(options)}".rstrip())
        return await self._troupe.start(
            f"fetch {self._fetches}",
            self._command(self._players["client"], "mail", "fetch", "--stream", "--topic", TOPIC, *options),
            cwd=self._stage.folder,
        )

    async def _finish_fetch(self, actor: Actor) -> Fetched:
        started = time.monotonic()
        code = await actor.end(WITHIN * 2)
        fetched = Fetched(events=list(actor.events), seconds=time.monotonic() - started)
        fetched.lines = [event["message"]["text"] or "" for event in actor.events if "message" in event]
        for event in actor.events:
            fetched.done = event.get("done", fetched.done)
        if code != 0 or not fetched.done:
            raise ActorFailed(f"the fetch ended with code {code}\n{actor.tail()}")
        self._last_servers = fetched.servers
        return fetched

    async def _fetch(self, what: str) -> Fetched:
        started = time.monotonic()
        fetched = await self._finish_fetch(await self._start_fetch())
        fetched.seconds = time.monotonic() - started
        self._report.tell(
            f"fetched {what} from {', '.join(map(self._name, fetched.servers))} over RLPx, "
            "with the request encrypted to the server's key"
        )
        return fetched

    def _compare(self, fetched: Fetched) -> None:
        count, got = len(self._lines), fetched.lines
        sent = Counter(self._lines)
        missing = sum((sent - Counter(got)).values())
        surplus = sum((Counter(got) - sent).values())
        self._report.check("every message is there", missing == 0, f"{count - missing:,} of {count:,}, decrypted")
        self._report.check("none came twice, none is foreign", surplus == 0, f"{surplus} too many")
        self._report.check(
            "they are in the order in which they were written", got == self._lines, "compared line by line"
        )


def progress(event: Event) -> str | None:
    """What a line of a fetch says of its progress; None if it says something else."""
    what: str | None = event.get("progress", {}).get("what")
    return what


async def perform(stage: Stage, report: Report, lines: Sequence[str]) -> list[int]:
    """Play the story with processes of our own; the ids of those that were left, which should be none."""
    troupe = Troupe(stage.logs, stage.environment())
    async with troupe:
        await Story(stage, troupe, report, lines).play()
    return [actor.pid for actor in troupe.running]


def read_lines(path: Path, count: int) -> list[str]:
    """The first `count` non-empty lines of a text."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[:count]


def sweep(folder: Path) -> None:
    """Remove the folder of a demonstration that held."""
    import shutil

    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
