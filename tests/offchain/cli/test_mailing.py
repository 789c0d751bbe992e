"""`waypost mail` (rules X2, M9): only the recipient opens what was sealed; a fetch prints each message once."""

from __future__ import annotations

import io
import json

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.cli.commands.mail import _moment
from offchain.cli.mailing import Outgoing, Printer, _printable, seal_lines
from offchain.cli.output import Output
from offchain.client.history import ServerFailed
from offchain.client.keyring import Keyring, PersonalKey, SharedKey, topic_of_name
from offchain.keys import PrivateKey
from offchain.types import NodeId
from offchain.web.views import mail_event

SENDER, RECIPIENT, STRANGER = (PrivateKey(bytes((number,)) * 32) for number in (1, 2, 3))
SERVER = NodeId(b"\x55" * 32)
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


def message(text, **changes):
    return {"message": {"sent": NOW, "opened": text is not None, "text": text, "signer": None, **changes}}


def done(**changes):
    return {"done": {"complete": True, "reason": "", "envelopes": 2, "servers": ["0x55"], "cursor": None, **changes}}


DONE = done()


@pytest.fixture
def printed():
    """Print events; standard output and standard error."""

    def run(events, *, as_json=False, stream=False):
        out, err = io.StringIO(), io.StringIO()
        printer = Printer(Output(as_json, False, out, err), stream=stream)
        for event in events:
            printer.take(event)
        return printer.finish(), out.getvalue(), err.getvalue()

    return run


def test_people_read_the_text(printed):
    complete, out, err = printed([message("one"), message("two", signer="0xabcdef0123"), DONE])

    assert complete
    assert [line.split("  ")[1:] for line in out.splitlines()] == [["unsigned", "one"], ["0xabcdef01..", "two"]]
    assert err == "2 messages\n"


def test_programs_read_one_document(printed):
    _, out, _ = printed([message("one"), DONE], as_json=True)

    document = json.loads(out)
    assert document["schemaVersion"] == 1
    assert [each["text"] for each in document["messages"]] == ["one"]
    assert document["complete"] is True


def test_or_a_document_per_line_as_it_comes(printed):
    _, out, _ = printed([message("one"), DONE], as_json=True, stream=True)

    assert [set(json.loads(line)) - {"schemaVersion"} for line in out.splitlines()] == [{"message"}, {"done"}]


def test_what_nobody_here_can_open_is_counted(printed):
    _, out, err = printed([message(None), DONE])

    assert out == ""
    assert err == "0 messages, 1 more that none of your keys opens\n"


def test_a_fetch_that_ended_early_says_why_and_where_to_go_on(printed):
    complete, _, err = printed([done(complete=False, reason="no server is ready", cursor="0x12")])

    assert not complete
    assert "not everything could be read: no server is ready" in err
    assert "continue with: --cursor 0x12" in err
    assert printed([])[0] is False


def test_a_server_that_failed_is_mentioned(printed):
    assert (
        "failed: it went away; going on"
        in printed(
            [mail_event(ServerFailed(SERVER, "it went away")), DONE],
        )[2]
    )


@given(st.text())
def test_a_strangers_text_cannot_drive_the_terminal(text):
    assert _printable(text).isprintable()


def test_what_is_not_text_is_shown_as_digits(printed):
    assert printed([message(None, opened=True, payload="0xff00"), DONE])[1].endswith("  0xff00\n")


@pytest.mark.parametrize(
    ("text", "moment"), [("1600000000", 1600000000), ("90s", NOW - 90), ("1.5h", NOW - 5400), ("7d", NOW - 604800)]
)
def test_a_moment_is_a_time_or_how_long_ago(text, moment):
    assert _moment(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "-5s", "5w", "1e9", "1" * 5000, "1" * 400 + "h"])
def test_anything_else_is_no_moment(text):
    with pytest.raises(click.UsageError, match="is not a Unix time"):
        _moment(text, NOW)
