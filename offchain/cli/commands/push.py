"""`waypost push`: be told of mail while you are away."""

from __future__ import annotations

from pathlib import Path

import click

from offchain.cli.context import common_options, state_of
from offchain.cli.options import chain_options, overrides

subscription_option = click.option(
    "--subscription",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The device's PushSubscription as JSON: endpoint, keys.p256dh, keys.auth.",
)
push_wait_option = click.option(
    "--wait", type=click.FloatRange(0.1), default=30.0, show_default=True, help="Seconds to find a trusted push server."
)


@click.group()
@common_options
def push() -> None:
    """Be told of mail while you are away, by a trusted server."""


@push.command()
@subscription_option
@click.option("--topic", "topics", multiple=True, required=True, help="Name of a topic; may be repeated.")
@click.option("--days", type=click.FloatRange(0.01, 30), default=7.0, show_default=True, help="How long it holds.")
@push_wait_option
@chain_options
@common_options
def register(subscription: Path, topics: tuple[str, ...], days: float, wait: float, **chain: object) -> None:
    """Let a push server tell this device when mail on a topic arrives.

    A push server is found, verified and chosen at random, as mail servers are. The grant is signed by this client's
    key and sealed to that server. It pushes while this client is not connected to it; the notice names the topic and
    how many messages came, and nothing of what they say.
    """
    from offchain.cli.pushing import grant

    state = state_of()
    made = grant(state.settings(overrides(chain)), state.output, subscription, topics, days, wait)
    state.output.answer(made, f"{made['server']} will push for {', '.join(topics)}")


@push.command()
@subscription_option
@click.option("--server", help="Node id of the push server.  [default: any that is connected]")
@push_wait_option
@chain_options
@common_options
def revoke(subscription: Path, server: str | None, wait: float, **chain: object) -> None:
    """Take back a grant."""
    from offchain.cli.pushing import grant

    state = state_of()
    made = grant(state.settings(overrides(chain)), state.output, subscription, (), 1.0, wait, server)
    state.output.answer(made, f"{made['server']} will push no more")
