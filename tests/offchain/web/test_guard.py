"""Who may call the local interface: this machine's user, and no web page."""

import asyncio
import logging
import os
import stat

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from offchain.errors import ConfigError
from offchain.web.guard import ApiError, guard, load_token

TOKEN = "ab" * 32
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def client():
    async def answer(request):
        return web.json_response({"ok": True})

    async def refuse(request):
        raise ApiError(400, "taste", "not like this")

    async def fail(request):
        raise RuntimeError("secret detail")

    async def gone(request):
        raise ConnectionResetError("Connection lost")

    app = web.Application(middlewares=[guard(TOKEN)])
    app.add_routes([web.get("/", answer), web.post("/", answer), web.get("/refuse", refuse), web.get("/fail", fail)])
    app.add_routes([web.get("/gone", gone)])
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_answers_a_program_on_this_machine(client):
    response = await client.get("/")

    assert response.status == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
async def test_answers_under_every_name_of_this_machine(client, name):
    assert (await client.get("/", headers={"Host": f"{name}:{client.port}"})).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil:{port}", ""]
)
async def test_refuses_other_names_so_that_none_can_be_pointed_here(client, host):
    response = await client.get("/", headers={"Host": host.format(port=client.port)})

    assert response.status == 403
    assert (await response.json())["error"]["code"] == "host"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1"])
async def test_refuses_pages_of_other_sites(client, origin):
    response = await client.get("/", headers={"Origin": origin.format(port=client.port)})

    assert response.status == 403
    assert (await response.json())["error"]["code"] == "origin"


async def test_answers_its_own_pages(client):
    own = f"http://127.0.0.1:{client.port}"

    assert (await client.get("/", headers={"Origin": own, "Sec-Fetch-Site": "same-origin"})).status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_refuses_what_the_browser_says_comes_from_elsewhere(client, site):
    assert (await client.get("/", headers={"Sec-Fetch-Site": site})).status == 403


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}])
async def test_a_post_needs_the_token(client, headers):
    response = await client.post("/", json={}, headers=headers)

    assert response.status == 401
    assert (await response.json())["error"]["code"] == "token"


async def test_a_token_of_bytes_that_are_no_text_is_wrong_and_no_fault(client):
    request = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nConnection: close\r\nContent-Length: 0\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(request.encode() + b"Authorization: Bearer \xff\xfe\r\n\r\n")

    answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_that_the_connection_is_lost_is_no_fault(client, caplog):
    with caplog.at_level(logging.DEBUG, "offchain.web"):
        response = await client.get("/gone")

    assert response.status == 400
    assert [record.levelno for record in caplog.records if record.name == "offchain.web"] == [logging.DEBUG]


async def test_a_post_needs_a_json_body_which_no_form_can_send(client):
    response = await client.post("/", data="{}", headers={**AUTHORIZED, "Content-Type": "text/plain"})

    assert response.status == 415


async def test_a_post_with_the_token_is_answered(client):
    assert (await client.post("/", json={}, headers=AUTHORIZED)).status == 200


async def test_errors_are_json(client):
    refused = await client.get("/refuse")
    missing = await client.get("/nowhere")

    assert (refused.status, await refused.json()) == (400, {"error": {"code": "taste", "message": "not like this"}})
    assert (missing.status, (await missing.json())["error"]["code"]) == (404, "not_found")


async def test_a_fault_of_ours_is_said_without_its_details(client):
    response = await client.get("/fail")

    assert response.status == 500
    assert "secret detail" not in await response.text()


def test_makes_a_token_that_only_the_user_can_read_and_keeps_it(tmp_path):
    token = load_token(tmp_path / "home")
    path = tmp_path / "home" / "api.token"

    assert len(token) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_token(tmp_path / "home") == token


def test_refuses_a_token_file_that_others_can_read(tmp_path):
    load_token(tmp_path)
    os.chmod(tmp_path / "api.token", 0o644)

    with pytest.raises(ConfigError, match="chmod 600"):
        load_token(tmp_path)


def test_refuses_a_damaged_token_file(tmp_path):
    (tmp_path / "api.token").touch(0o600)

    with pytest.raises(ConfigError, match="damaged"):
        load_token(tmp_path)
