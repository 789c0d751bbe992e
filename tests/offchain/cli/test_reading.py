"""Reading through a daemon whose servers are fakes, over its real interface: fetch, gaps, fill, follow."""

from __future__ import annotations

import asyncio
import io
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from offchain.cli import reading
from offchain.cli.daemon import DaemonRefused, announced
from offchain.cli.mail_printer import Printer
from offchain.cli.main import main
from offchain.cli.output import Output
from offchain.cli.reading import Following, Keys, Wanted, fetch_all, fill_all, gaps_of
from offchain.cli.settings import load
from offchain.client import follow, mailbox
from offchain.client.coverage import SETTLING, Coverage
from offchain.client.keyring import PersonalKey, topic_of_name
from offchain.errors import ConnectionLost
from offchain.keys import PrivateKey
from offchain.web.api import serve_api
from offchain.whisper.cipher import key_from_password, seal_asym, seal_sym
from offchain.whisper.envelope import Envelope
from tests.support.client import CLIENT, FakeServer, running
from tests.support.web import FakeNode

TOPIC = topic_of_name("talk")
NOW = int(time.time())
PASSWORDS = "open sesame", "swordfish"
FRIEND = PrivateKey(b"\x07" * 32)


def letter(number, data=None, *, age=0, now=NOW):
    data = data or seal_asym(CLIENT.public, b"letter %d" % number)
    return Envelope.create(now - age + 50, 50, TOPIC, data)


def old_letters(count=6, apart=100):
    return [letter(number, age=1_000 - apart * number) for number in range(count)]


class Stage:
    """A home folder in which a daemon seems to run."""

    def __init__(self, home, setting):
        self.settings = load(home, environment={})
        self.setting = setting
        self.out, self.err = io.StringIO(), io.StringIO()

    @property
    def output(self):
        return Output(True, False, self.out, self.err)

    async def fetch(self, read=fetch_all, *, stream=False, **wanted):
        """What one call prints on standard output, and whether everything was read."""
        self.out = io.StringIO()
        what = Wanted(**{"topics": ("talk",), "lower": NOW - 2_000, "upper": NOW + 60, **wanted})
        printer = await asyncio.to_thread(read, self.settings, self.output, what, stream=stream)
        complete = printer.finish()
        return [json.loads(line) for line in self.out.getvalue().splitlines()], complete

    def gaps(self, lower=NOW - 2_000, upper=NOW - SETTLING - 60):
        return [(gap.lower, gap.upper) for gap in gaps_of(self.settings, Wanted(("talk",), lower, upper))]


@asynccontextmanager
async def daemon(home, *servers):
    async with running(*servers, keys=[PersonalKey("own key", CLIENT)]) as setting:
        stage = Stage(home, setting)
        async with serve_api(FakeNode(setting), CLIENT, home) as api:
            with announced(stage.settings, api.url):
                yield stage


def texts(documents):
    return [each["text"] for document in documents for each in document.get("messages", [])]


async def test_fetches_through_the_daemon_and_notes_what_was_read(tmp_path):
    letters = old_letters()
    async with daemon(tmp_path, FakeServer(1, letters)) as stage:
        before = stage.gaps()
        (document,), complete = await stage.fetch()
        after = stage.gaps()

    assert complete
    assert document["envelopes"] == 6
    assert [each["hash"] for each in document["messages"]] == ["0x" + each.hash.hex() for each in letters]
    assert all(each["opened"] for each in document["messages"])
    assert before == [(NOW - 2_000, NOW - SETTLING - 60)]
    assert after == []


async def test_opens_with_passwords_and_keys_besides_the_users_own(tmp_path):
    letters = [
        letter(0, seal_sym(key_from_password(PASSWORDS[0]), b"by the first"), age=400),
        letter(1, seal_sym(key_from_password(PASSWORDS[1]), b"by the second"), age=300),
        letter(2, seal_asym(FRIEND.public, b"for the other key"), age=200),
        letter(3, age=100),
        letter(4, seal_asym(PrivateKey(b"\x08" * 32).public, b"for somebody else"), age=50),
    ]
    async with daemon(tmp_path, FakeServer(1, letters)) as stage:
        documents, _ = await stage.fetch(keys=Keys(PASSWORDS, (FRIEND,)))

    found = documents[0]["messages"]
    assert [each.get("text") for each in found] == [
        "by the first",
        "by the second",
        "for the other key",
        "letter 3",
        None,
    ]


