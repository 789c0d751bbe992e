"""The act about a second kind of node: a push server, found, trusted, chosen and used like any other node."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from offchain.cli.demo import chain
from offchain.cli.demo.actors import ActorFailed
from offchain.cli.demo.opening import show_listed, show_running
from offchain.cli.demo.scene import WITHIN, Scene
from offchain.client.keyring import topic_of_name
from offchain.pushserver import PUSHSERVER

TOPIC = "waypost-demo-push"
SERVER = "herald"
KIND_ID = 2
"""The registry numbers kinds as they come; mail servers have 1."""

AUTH = b"demonstration..."
"""16 bytes: the device's authentication secret."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A push as it arrived at the device."""

    text: str
    """Decrypted."""
    sender: str
    """Who signed the request, by its own word."""


class Device:
    """A device and its push service in one: takes Web Push requests, checks who signed them, decrypts them."""

    def __init__(self) -> None:
        self.notices: asyncio.Queue[Notice] = asyncio.Queue()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._http_ece: Any = import_module("http_ece")
        self._jwt: Any = import_module("jwt")
        self._url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Take requests for as long as the block lasts."""
        app = web.Application()
        app.router.add_post("/push/device-1", self._take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._url = f"http://127.0.0.1:{runner.addresses[0][1]}/push/device-1"
            yield
        finally:
            await runner.cleanup()

    def subscription(self) -> str:
        """What a browser would hand out."""
        point = self._key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return json.dumps({"endpoint": self._url, "keys": {"p256dh": _text(point), "auth": _text(AUTH)}})

    async def _take(self, request: web.Request) -> web.Response:
        scheme, _, words = request.headers.get("Authorization", "").partition(" ")
        said = dict(word.strip().split("=", 1) for word in words.split(",") if "=" in word)
        try:
            if scheme != "vapid":
                raise ValueError(f"Authorization is {scheme!r}, expected vapid")
            point = urlsafe_b64decode(said["k"] + "=" * (-len(said["k"]) % 4))
            signer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
            parts = urlsplit(self._url)
            claims = self._jwt.decode(
                said["t"], signer, algorithms=["ES256"], audience=f"{parts.scheme}://{parts.netloc}"
            )
            body = await request.read()
            plain = self._http_ece.decrypt(body, private_key=self._key, auth_secret=AUTH, version="aes128gcm")
        except Exception as error:  # a device answers whatever is wrong with a request
            return web.Response(status=400, text=repr(error))
        self.notices.put_nowait(Notice(plain.decode().rstrip(), str(claims["sub"])))
        return web.Response(status=201)


async def a_push_server(scene: Scene) -> None:
    """A push server joins. A client that goes offline is told of mail by it, and fetches the mail then."""
    report, stage = scene.report, scene.stage
    provider = scene.cast.accepted[0]
    report.begin("A second kind of node: a push server joins, is found, trusted and used")
    scene.make_server(SERVER)
    contact = "mailto:operator@provider-1.example"
    report.command(f"waypost service {PUSHSERVER}")
    scene.background(scene.start_server(SERVER, "service", PUSHSERVER, "--contact", contact))
    kind = ("--kind", PUSHSERVER, "--kind-id", str(KIND_ID), "--generation", "1")
    proof = await scene.authorize(SERVER, provider, *kind)
    report.command(
        f"brownie run apply main {PUSHSERVER}.json      (a new kind, its first node, and the curator's word)"
    )
    await chain.carry_out(
        scene.troupe,
        stage,
        PUSHSERVER,
        [
            {"do": "kinds create", "name": PUSHSERVER},
            chain.nodes_step(provider, PUSHSERVER, [proof]),
            {"do": "curator accept", "provider": provider, "kind": PUSHSERVER},
        ],
    )
    await show_listed(scene, SERVER, provider, KIND_ID)
    await show_running(scene, SERVER, PUSHSERVER)
    phone = scene.make_client("phone")
    device = Device()
    async with device.listening():
        subscription = stage.folder / "subscription.json"
        subscription.write_text(device.subscription())
        report.command(
            f"waypost push register --topic {TOPIC} --subscription subscription.json      (then it goes offline)"
        )
        granted = await scene.run_waypost(
            "register",
            phone,
            "push",
            "register",
            "--topic",
            TOPIC,
            "--subscription",
            str(subscription),
            "--wait",
            str(WITHIN),
        )
        report.check(
            "the phone found it, verified it and gave it a signed grant",
            granted["server"] == scene.players[SERVER].node_id,
            granted["reason"],
        )
        text = stage.folder / "wake.txt"
        text.write_text("wake up\n")
        to = "0x" + phone.key.public.to_bytes().hex()
        report.command(f"waypost mail send --to {to[:10]}.. --topic {TOPIC} --input wake.txt")
        sender = scene.players["sender"]
        sent = await scene.run_waypost(
            "sender again", sender, "mail", "send", "--to", to, "--topic", TOPIC, "--input", str(text), "--servers", "1"
        )
        report.check("a message is at a mail server", sent["posted"] == 1, scene.names(sent["servers"]))
        try:
            notice = await asyncio.wait_for(device.notices.get(), WITHIN)
        except TimeoutError:
            raise ActorFailed(f"no push came within {WITHIN:g} s\n{scene.servers[SERVER].tail()}") from None
        report.check("the push is signed by the push server's operator", notice.sender == contact, notice.sender)
        expected = {"topic": "0x" + topic_of_name(TOPIC).hex(), "count": 1}
        report.check(
            "it is encrypted to the device, and says what came", json.loads(notice.text) == expected, notice.text
        )
    report.tell("the phone wakes up:")
    fetched = await scene.finish_fetch(await scene.start_fetch(player="phone", topic=TOPIC))
    report.check("the phone fetches the message", fetched.lines == ["wake up"], ", ".join(fetched.lines))


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
