"""An MCP server over streamable HTTP on 127.0.0.1, for whoever has the token."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import sys
from typing import TYPE_CHECKING

from tframex_nb.errors import AgentError, SettingsError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from tframex_nb.mcp.server_calls import AgentServer

__all__ = ["PATH", "run_http"]

PATH = "/mcp"
SESSIONS = 256  # open at a time
SHORTEST = 16  # characters of a token
_NAMES = ("127.0.0.1", "localhost", "[::1]")


def run_http(
    server: AgentServer,
    *,
    port: int,
    token: str = "",
    aclose: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """Serve until a signal comes; return the exit code.

    The address goes to stderr, and the token where a new one is made. Raises SettingsError for
    a token that is too short or cannot be sent, AgentError where the port is taken.
    """
    from tframex_nb.mcp.server_running import run_until_told

    made = not token
    token = token or secrets.token_urlsafe(32)
    _check(token)
    with _listening(port) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}{PATH}"
        print(f"serving at {address}", file=sys.stderr)  # noqa: T201 - what a person starts it for
        if made:
            print(f"Authorization: Bearer {token}", file=sys.stderr, flush=True)  # noqa: T201 - see above

        async def serving(told: asyncio.Event) -> None:
            await _serve(server, listening, token, told)

        return run_until_told(serving, server, aclose)


async def _serve(
    server: AgentServer, listening: socket.socket, token: str, told: asyncio.Event
) -> None:
    import asyncio

    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from tframex_nb.models._loopback_uvicorn import prompt_server

    sessions = StreamableHTTPSessionManager(server.protocol, max_sessions=SESSIONS)
    gate = _Gate(sessions.handle_request, listening.getsockname()[1], token)
    web = prompt_server(gate)
    web.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]  # signals are told
    async with sessions.run():
        running = asyncio.create_task(web.serve(sockets=[listening]))
        telling = asyncio.create_task(told.wait())
        await asyncio.wait({running, telling}, return_when=asyncio.FIRST_COMPLETED)
        telling.cancel()
        web.end()
        await running


class _Gate:
    """Lets in who has the token and comes by loopback's own name, from no web page.

    A page in a browser sends its Origin, or the Host of a name that was rebound.
    """

    def __init__(self, app: ASGIApp, port: int, token: str) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = {f"{name}:{port}".encode() for name in _NAMES}
        self._origins = {b"http://" + host for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        origin = headers.get(b"origin")
        if headers.get(b"host", b"").lower() not in self._hosts:
            await _refuse(send, 403, "this server answers to 127.0.0.1 and localhost alone")
        elif origin is not None and origin.lower() not in self._origins:
            await _refuse(send, 403, "this server does not answer to web pages")
        elif scheme.lower() != b"bearer" or not secrets.compare_digest(token.strip(), self._token):
            await _refuse(send, 401, "send the token: Authorization: Bearer …")
        elif scope["path"] != PATH:
            await _refuse(send, 404, f"there is only {PATH} here")
        else:
            await self._app(scope, receive, send)


async def _refuse(send: Send, status: int, message: str) -> None:
    body = json.dumps({"error": message}, ensure_ascii=False).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *([(b"www-authenticate", b"Bearer")] if status == 401 else []),  # noqa: PLR2004 - the status that wants it
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _check(token: str) -> None:
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(
            f"the token must have {SHORTEST} printable ASCII characters or more, and no space",
            hint="python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )


def _listening(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # So that a server that was just stopped does not block its port for a minute
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(128)
    except (OSError, OverflowError) as exc:
        listening.close()
        reason = getattr(exc, "strerror", None) or exc
        raise AgentError(
            f"port {port} of 127.0.0.1 cannot be had: {reason}",
            hint="name another one, or --http 0 for any that is free",
        ) from exc
    return listening