async def test_what_broke_off_is_a_gap_and_filled_after_a_restart_with_that_alone(tmp_path):
    letters = old_letters()
    async with daemon(tmp_path, FakeServer(1, letters)) as stage:
        first, _ = await stage.fetch(limit=3)
        gaps = stage.gaps()
    async with daemon(tmp_path, FakeServer(2, letters)) as stage:  # another process, another server
        filled, complete = await stage.fetch(fill_all, upper=NOW - SETTLING - 60)
        nothing, _ = await stage.fetch(fill_all, upper=NOW - SETTLING - 60)

    assert texts(first) == ["letter 0", "letter 1", "letter 2"]
    assert gaps == [(letters[2].sent, NOW - SETTLING - 60)]  # of that second there may be more
    assert texts(filled) == ["letter 2", "letter 3", "letter 4", "letter 5"]
    assert complete
    assert texts(nothing) == []
    assert nothing[0]["complete"] is True


async def test_gaps_are_known_by_topic(tmp_path):
    async with daemon(tmp_path, FakeServer(1, old_letters())) as stage:
        await stage.fetch()
        found = gaps_of(stage.settings, Wanted(("talk", "news"), NOW - 500, NOW - 400))

    assert [gap.topics for gap in found] == [(topic_of_name("news"),)]


async def test_filling_stops_at_a_gap_that_cannot_be_read_and_says_so(tmp_path):
    async with daemon(tmp_path, FakeServer(1, old_letters())) as stage:
        with Coverage(tmp_path / reading.COVERAGE_FILE) as coverage:
            coverage.cover([TOPIC], NOW - 750, NOW - 650)  # two gaps
        stage.setting.mailbox._read = _nothing
        documents, complete = await stage.fetch(fill_all)

    assert not complete
    assert documents[0]["reason"] == "nobody answers"
    assert stage.gaps() == [(NOW - 2_000, NOW - 751), (NOW - 649, NOW - SETTLING - 60)]


async def _nothing(machine):
    machine._finish(False, "nobody answers")
    for event in machine.take_events():
        yield event


async def test_the_cross_check_names_the_server_that_withheld(tmp_path):
    letters = old_letters()
    liar, honest = FakeServer(1, letters[:2]), FakeServer(2, letters)
    async with daemon(tmp_path, liar, honest) as stage:
        links = stage.setting.pool.links
        stage.setting.pool.pick = lambda exclude=(): next(
            (each for each in sorted(links(), key=lambda one: one[0] != liar.node_id) if each[0] not in exclude), None
        )
        (document,), complete = await stage.fetch(check=True)

    assert complete
    assert document["checked"]["first"] == ["0x" + liar.node_id.hex()]
    assert document["checked"]["second"] == ["0x" + honest.node_id.hex()]
    assert document["checked"]["withheld"] == ["0x" + each.hash.hex() for each in letters[2:]]
    assert texts([document]) == [f"letter {number}" for number in range(6)]


@pytest.mark.parametrize(
    ("servers", "code", "said"),
    [
        ((6, 6), 0, "withheld nothing"),
        ((2, 6), 3, "4 envelopes that"),
        ((6,), 1, "not compared"),
    ],
    ids=("the same", "withheld", "nobody to compare with"),
)
async def test_the_exit_code_says_what_a_comparison_found(tmp_path, monkeypatch, capsys, servers, code, said):
    monkeypatch.setattr(mailbox, "CHECK_WAIT", 0.1)
    letters = old_letters()
    fakes = [FakeServer(number, letters[:count]) for number, count in enumerate(servers, 1)]
    async with daemon(tmp_path, *fakes) as stage:
        links = stage.setting.pool.links
        stage.setting.pool.pick = lambda exclude=(): next(
            (each for each in sorted(links(), key=lambda one: one[0] != fakes[0].node_id) if each[0] not in exclude),
            None,
        )
        arguments = ["mail", "fetch", "--home", str(tmp_path), "--topic", "talk", "--since", "1h", "--check"]
        ended = await asyncio.to_thread(main, arguments)

    assert ended == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out.count("letter") == 6


