"""What `waypost mail` prints of what it reads (rule X2)."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.cli.mail_printer import Printer, printable
from offchain.cli.output import Output
from offchain.client.cross_check import CrossChecked
from offchain.client.history import Overtaken, PageRead, ServerFailed
from offchain.types import NodeId
from offchain.web.views import mail_event

SERVER, OTHER = NodeId(b"\x55" * 32), NodeId(b"\x66" * 32)
NOW = 1_700_000_000


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
    assert printable(text).isprintable()


def test_what_is_not_text_is_shown_as_digits(printed):
    assert printed([message(None, opened=True, payload="0xff00"), DONE])[1].endswith("  0xff00\n")


def test_what_several_readings_gave_is_summed_up(printed):
    first, second = done(envelopes=2, pages=1, servers=["0x55"]), done(envelopes=3, pages=2, servers=["0x66", "0x55"])
    _, out, _ = printed([message("one"), first, message("two"), second], as_json=True)

    document = json.loads(out)
    assert (document["envelopes"], document["pages"], document["servers"]) == (5, 3, ["0x55", "0x66"])
    assert [each["text"] for each in document["messages"]] == ["one", "two"]


def test_a_message_that_comes_again_is_shown_once(printed):
    assert printed([message("one", hash="0x01"), message("one", hash="0x01"), DONE])[1].count("one") == 1


def test_how_far_it_has_come_is_said_now_and_then():
    now = [0.0]
    err = io.StringIO()
    printer = Printer(Output(False, False, io.StringIO(), err), stream=False, clock=lambda: now[0])
    for _ in range(10):
        now[0] += 1.0
        printer.take(mail_event(PageRead(SERVER, 1, 150, None, 0.1)))

    assert err.getvalue().splitlines()[:2] == ["300 envelopes so far", "600 envelopes so far"]
    assert len(err.getvalue().splitlines()) == 5


def test_a_slow_server_and_a_wrong_clock_are_mentioned(printed):
    err = printed([mail_event(Overtaken(SERVER, OTHER, 2.0)), {"notice": "this machine's clock seems wrong"}, DONE])[2]

    assert "server 0x55555555.. was slow: 0x66666666.. goes on" in err
    assert "this machine's clock seems wrong" in err


@pytest.mark.parametrize(
    ("checked", "text"),
    [
        (
            CrossChecked(True, "", (SERVER,), (OTHER,), (b"a" * 32, b"b" * 32), 0),
            "2 envelopes that 0x66666666.. has were withheld by 0x55555555.., or never reached it",
        ),
        (CrossChecked(True, "", (SERVER,), (OTHER,), (), 0), "compared with 0x66666666..: 0x55555555.. withheld"),
        (CrossChecked(True, "", (SERVER,), (OTHER,), (), 3), "0x66666666.. lacks 3 envelopes that 0x55555555.. has"),
        (CrossChecked(False, "not compared: nobody was there", (SERVER,), (), (), 0), "not compared: nobody"),
    ],
    ids=("withheld", "nothing withheld", "lacked", "not compared"),
)
def test_what_a_comparison_found_is_said(printed, checked, text):
    assert text in printed([DONE, mail_event(checked)])[2]


def test_programs_get_the_comparison_too(printed):
    found = CrossChecked(True, "", (SERVER,), (OTHER,), (b"a" * 32,), 0)

    document = json.loads(printed([DONE, mail_event(found)], as_json=True)[1])

    assert document["checked"]["withheld"] == ["0x" + (b"a" * 32).hex()]
    assert document["checked"]["first"] == ["0x" + SERVER.hex()]
