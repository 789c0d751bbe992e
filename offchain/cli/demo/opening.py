"""The acts with which every story begins: the chain and the registry, providers and their nodes, the servers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from offchain.cli.demo import chain
from offchain.cli.demo.scene import KIND, Scene


async def the_chain(scene: Scene) -> None:
    """A chain with the registry and an owner's curator, as `brownie run deploy` makes them."""
    report, stage = scene.report, scene.stage
    report.begin("A chain, the registry and a curator")
    scene.make_bootstrap()
    bootstrap = scene.background(scene.start_bootstrap())
    await chain.start(scene.troupe, stage)
    report.tell(f"a local chain answers at {stage.rpc}")
    report.command("brownie run deploy")
    await chain.deploy(scene.troupe, stage)
    await show_contracts(scene, ("NodeRegistry", "OwnerCurator"))
    await bootstrap


async def show_contracts(scene: Scene, names: Sequence[str]) -> None:
    """Each is in the deployment file, and on the chain."""
    deployed = chain.contracts(scene.stage)
    for name in names:
        scene.report.check(
            f"{name} is deployed",
            await chain.has_code(scene.stage, deployed[name]["address"]),
            f"{deployed[name]['address']} in block {deployed[name]['block']}",
        )


async def the_providers(scene: Scene) -> None:
    """Providers list their nodes; the owner of the curator accepts some of them."""
    scene.report.begin("Two providers; the curator accepts one of them")
    await list_everybody(
        scene, [{"do": "curator accept", "provider": provider, "kind": KIND} for provider in scene.cast.accepted]
    )


async def list_everybody(scene: Scene, then: Sequence[dict[str, object]]) -> None:
    """Start all mail servers; each provider lists its own; the plan goes on with further steps."""
    report, stage, cast = scene.report, scene.stage, scene.cast
    for name in cast.servers:
        scene.make_server(name)
    for name in cast.servers:
        scene.background(scene.start_server(name))
    first = cast.providers[0]
    report.command(f"waypost node authorize --provider {first} --kind {KIND}      (each operator, with its key)")
    made = await asyncio.gather(*(scene.authorize(name, provider) for name, provider in cast.listed.items()))
    proofs = dict(zip(cast.listed, made, strict=True))
    report.command("brownie run apply main plan.json")
    plan = chain.listing_steps({each: [proofs[name] for name in cast.of(each)] for each in cast.providers})
    await chain.carry_out(scene.troupe, stage, "plan", [*plan, *then])
    for name, provider in cast.listed.items():
        await show_listed(scene, name, provider, chain.MAILSERVER_KIND)
    for name in cast.unlisted:
        player = scene.players[name]
        if name != "own":
            report.check(
                f"{name} is listed by nobody",
                not await chain.is_known(stage, player.address),
                f"node {player.node_id[:10]}..",
            )


async def show_listed(scene: Scene, name: str, provider: int, kind: int) -> None:
    """The registry lists the node."""
    player = scene.players[name]
    scene.report.check(
        f"{name} is listed by provider {provider}",
        await chain.is_listed(scene.stage, provider, kind, player.address),
        f"node {player.node_id[:10]}.., address {player.address[:10]}.., its own key agreed",
    )


async def the_servers(scene: Scene) -> None:
    """They run, each with its signed record."""
    report, servers = scene.report, scene.cast.servers
    report.begin("The mail servers and a bootstrap node, each announced in Discovery v5")
    report.command(f"waypost node run        waypost mailserver        ({len(servers) + 1} processes)")
    bootstrap = scene.ready["bootstrap"]
    report.tell(f"bootstrap node {bootstrap['nodeId'][:10]}.. on UDP {bootstrap['udp']}")
    for name in servers:
        await show_running(scene, name, KIND)


async def show_running(scene: Scene, name: str, kind: str) -> None:
    """A node has said that it is ready, under its own key and kind."""
    actor = await scene.wait_server(name)
    ready = scene.ready[name]
    scene.report.check(
        f"{name} runs and has a signed record",
        ready["nodeId"] == scene.players[name].node_id and kind in ready["kinds"],
        f"node {ready['nodeId'][:10]}.., UDP {ready['udp']}, TCP {ready['tcp']}, process {actor.pid}",
    )
