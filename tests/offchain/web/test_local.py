"""The server behind the local interface."""

import asyncio
import logging
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from offchain.web.local import serve_locally

NOISE = {
    "no HTTP": b"\x16\x03\x01\x00\xff\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a header without end": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "headers without end": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 10_000 + b"\r\n",
}


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
async def test_noise_is_refused_and_is_no_error_of_ours(noise, caplog):
    with caplog.at_level(logging.DEBUG):
        async with serve_locally(web.Application(), "127.0.0.1", 0) as url:
            reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
            writer.write(noise)
            answer = await reader.readline()
            writer.close()

    assert b" 400 " in answer
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []
