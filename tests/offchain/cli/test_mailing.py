"""`waypost mail send` (rule M9): only the recipient opens what was sealed."""

from __future__ import annotations

import json
from contextlib import nullcontext

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.cli.commands.mail import _moment
from offchain.cli.daemon import lock_home
from offchain.cli.mailing import Outgoing, seal_lines, send_all
from offchain.cli.output import Output
from offchain.cli.services import node_key
from offchain.cli.settings import load
from offchain.client.keyring import Keyring, PersonalKey, SharedKey, topic_of_name
from offchain.keys import PrivateKey

SENDER, RECIPIENT, STRANGER = (PrivateKey(bytes((number,)) * 32) for number in (1, 2, 3))
NOW = 1_700_000_000
EASY = 0.000001
"""A proof of work that the first nonce meets."""


def outgoing(lines, **changes):
    terms = {"to": RECIPIENT.public.to_bytes(), "ttl": 120, "spread": 0, "copies": 2, "servers": 1, "wait": 1.0}
    return Outgoing(lines=lines, topic="talk", **{**terms, "signed": True, **changes})


def test_only_the_recipient_opens_what_was_sealed():
    [envelope] = seal_lines(outgoing(["good morning"]), SENDER, EASY, NOW)

    opened = Keyring([PersonalKey("own", RECIPIENT)]).open(envelope)
    assert opened is not None
    assert opened.message.payload == b"good morning"
    assert opened.message.signer == SENDER.public
    assert Keyring([PersonalKey("own", STRANGER)]).open(envelope) is None
    assert envelope.topic == topic_of_name("talk")


def test_a_shared_password_opens_it_too():
    [envelope] = seal_lines(outgoing(["hello"], to="secret", signed=False), SENDER, EASY, NOW)

    opened = Keyring([SharedKey.from_password("secret")]).open(envelope)
    assert opened is not None
    assert (opened.message.payload, opened.message.signer) == (b"hello", None)


@given(count=st.integers(1, 30), spread=st.integers(0, 100))
def test_messages_are_dated_in_order_up_to_now(count, spread):
    envelopes = seal_lines(outgoing(["x"] * count, spread=spread), SENDER, EASY, NOW)

    dates = [envelope.sent for envelope in envelopes]
    assert dates == sorted(dates)
    assert dates[-1] == NOW
    assert NOW - spread <= dates[0]
    assert all(envelope.expiry == NOW + 120 for envelope in envelopes)
    assert len(set(dates)) == count or spread < count


@pytest.mark.parametrize(
    ("text", "moment"), [("1600000000", 1600000000), ("90s", NOW - 90), ("1.5h", NOW - 5400), ("7d", NOW - 604800)]
)
def test_a_moment_is_a_time_or_how_long_ago(text, moment):
    assert _moment(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "-5s", "5w", "1e9", "1" * 5000, "1" * 400 + "h"])
def test_anything_else_is_no_moment(text):
    with pytest.raises(click.UsageError, match="is not a Unix time"):
        _moment(text, NOW)


class Stopped(Exception):
    """Ends a command where the test has seen enough."""


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a service"])
async def test_beside_a_service_of_the_same_home_servers_meet_somebody_new(tmp_path, monkeypatch, beside):
    """They would end the service's connections if its node came a second time."""
    met = []

    def open_client(key, *_):
        met.append(key.public)
        raise Stopped

    monkeypatch.setattr("offchain.node.open_client", open_client)
    (tmp_path / "deployment.json").write_text(
        json.dumps(
            {"network": "x", "chainId": 1, "contracts": {"NodeRegistry": {"address": "0x" + "11" * 20, "block": 1}}}
        )
    )
    chain = {"deployment": "deployment.json", "rpc": ["http://127.0.0.1:1"]}
    settings = load(tmp_path, environment={}, overrides={"chain": chain})
    own = node_key(settings).public

    with lock_home(tmp_path) if beside else nullcontext(), pytest.raises(Stopped):
        await send_all(settings, Output(), outgoing(["hello"]))

    assert (met == [own]) is not beside
