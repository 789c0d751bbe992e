"""How commands find the running client (rules X5, X6): private files, a lock, no belief in old files."""

from __future__ import annotations

import io
import json
import os
import stat

import pytest

from offchain.cli import daemon as daemon_module
from offchain.cli.daemon import Daemon, DaemonRefused, announced, find_daemon, lock_home
from offchain.cli.output import Output
from offchain.cli.settings import load
from offchain.errors import ConfigError, ConnectionLost


@pytest.fixture
def settings(tmp_path):
    return load(tmp_path, environment={})


def test_a_mistake_in_the_configuration_leaves_no_key_behind(settings):
    with pytest.raises(ConfigError, match="no network is chosen"):
        daemon_module.run_daemon(settings, Output())

    assert not settings.key_path().exists()


class Answer:
    """An http.client response."""

    def __init__(self, status, body):
        self.status = status
        self._body = io.BytesIO(body)

    def read(self, size=-1):
        return self._body.read(size)

    def __iter__(self):
        return iter(self._body)


@pytest.fixture
def answering(monkeypatch):
    """Answer every request with this; the requests are collected."""
    seen = []

    def prepare(status, body):
        class Connection:
            def __init__(self, host, port, timeout):
                self.where = (host, port)

            def request(self, method, path, body=None, headers=None):
                seen.append((self.where, method, path, body, headers))

            def getresponse(self):
                if isinstance(body, Exception):
                    raise body
                return Answer(status, body)

            def close(self):
                seen.append("closed")

        monkeypatch.setattr(daemon_module.http.client, "HTTPConnection", Connection)
        return seen

    return prepare


def test_where_the_daemon_answers_is_written_for_its_user_alone(settings):
    with announced(settings, "http://127.0.0.1:1234"):
        path = settings.daemon_path
        assert json.loads(path.read_text()) == {"schemaVersion": 1, "pid": os.getpid(), "url": "http://127.0.0.1:1234"}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    assert not path.exists()


def test_without_a_file_there_is_no_daemon(settings):
    assert find_daemon(settings) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"url": 5}', '{"url": "http://127.0.0.1:99999"}'])
def test_a_damaged_file_is_no_daemon(settings, content):
    settings.daemon_path.write_text(content)
    (settings.home / "api.token").write_text("token\n")

    assert find_daemon(settings) is None


def test_a_file_that_was_left_behind_is_no_daemon(settings, answering):
    answering(200, ConnectionRefusedError("nobody listens"))
    settings.daemon_path.write_text('{"url": "http://127.0.0.1:1234"}')
    (settings.home / "api.token").write_text("token\n")

    assert find_daemon(settings) is None


def test_a_daemon_is_found_and_asked_with_its_token(settings, answering):
    seen = answering(200, b'{"healthy": true}')
    settings.daemon_path.write_text('{"url": "http://127.0.0.1:1234"}')
    (settings.home / "api.token").write_text("token\n")

    daemon = find_daemon(settings)

    assert daemon == Daemon("127.0.0.1", 1234, "token")
    assert seen[0] == (("127.0.0.1", 1234), "GET", "/healthz", None, {"Authorization": "Bearer token"})


def test_an_unhealthy_daemon_is_one_too(settings, answering):
    answering(503, b'{"healthy": false}')
    settings.daemon_path.write_text('{"url": "http://127.0.0.1:1234"}')
    (settings.home / "api.token").write_text("token\n")

    assert find_daemon(settings) is not None


def test_what_is_asked_stands_in_the_address(answering):
    seen = answering(200, b"{}")

    Daemon("h", 1, "t").get("/v1/verify", node="enode://a@b:1", kind="mailserver")

    assert seen[0][2] == "/v1/verify?node=enode%3A%2F%2Fa%40b%3A1&kind=mailserver"


def test_lines_come_one_by_one_and_an_error_among_them_is_raised(answering):
    answering(200, b'{"message": 1}\n{"error": {"code": "fetch", "message": "no server is ready"}}\n')
    lines = Daemon("h", 1, "t").post_lines("/v1/mail/fetch", {})

    assert next(lines) == {"message": 1}
    with pytest.raises(DaemonRefused, match="no server is ready"):
        next(lines)


def test_a_refusal_is_passed_on_in_its_words(answering):
    answering(400, b'{"error": {"code": "query", "message": "the range ends before it begins"}}')

    with pytest.raises(DaemonRefused, match="the range ends before it begins"):
        Daemon("h", 1, "t").get("/v1/status")


@pytest.mark.parametrize("body", [b"", b"noise", b"[1]", ConnectionResetError("gone"), TimeoutError("slow")])
def test_anything_else_is_a_lost_connection(answering, body):
    answering(200, body)

    with pytest.raises(ConnectionLost, match="waypost serve"):
        Daemon("h", 1, "t").get("/v1/status")


def test_a_home_folder_serves_one_service_at_a_time(tmp_path):
    home, mine = tmp_path / "home", rf"another service uses .* \(process {os.getpid()}\)"

    with lock_home(home), pytest.raises(ConfigError, match=mine), lock_home(home):
        pass

    with lock_home(home):
        pass