class Watched(io.StringIO):
    """Output that can be waited for."""

    def lines(self):
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def texts(self):
        return [line["message"]["text"] for line in self.lines() if "message" in line]


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (what is waited for is printed by another thread or task)
            await asyncio.sleep(0.005)


@asynccontextmanager
async def following(stage, coverage):
    out = Watched()
    output = Output(True, False, out, stage.err)
    wanted = Wanted(("talk",), NOW - 2_000, NOW + 60)
    task = asyncio.ensure_future(
        Following(stage.settings, output, wanted, Printer(output, stream=True), coverage).run()
    )
    try:
        yield out
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def nobody(settings, keys):
    """No client of our own either."""
    raise ConnectionLost("nobody is there")
    yield


async def test_follows_across_the_end_of_the_daemon_and_shows_each_message_once(tmp_path, monkeypatch):
    monkeypatch.setattr(follow.Follow, "pause", lambda self: 0.01)
    monkeypatch.setattr(reading, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(reading, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(reading, "_client", nobody)
    now = int(time.time())  # the module may have been imported minutes ago
    letters = [*old_letters(3), letter(3, age=5, now=now), letter(4, age=4, now=now)]
    server = FakeServer(1, letters[:3])
    async with AsyncExitStack() as stack:
        coverage = stack.enter_context(Coverage(":memory:"))
        first = await stack.enter_async_context(AsyncExitStack())
        stage = await first.enter_async_context(daemon(tmp_path, server))
        out = await stack.enter_async_context(following(stage, coverage))
        await until(lambda: len(out.texts()) == 3)
        server.mails = letters[:4]
        await until(lambda: len(out.texts()) == 4)
        await first.aclose()
        await until(lambda: "nobody is there" in stage.err.getvalue())
        await stack.enter_async_context(daemon(tmp_path, FakeServer(2, letters)))
        await until(lambda: len(out.texts()) == 5)
        covered = coverage.covered(TOPIC)

    assert out.texts() == [f"letter {number}" for number in range(5)]
    assert out.lines()[0]["event"] == "ready"
    assert [each["event"] for each in out.lines() if "event" in each] == ["ready"]
    assert covered[0][0] == NOW - 2_000
    assert covered[0][1] >= NOW - SETTLING
    assert "`waypost serve` has ended; going on" in stage.err.getvalue()


async def test_follows_messages_as_large_as_servers_take_them(tmp_path):
    largest = letter(0, seal_asym(CLIENT.public, b"\x01" * 1_000_000), age=10)
    async with daemon(tmp_path, FakeServer(1, [largest])) as stage:
        with Coverage(":memory:") as coverage:
            async with following(stage, coverage) as out:
                await until(out.texts)

    assert out.texts() == ["\x01" * 1_000_000]


async def test_a_request_that_the_daemon_refuses_is_not_repeated(tmp_path):
    async with daemon(tmp_path, FakeServer(1)) as stage:
        wanted = Wanted(("talk",), 4_000_000_000, 4_000_000_001)
        printer = Printer(stage.output, stream=True)
        with Coverage(":memory:") as coverage, pytest.raises(DaemonRefused, match="not in the future"):
            await Following(stage.settings, stage.output, wanted, printer, coverage).run()


def test_gaps_are_shown_for_people_and_programs(tmp_path, capsys):
    with Coverage(tmp_path / reading.COVERAGE_FILE) as coverage:
        coverage.cover([TOPIC], 0, 1_600_000_000)

    def gaps(*options):
        arguments = ["mail", "gaps", "--home", str(tmp_path), "--topic", "talk", "--since", "1500000000", *options]
        assert main(arguments) == 0
        return capsys.readouterr().out

    text = gaps("--until", "1600000009")
    assert "9 s" in text
    assert "talk" in text
    assert json.loads(gaps("--until", "1600000009", "--json"))["gaps"] == [
        {"topics": ["talk"], "since": 1_600_000_001, "until": 1_600_000_009}
    ]
    assert gaps("--until", "1600000000") == "nothing is missing\n"
