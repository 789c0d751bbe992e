"""What all acts of the demonstration share: who is in it, how they are started, what the client says.

Nothing is simulated: every actor is a process with a home folder of its own, and what passes between them goes through
the chain and the network.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from offchain.cli.demo import chain
from offchain.cli.demo.actors import Actor, ActorFailed, Troupe
from offchain.cli.demo.report import Report
from offchain.cli.demo.stage import Player, Stage
from offchain.trust.policy import Policy
from offchain.trust.policy_file import save_policy

KIND = "mailserver"
TOPIC = "waypost-demo"

WITHIN = 60.0
"""Seconds that the demonstration waits for anything before it calls it missing."""

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cast:
    """Who runs which mail server, and whom the curator accepts."""

    listed: Mapping[str, int]
    """Mail servers, and the number of the provider that lists each."""
    unlisted: tuple[str, ...]
    """Mail servers that nobody lists."""
    accepted: tuple[int, ...]
    """Providers that the curator accepts before anything else happens."""
    curators: tuple[str, ...] = ()
    """Contracts by whose verdicts everybody goes; without any, the one that the configuration names first."""

    @property
    def servers(self) -> tuple[str, ...]:
        """Every mail server."""
        return (*self.listed, *self.unlisted)

    @property
    def providers(self) -> list[int]:
        """Every provider."""
        return sorted(set(self.listed.values()))

    @property
    def trusted(self) -> tuple[str, ...]:
        """Mail servers of the accepted providers."""
        return tuple(name for name, provider in self.listed.items() if provider in self.accepted)

    def of(self, provider: int) -> tuple[str, ...]:
        """Mail servers of one provider."""
        return tuple(name for name, lister in self.listed.items() if lister == provider)


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


class Scene:
    """The actors of one demonstration and what acts do with them."""

    def __init__(self, stage: Stage, troupe: Troupe, report: Report, cast: Cast, lines: Sequence[str] = ()) -> None:
        self.stage = stage
        self.troupe = troupe
        self.report = report
        self.cast = cast
        self.lines = list(lines)
        """What the sender sends."""
        self.players: dict[str, Player] = {}
        self.servers: dict[str, Actor] = {}
        self.ready: dict[str, Event] = {}
        """For each node that runs, the line in which it said so."""
        self.last_servers: list[str] = []
        """Node ids of the servers that served the last fetch."""
        self._client: Actor | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._fetches = 0

    async def end(self) -> None:
        """Stop waiting for anything. The processes belong to the troupe."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Actors

    def make_bootstrap(self) -> None:
        """The belongings of the bootstrap node, which knows nothing of any registry."""
        self.players["bootstrap"] = self.stage.player("bootstrap", {"discovery": {"lan": True}})

    def make_server(self, name: str) -> Player:
        """The belongings of a node that serves."""
        return self._make_follower(name, {"discovery": {"lan": True}})

    def make_client(self, name: str, **client: object) -> Player:
        """The belongings of a client, with the settings of its [client] section."""
        discovery = {"lan": True, "bootnodes": [self.ready["bootstrap"]["enr"]]}
        return self._make_follower(name, {"discovery": discovery, "client": client})

    def _make_follower(self, name: str, config: dict[str, dict[str, object]]) -> Player:
        player = self.stage.player(name, {"chain": self.stage.chain_config(), **config})
        if self.cast.curators:
            curators = (chain.address_of(self.stage, curator) for curator in self.cast.curators)
            save_policy(player.home / "policy.json", Policy(tuple(curators)))
        self.players[name] = player
        return player

    def command(self, player: Player, *arguments: str) -> list[str]:
        """A command of `waypost` in the player's home folder."""
        return [*self.stage.waypost, "--home", str(player.home), "--json", *arguments]

    async def start_bootstrap(self) -> None:
        """Start the bootstrap node."""
        player = self.players["bootstrap"]
        actor = await self.troupe.start("bootstrap", self.command(player, "node", "run"), cwd=self.stage.folder)
        self.ready["bootstrap"] = await actor.ready(WITHIN)

    async def start_server(self, name: str, *words: str) -> None:
        """Start a node that serves: a mail server, unless the words are another command of `waypost`."""
        bootnode = self.ready["bootstrap"]["enr"]
        command = self.command(self.players[name], *(words or ("mailserver",)), "--bootnode", bootnode)
        actor = await self.troupe.start(name, command, cwd=self.stage.folder)
        self.servers[name] = actor
        self.ready[name] = await actor.ready(WITHIN)

    async def wait_server(self, name: str) -> Actor:
        """The node, once it runs."""
        deadline = time.monotonic() + WITHIN
        while name not in self.ready:
            for task in self._tasks:
                if task.done():
                    task.result()
            if time.monotonic() > deadline:
                raise ActorFailed(f"{name} did not start within {WITHIN:g} s")
            await asyncio.sleep(0.02)
        return self.servers[name]

    async def authorize(self, name: str, provider: int, *new_kind: str) -> Event:
        """The operator's proof that the node's key agrees to be listed: as a mail server, unless options say other."""
        words = ("node", "authorize", "--provider", str(provider), *(new_kind or ("--kind", KIND)))
        return await self.run_waypost(f"authorize {name}", self.players[name], *words)

    async def run_waypost(self, log: str, player: Player, *arguments: str, codes: Iterable[int] = (0,)) -> Event:
        """Run a command that answers with one document."""
        actor = await self.troupe.run(
            log,
            self.command(player, *arguments),
            within=WITHIN * 2,
            cwd=self.stage.folder,
            codes=frozenset(codes),
        )
        if not actor.events:
            raise ActorFailed(f"{log} printed no document\n{actor.tail()}")
        return actor.events[-1]

    def background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do something meanwhile; it is given up at the end."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    def name(self, node_id: str) -> str:
        """What we call a node."""
        for name, player in self.players.items():
            if player.node_id == node_id:
                return name
        return node_id[:10] + ".."

    def names(self, node_ids: Iterable[str]) -> str:
        """What we call some nodes, for people."""
        return ", ".join(map(self.name, node_ids))

    def ids(self, names: Iterable[str]) -> set[str]:
        """The node ids of players."""
        return {self.players[name].node_id for name in names}

    # The client

    async def start_client(self) -> Event:
        """`waypost serve`, by the player named client; the line in which it says that it is ready."""
        command = self.command(self.players["client"], "serve")
        self._client = await self.troupe.start("client", command, cwd=self.stage.folder)
        return await self._client.ready(WITHIN)

    @property
    def client_events(self) -> list[Event]:
        """What the running client has said."""
        assert self._client is not None
        return self._client.events

    async def expect(self, test: Callable[[Event], bool], what: str, *, since: int = 0) -> Event:
        """The client's first event that passes."""
        assert self._client is not None
        return await self._client.wait_for(test, what, WITHIN, since=since)

    async def pool(self, node_id: str, what: str, *, since: int = 0) -> Event:
        """The client's event that something happened to a node."""
        return await self.expect(
            lambda event: event.get("event") == "pool" and event["nodeId"] == node_id and event["what"] == what,
            f"{self.name(node_id)} {what}",
            since=since,
        )

    async def pool_now(self) -> set[str]:
        """The nodes in the pool that are ready, as the client's HTTP interface shows them."""
        status = await self.run_waypost("status", self.players["client"], "status")
        return {node["nodeId"] for node in status["poolNodes"] if node["state"] == "ready"}

    async def verify(self, name: str, *, trusted: bool) -> Event:
        """Ask the client whether it trusts a node, and why; the exit code must say the same."""
        enode = self.ready[name]["enode"]
        self.report.command(f"waypost verify {enode[:16]}..")
        return await self.run_waypost(
            f"verify {name}", self.players["client"], "verify", enode, codes={0 if trusted else 3}
        )

    async def dropped(self, node_id: str, transaction: Callable[[], Awaitable[None]]) -> Event:
        """Have something changed on chain, and see the client drop a node for it: checked, timed from both sides."""
        report = self.report
        before = len(self.client_events)
        async with chain.BlockClock(self.stage) as heights:
            await transaction()
            dropped = await self.pool(node_id, "dropped", since=before)
        mined = heights.before(dropped["block"])
        report.quote("serve", f"dropped {self.name(node_id)}: {dropped['reason']}")
        report.check(
            "its connection was closed in reaction to the event", bool(dropped["connected"]), dropped["reason"]
        )
        if mined is not None:
            report.figure("from the block to the dropped connection, at most", (dropped["time"] - mined) * 1e3, "ms")
        if dropped.get("reactionSeconds") is not None:
            report.figure(
                "from the event to the dropped connection, by the client", dropped["reactionSeconds"] * 1e3, "ms"
            )
        return dropped

    # History

    async def start_fetch(self, *options: str, player: str = "client", topic: str = TOPIC) -> Actor:
        """`waypost mail fetch`, line by line."""
        self._fetches += 1
        self.report.command(f"waypost mail fetch --topic {topic} {' '.join(options)}".rstrip())
        return await self.troupe.start(
            f"fetch {self._fetches}",
            self.command(self.players[player], "mail", "fetch", "--stream", "--topic", topic, *options),
            cwd=self.stage.folder,
        )

    async def finish_fetch(self, actor: Actor) -> Fetched:
        """What it brought."""
        started = time.monotonic()
        code = await actor.end(WITHIN * 2)
        fetched = Fetched(events=list(actor.events), seconds=time.monotonic() - started)
        fetched.lines = [event["message"]["text"] or "" for event in actor.events if "message" in event]
        for event in actor.events:
            fetched.done = event.get("done", fetched.done)
        if code != 0 or not fetched.done:
            raise ActorFailed(f"the fetch ended with code {code}\n{actor.tail()}")
        self.last_servers = fetched.servers
        return fetched

    async def fetch(self, what: str) -> Fetched:
        """Fetch all of it, and say who served."""
        started = time.monotonic()
        fetched = await self.finish_fetch(await self.start_fetch())
        fetched.seconds = time.monotonic() - started
        self.report.tell(
            f"fetched {what} from {self.names(fetched.servers)} over RLPx, "
            "with the request encrypted to the server's key"
        )
        return fetched

    async def fetch_from_others(self, what: str, left: Collection[str]) -> None:
        """Fetch all of it, and see that none of the servers that were left has part in it."""
        fetched = await self.fetch(what)
        self.report.check(
            "another server was picked",
            bool(fetched.servers) and not set(fetched.servers) & set(left),
            self.names(fetched.servers),
        )
        self.compare(fetched)

    def compare(self, fetched: Fetched) -> None:
        """Every line came, once, in order."""
        count, got = len(self.lines), fetched.lines
        sent = Counter(self.lines)
        missing = sum((sent - Counter(got)).values())
        surplus = sum((Counter(got) - sent).values())
        self.report.check("every message is there", missing == 0, f"{count - missing:,} of {count:,}, decrypted")
        self.report.check("none came twice, none is foreign", surplus == 0, f"{surplus} too many")
        self.report.check(
            "they are in the order in which they were written", got == self.lines, "compared line by line"
        )
