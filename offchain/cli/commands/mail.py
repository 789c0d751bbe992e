"""`waypost mail`: send messages to trusted mail servers, fetch and follow what was sent."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from offchain.cli.context import State, common_options, state_of
from offchain.cli.options import bootnode_option, chain_options, overrides
from offchain.cli.output import Exit, Failed
from offchain.errors import ConfigError

if TYPE_CHECKING:
    from offchain.cli.reading import Keys
    from offchain.cli.settings import Settings

MAX_LINES = 100_000
"""Messages that one call sends."""

DAY = 24 * 3600
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")
_DIGITS = 12
"""Characters of the longest time that is read."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": DAY}


@click.group()
@common_options
def mail() -> None:
    """Send messages, fetch and follow what was sent."""


@mail.command()
@click.argument("text", nargs=-1)
@click.option("--to", help="The recipient's public key, or enode.")
@click.option(
    "--password-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A shared password."
)
@click.option("--topic", required=True, help="Name of the conversation.")
@click.option("--input", "source", type=click.File("r"), help="Send each line of a file that is not empty; - is stdin.")
@click.option("--ttl", type=click.IntRange(1, 7 * DAY), default=120, show_default=True, help="Seconds to travel.")
@click.option(
    "--spread",
    type=click.IntRange(0, DAY),
    default=0,
    show_default=True,
    help="Date the messages evenly over so many past seconds, for lines that were written one after another.",
)
@click.option(
    "--copies", type=click.IntRange(1, 8), default=2, show_default=True, help="Servers that get each message."
)
@click.option(
    "--servers", type=click.IntRange(1, 50), default=1, show_default=True, help="Wait for so many trusted servers."
)
@click.option("--wait", type=click.FloatRange(0.1), default=30.0, show_default=True, help="Seconds to wait for them.")
@click.option("--unsigned", is_flag=True, help="Do not sign with the node key: the recipient can't tell who wrote.")
@bootnode_option
@chain_options
@common_options
def send(
    text: tuple[str, ...],
    to: str | None,
    password_file: Path | None,
    topic: str,
    source: TextIO | None,
    ttl: int,
    spread: int,
    copies: int,
    servers: int,
    wait: float,
    unsigned: bool,
    bootnodes: tuple[str, ...],
    **chain: object,
) -> None:
    """Send messages.

    Each is sealed to the recipient's key or with a shared password, signed, and handed to trusted mail servers, which
    keep it for the recipient and pass it on to each other.
    """
    from offchain.cli.mailing import Outgoing, send_all
    from offchain.cli.running import run

    if (to is None) == (password_file is None):
        raise click.UsageError("name either a recipient (--to) or a shared password (--password-file)")
    lines = _lines(text, source)
    state = state_of()
    settings = state.settings(overrides(chain, discovery={"bootnodes": bootnodes}))
    outgoing = Outgoing(
        lines=lines,
        topic=topic,
        to=_recipient(to, password_file),
        ttl=ttl,
        spread=spread,
        copies=copies,
        servers=servers,
        wait=wait,
        signed=not unsigned,
    )
    sent = run(lambda: send_all(settings, state.output, outgoing))
    names = ", ".join(node[:10] + ".." for node in sent.servers)
    state.output.answer(asdict(sent), f"{sent.posted:,} messages are with {len(sent.servers)} trusted servers: {names}")


F = TypeVar("F", bound=Callable[..., object])


def _reading_options(command: F) -> F:
    """What every command that reads has."""
    existing = click.Path(exists=True, dir_okay=False, path_type=Path)
    for option in (
        common_options,
        chain_options,
        bootnode_option,
        click.option(
            "--key-file", "key_files", type=existing, multiple=True, help="Another private key of yours; repeatable."
        ),
        click.option(
            "--password-file", "password_files", type=existing, multiple=True, help="A shared password; repeatable."
        ),
    ):
        command = option(command)
    return command


_topics = click.option("--topic", "topics", multiple=True, required=True, help="Name of a conversation; repeatable.")
_since = click.option(
    "--since", default="24h", show_default=True, help="Unix time, or how long ago: 90s, 15m, 24h, 7d."
)
_until = click.option("--until", default="0s", show_default=True, help="Unix time, or how long ago.")
_settled = click.option(
    "--until", default="2m", show_default=True, help="Unix time, or how long ago; until then envelopes get around."
)
_page_size = click.option(
    "--page-size", type=click.IntRange(1, 1000), default=150, show_default=True, help="Envelopes at a time."
)
_stream = click.option("--stream", is_flag=True, help="With --json: a document per line, progress too, as it comes.")


@mail.command()
@_topics
@_since
@_until
@_page_size
@click.option("--limit", type=click.IntRange(1), help="Envelopes in all.")
@click.option("--cursor", help="Continue where an earlier fetch stopped.")
@click.option("--check", is_flag=True, help="Ask a second server for the same, and say what the first withheld.")
@_stream
@_reading_options
def fetch(
    topics: tuple[str, ...],
    since: str,
    until: str,
    page_size: int,
    limit: int | None,
    cursor: str | None,
    check: bool,
    stream: bool,
    **reading: Any,
) -> None:
    """Fetch history from a random trusted mail server; go on with another if it fails.

    Asks the running `waypost serve`, or does its work itself if there is none. Messages come oldest first, each once.
    Your own key and every key and password named open them. Ends with 1 if the history could not be read to its end, or
    not be compared; with 3 if a server withheld something.
    """
    from offchain.cli.reading import Wanted, fetch_all

    state, settings, keys = _reader(reading)
    now = int(time.time())
    wanted = Wanted(
        topics, _moment(since, now), _moment(until, now), page_size, limit, _cursor(cursor), keys, check=check
    )
    printer = fetch_all(settings, state.output, wanted, stream=stream)
    complete, checked = printer.finish(), printer.checked
    if not complete or (check and not (checked and checked["compared"])):
        raise Failed(Exit.ERROR)
    if checked and checked["withheld"]:
        raise Failed(Exit.UNTRUSTED)


@mail.command()
@_topics
@_since
@_settled
@_page_size
@_stream
@_reading_options
def fill(topics: tuple[str, ...], since: str, until: str, page_size: int, stream: bool, **reading: Any) -> None:
    """Fetch only what was never read: see `waypost mail gaps`.

    Ends with 1 if something is still missing.
    """
    from offchain.cli.reading import Wanted, fill_all

    state, settings, keys = _reader(reading)
    now = int(time.time())
    wanted = Wanted(topics, _moment(since, now), _moment(until, now), page_size, keys=keys)
    if not fill_all(settings, state.output, wanted, stream=stream).finish():
        raise Failed(Exit.ERROR)


@mail.command()
@_topics
@_since
@_settled
@common_options
def gaps(topics: tuple[str, ...], since: str, until: str) -> None:
    """Say what of the history was never read to its end on this machine, by topic.

    `fetch`, `fill` and `follow` note what they read, up to two minutes ago: younger envelopes may still arrive.
    """
    from offchain.cli.output import table
    from offchain.cli.reading import Wanted, gaps_of
    from offchain.client.keyring import topic_of_name

    state = state_of()
    now = int(time.time())
    found = gaps_of(state.settings(), Wanted(topics, _moment(since, now), _moment(until, now)))
    names = {topic_of_name(name): name for name in topics}
    rows, document = [], []
    for gap in found:
        named = sorted(names[topic] for topic in gap.topics)
        document.append({"topics": named, "since": gap.lower, "until": gap.upper})
        rows.append((_clock(gap.lower), _clock(gap.upper), f"{gap.upper - gap.lower + 1:,} s", ", ".join(named)))
    text = table(rows, ("from", "to", "", "topics")) if rows else "nothing is missing"
    state.output.answer({"gaps": document}, text)


@mail.command()
@_topics
@click.option("--since", default="0s", show_default="now", help="Unix time, or how long ago: 90s, 15m, 24h, 7d.")
@_reading_options
def follow(topics: tuple[str, ...], since: str, **reading: Any) -> None:
    """Print messages as they arrive, until Ctrl-C.

    Begins with what was sent since --since. When a server fails, the connection breaks or the machine sleeps, it goes
    on where it was: each message comes once, and none is left out. With --json a document per line; the first says that
    it is ready.
    """
    from offchain.cli.reading import Wanted, follow_all

    state, settings, keys = _reader(reading)
    now = int(time.time())
    follow_all(settings, state.output, Wanted(topics, _moment(since, now), now + DAY, keys=keys))


def _reader(reading: dict[str, Any]) -> tuple[State, Settings, Keys]:
    """What the options that every reading command has amount to."""
    from offchain.cli.reading import Keys
    from offchain.keys import PrivateKey

    state = state_of()
    passwords = tuple(map(_password, reading.pop("password_files")))
    private = tuple(PrivateKey.load(path) for path in reading.pop("key_files"))
    bootnodes = reading.pop("bootnodes")
    settings = state.settings(overrides(reading, discovery={"bootnodes": bootnodes}))
    return state, settings, Keys(passwords, private)


def _clock(moment: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _lines(text: tuple[str, ...], source: TextIO | None) -> list[str]:
    if bool(text) == (source is not None):
        raise click.UsageError("give either the text of a message, or --input")
    if source is None:
        return [" ".join(text)]
    try:
        lines = [line.strip() for line in source if line.strip()]
    except UnicodeDecodeError:
        raise ConfigError(f"{source.name} is not text") from None
    if not 1 <= len(lines) <= MAX_LINES:
        raise ConfigError(f"{source.name} has {len(lines)} lines that are not empty, expected 1 to {MAX_LINES}")
    return lines


def _recipient(to: str | None, password_file: Path | None) -> bytes | str:
    """64 bytes of a public key, or a password."""
    from offchain.enode import parse
    from offchain.errors import DecodeError
    from offchain.keys import PublicKey

    if to is None:
        assert password_file is not None
        return _password(password_file)
    try:
        if to.startswith("enode://"):
            return parse(to).public.to_bytes()
        return PublicKey.from_bytes(bytes.fromhex(to.removeprefix("0x"))).to_bytes()
    except (DecodeError, ValueError):
        raise ConfigError(
            f"{to[:20]}.. is not a public key: expected 0x and 128 (or 66) hex digits, or enode://"
        ) from None


def _password(path: Path) -> str:
    try:
        password = path.read_text().strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the password file {path} cannot be read: {error}") from None
    if not password:
        raise ConfigError(f"the password file {path} is empty")
    return password


def _moment(text: str, now: int) -> int:
    """A Unix time, from one or from how long ago it was."""
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS:
        return int(text)
    match = _DURATION.fullmatch(text) if len(text) <= _DIGITS else None
    if match is None:
        raise click.UsageError(f"{text!r} is not a Unix time, nor a number and s, m, h or d")
    return max(0, now - int(float(match[1]) * _UNITS[match[2]]))


def _cursor(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        cursor = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        cursor = b""
    if len(cursor) != 36:
        raise click.UsageError(f"{text[:20]!r} is not a cursor: 72 hex digits, as an earlier fetch printed them")
    return cursor
