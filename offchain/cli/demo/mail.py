"""The acts about mail: a sender, a recipient who finds the trusted servers, a server that goes away in the middle."""

from __future__ import annotations

import time
from collections import Counter

from offchain.cli.demo import chain
from offchain.cli.demo.scene import KIND, TOPIC, WITHIN, Event, Scene

PAGE = 5
"""Envelopes in a page of the fetch that is interrupted: small, so that there is a middle to interrupt."""


async def the_sender(scene: Scene) -> None:
    """Messages reach every trusted server."""
    report, trusted = scene.report, scene.cast.trusted
    count = len(scene.lines)
    report.begin(f"A sender posts {count:,} messages while the recipient is offline")
    recipient = scene.make_client("client", pool_target=len(trusted))
    sender = scene.make_client("sender", pool_target=len(trusted))
    to = recipient.key.public.to_bytes().hex()
    text = scene.stage.folder / "text.txt"
    text.write_text("\n".join(scene.lines) + "\n")
    report.command(f"waypost mail send --to 0x{to[:8]}.. --topic {TOPIC} --input text.txt")
    started = time.monotonic()
    posted = await scene.run_waypost(
        "sender", sender, "mail", "send", "--to", "0x" + to, "--topic", TOPIC, "--input", str(text),
        "--spread", str(count), "--servers", str(len(trusted)),
    )  # fmt: skip
    report.check("every line is an envelope", posted["posted"] == count, f"{posted['posted']:,} of {count:,} posted")
    used = set(posted["servers"])
    names = ", ".join(sorted(map(scene.name, used)))
    report.check("only trusted servers were used", bool(used) and used <= scene.ids(trusted), names)
    report.figure("posting, with proof of work and start-up", time.monotonic() - started, "s")
    for name in trusted:
        stored = await scene.servers[name].wait_for(
            lambda event: event.get("event") == "archive" and event["envelopes"] >= count,
            f"{count} envelopes in its archive",
            WITHIN,
        )
        report.check(f"{name} has them all", True, f"{stored['envelopes']:,} envelopes, relayed and stored durably")


async def the_client(scene: Scene) -> None:
    """The client admits exactly the trusted servers, says of each other why not, and fetches its history."""
    report, cast = scene.report, scene.cast
    report.begin("The recipient comes online, finds the trusted servers and fetches its history")
    report.command("waypost serve")
    started = time.monotonic()
    ready = await scene.start_client()
    report.quote("serve", f"listening at {ready['url']}")
    fresh = await scene.expect(lambda event: event.get("event") == "state" and event["state"] == "FRESH", "FRESH")
    report.check("the registry is followed by its events", True, f"state FRESH, block {fresh.get('block', '?')}")
    first = 0.0
    for name in cast.trusted:
        node_id = scene.players[name].node_id
        event = await scene.pool(node_id, "ready")
        admitted = await scene.pool(node_id, "admitted")
        first = min(first or event["time"], event["time"])
        report.check(f"{name} is admitted and connected", True, admitted["reason"])
    report.figure(
        "first trusted server connected, after start", first - (time.time() - time.monotonic() + started), "s"
    )
    for name in ("outsider", "impostor"):
        await scene.pool(scene.players[name].node_id, "discarded")
        verdict = await scene.verify(name, trusted=False)
        report.check(f"{name} is discarded", not verdict["trusted"], verdict["summary"])
    pool = await scene.pool_now()
    report.check(
        f"the pool holds exactly the {len(cast.trusted)}",
        pool == scene.ids(cast.trusted),
        ", ".join(sorted(map(scene.name, pool))),
    )
    fetched = await scene.fetch("its history")
    scene.compare(fetched)
    report.figure("history of the whole text", fetched.seconds, "s")


async def a_removal(scene: Scene) -> None:
    """The server in use leaves the registry; the client leaves it, and goes on with another."""
    report, stage = scene.report, scene.stage
    report.begin("The provider removes the server in use")
    used = scene.last_servers[-1]
    name = scene.name(used)
    provider, address = scene.cast.listed[name], scene.players[name].address
    report.command(f"brownie run nodes remove {provider} {KIND} {address[:10]}..")
    dropped = await scene.dropped(used, lambda: chain.remove_node(scene.troupe, stage, provider, address))
    report.check(f"{name} left the registry", not await chain.is_known(stage, address), f"block {dropped['block']}")
    await scene.fetch_from_others("its history again", {used})


async def the_user_decides(scene: Scene) -> None:
    """A provider is blocked, an own server used; then both are taken back."""
    report, client = scene.report, scene.players["client"]
    provider = scene.cast.accepted[0]
    report.begin("The user blocks the provider and adds an own server")
    left = await scene.pool_now()
    report.command(f"waypost providers block {provider} --dry-run")
    preview = await scene.run_waypost("preview", client, "providers", "block", str(provider), "--dry-run")
    report.check(
        "the switch says beforehand what it does",
        preview["stay"] == 0 and preview["nodes"] == len(left),
        preview["summary"],
    )
    before = len(scene.client_events)
    report.command(f"waypost providers block {provider}")
    await scene.run_waypost("block", client, "providers", "block", str(provider), "--yes")
    for node_id in left:
        event = await scene.pool(node_id, "dropped", since=before)
        report.check(f"{scene.name(node_id)} is dropped", True, event["reason"])
    own = scene.ready["own"]
    report.command(f"waypost own add enode://{own['enode'][8:16]}..")
    await scene.run_waypost("own", client, "own", "add", own["enode"], "--label", "at home")
    event = await scene.pool(own["nodeId"], "ready", since=before)
    admitted = await scene.pool(own["nodeId"], "admitted", since=before)
    report.check("the own server is used", bool(event["own"]), admitted["reason"])
    pool = await scene.pool_now()
    report.check("the pool holds nothing else", pool == {own["nodeId"]}, scene.names(pool))
    report.tell("and both taken back:")
    before = len(scene.client_events)
    report.command("waypost own remove 'at home'")
    await scene.run_waypost("own remove", client, "own", "remove", "at home")
    event = await scene.pool(own["nodeId"], "dropped", since=before)
    report.check("the own server is left", True, event["reason"])
    report.command(f"waypost providers unblock {provider}")
    await scene.run_waypost("unblock", client, "providers", "unblock", str(provider), "--yes")
    for node_id in left:
        event = await scene.pool(node_id, "ready", since=before)
        report.check(f"{scene.name(node_id)} is back", True, event["reason"])


async def a_crash(scene: Scene) -> None:
    """A server dies while it sends; another goes on where it stopped."""
    report = scene.report
    report.begin("A server is killed in the middle of a fetch")
    fetch = await scene.start_fetch("--page-size", str(PAGE))
    first = await fetch.wait_for(lambda event: progress(event) == "page", "a first page", WITHIN)
    victim = first["progress"]["nodeId"]
    name = scene.name(victim)
    scene.servers[name].kill()
    report.command(f"kill -9 {scene.servers[name].pid}      ({name}, which is sending)")
    fetched = await scene.finish_fetch(fetch)
    pages = Counter(event["progress"]["nodeId"] for event in fetched.events if progress(event) == "page")
    total = sum(pages.values())
    report.check(
        "it was in the middle", 0 < pages[victim] < total, f"{pages[victim]} of {total} pages came from {name}"
    )
    failed = [event["progress"] for event in fetched.events if progress(event) == "failed"]
    others = [node_id for node_id in pages if node_id != victim]
    report.check("the client went on with another server", bool(failed) and bool(others), scene.names(others))
    for event in failed:
        report.quote("fetch", f"{scene.name(event['nodeId'])}: {event['reason']}")
    scene.compare(fetched)


def progress(event: Event) -> str | None:
    """What a line of a fetch says of its progress; None if it says something else."""
    what: str | None = event.get("progress", {}).get("what")
    return what
