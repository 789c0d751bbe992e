"""Keeps web pages and other users of the machine out of the local interface.

A page on any site can make the user's browser send requests to 127.0.0.1; a name that its owner points at 127.0.0.1
makes that page same-origin (DNS rebinding). So:

    every request   Host must be a loopback name with our port; Origin, if there is one, must be the same;
                    Sec-Fetch-Site, if there is one, must be "same-origin" or "none"
    POST            also "Authorization: Bearer <token>", from a file that only the user can read, and a JSON body:
                    a browser sends neither across sites without asking us first, and we never say yes
"""

from __future__ import annotations

import hmac
import logging
import os
import secrets
import stat
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from offchain.errors import ConfigError

TOKEN_FILE = "api.token"
TOKEN_SIZE = 32
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")

log = logging.getLogger("offchain.web")

HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class ApiError(Exception):
    """What was wrong with a request; becomes a JSON answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def error_response(status: int, code: str, message: str) -> web.Response:
    """{"error": {"code": .., "message": ..}}"""
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


def load_token(home: Path) -> str:
    """The token in <home>/api.token, made if there is none. ConfigError if others can read the file."""
    path = home / TOKEN_FILE
    home.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return _read_token(path)
    token = secrets.token_hex(TOKEN_SIZE)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
    return token


def _read_token(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token file {path} cannot be read: {error}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"others can read the token file {path}; run: chmod 600 {path}")
    if len(token) < TOKEN_SIZE:
        raise ConfigError(f"the token file {path} is damaged; delete it, and a new one is made")
    return token


def guard(token: str) -> Middleware:
    """The middleware: refuses what comes from elsewhere, and turns errors into JSON."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            _check(request, token)
            response = await handler(request)
        except ApiError as error:
            response = error_response(error.status, error.code, str(error))
        except web.HTTPException as error:
            response = error_response(error.status, error.reason.lower().replace(" ", "_"), error.text or error.reason)
        except ConnectionResetError:
            log.debug("%s %s: whoever asked is gone", request.method, request.path)
            response = error_response(400, "gone", "the connection ended before the request did")
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            response = error_response(500, "internal", "this is a fault of the program; its log says more")
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    return middleware


def _check(request: web.Request, token: str) -> None:
    host = request.headers.get("Host", "")
    port = _own_port(request)
    if host not in {f"{name}:{port}" for name in LOOPBACK_NAMES}:
        raise ApiError(403, "host", f"the Host header is {host!r}, expected 127.0.0.1:{port} or localhost:{port}")
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"http://{host}":
        raise ApiError(403, "origin", f"requests from {origin!r} are not answered")
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        raise ApiError(403, "origin", "requests from other sites are not answered")
    if request.method not in ("GET", "HEAD"):
        _check_writer(request, token)


def _check_writer(request: web.Request, token: str) -> None:
    given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")  # it may hold any bytes
    if not hmac.compare_digest(given, f"Bearer {token}".encode()):
        raise ApiError(
            401, "token", f"send the header Authorization: Bearer <the content of {TOKEN_FILE} in the home folder>"
        )
    if request.content_type != "application/json":
        raise ApiError(415, "content_type", f"the body is {request.content_type!r}, expected application/json")


def _own_port(request: web.Request) -> int:
    """The port that the request came in on: what the connection says, not the client."""
    name = None if request.transport is None else request.transport.get_extra_info("sockname")
    return int(name[1]) if name else 0
