"""`waypost serve`, and how other commands talk to it.

A running daemon writes <home>/serve.json with its URL; the token that it asks for is in <home>/api.token. Both are
readable by their user alone.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from offchain.cli.output import Output
from offchain.cli.settings import Settings
from offchain.errors import ConfigError, ConnectionLost

LOCK_FILE = "lock"
TIMEOUT = 60.0
"""Seconds between two pieces of an answer."""

Document = dict[str, Any]


class DaemonRefused(ConfigError):
    """The daemon did not do what was asked, and said why."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that is running."""

    host: str
    port: int
    token: str

    def get(self, path: str, **query: str) -> Document:
        """The document at a path."""
        with self._request("GET", f"{path}?{urlencode(query)}" if query else path) as response:
            return _document(response.read())

    def post_lines(self, path: str, body: Mapping[str, object]) -> Iterator[Document]:
        """The documents that a request yields, as they come."""
        with self._request("POST", path, json.dumps(body).encode()) as response:
            for line in response:
                document = _document(line)
                if "error" in document:
                    raise DaemonRefused(str(document["error"]["message"]))
                yield document

    @contextmanager
    def _request(self, method: str, path: str, body: bytes | None = None) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        headers = {"Authorization": f"Bearer {self.token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            if response.status not in (200, 503):
                raise DaemonRefused(_reason(response))
            yield response
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionLost(f"`waypost serve` stopped answering: {error or type(error).__name__}") from None
        finally:
            connection.close()


def find_daemon(settings: Settings) -> Daemon | None:
    """The daemon of this home folder; None if there is none. A file that one left behind is no daemon."""
    try:
        document = json.loads(settings.daemon_path.read_text())
        where = urlsplit(str(document["url"]))
        token = (settings.home / "api.token").read_text("ascii").strip()
        daemon = Daemon(where.hostname or "", where.port or 0, token)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    try:
        daemon.get("/healthz")
    except (ConnectionLost, DaemonRefused):
        return None
    return daemon


@contextmanager
def lock_home(home: Path) -> Iterator[None]:
    """Keep the home folder to ourselves; ConfigError if another service has it. A killed process lets go of it."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / LOCK_FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise ConfigError(
                f"another service uses {home} (process {file.read().strip() or '?'}); stop it, or give another --home"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@contextmanager
def announced(settings: Settings, url: str) -> Iterator[None]:
    """Say in serve.json where we answer, for as long as the block lasts."""
    draft = settings.daemon_path.with_suffix(".tmp")
    with suppress(FileNotFoundError):
        draft.unlink()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"schemaVersion": 1, "pid": os.getpid(), "url": url}, file)
    draft.replace(settings.daemon_path)
    try:
        yield
    finally:
        with suppress(OSError):
            settings.daemon_path.unlink()


def run_daemon(settings: Settings, output: Output) -> None:
    """`waypost serve`: until it is asked to stop."""
    from offchain.cli.narrator import Narrator
    from offchain.cli.running import Stop, serve
    from offchain.cli.services import node_key, ready_line
    from offchain.client.keyring import PersonalKey
    from offchain.node import open_client
    from offchain.web.api import serve_api

    chain, discovery = settings.chain(), settings.discovery()
    client, http_config = settings.client(), settings.http()
    key = node_key(settings)  # last: it makes a key at first use, which a mistake in the configuration should not leave

    async def service(stop: Stop) -> None:
        async with (
            open_client(
                key, chain, discovery, client, settings.policy_path, keys=[PersonalKey("own key", key)]
            ) as node,
            serve_api(node, key, settings.home, http_config.host, http_config.port) as api,
        ):
            with announced(settings, api.url):
                ready_line(
                    output,
                    node.discovery.record,
                    f"ready at {api.url}, as {node.discovery.record.node_id.hex()}",
                    url=api.url,
                    tokenFile=str(api.token_file),
                )
                async with Narrator(output, node).running():
                    await stop.wait()

    with lock_home(settings.home):
        serve(service)


def _document(data: bytes) -> Document:
    try:
        document = json.loads(data)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ConnectionLost("`waypost serve` answered with something that is not a JSON object")
    return document


def _reason(response: http.client.HTTPResponse) -> str:
    body = response.read(65_536)
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(body)["error"]["message"])
    return f"`waypost serve` answered with status {response.status}"
