"""A run on a gateway, as a framework and its adapter see it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import openai

from tframex_nb.models.gateway import Gateway, GatewayRun

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tframex_nb.messages import Event

__all__ = ["ASK", "ASKED", "STREAMED", "Access", "access", "text_of"]

ASK = [{"role": "user", "content": "hi"}]
ASKED = {"model": "whatever", "messages": ASK}
STREAMED = {**ASKED, "stream": True}


@dataclass
class Access:
    """A run as a framework and its adapter see it."""

    run: GatewayRun
    heard: list[Event]
    http: httpx.AsyncClient
    sdk: openai.AsyncOpenAI

    async def post(self, body: Any, **headers: str) -> httpx.Response:
        return await self.http.post("/chat/completions", json=body, headers=headers)

    async def events(self, body: Any) -> tuple[list[Any], bool]:
        """Return the data of each event, and whether the body ended as HTTP wants it."""
        whole = True
        raw = b""
        async with self.http.stream("POST", "/chat/completions", json=body) as response:
            assert response.headers["content-type"].startswith("text/event-stream"), response
            try:
                async for piece in response.aiter_bytes():
                    raw += piece
            except httpx.RemoteProtocolError:
                whole = False
        parts = raw.decode("ascii").split("\n\n")
        assert parts.pop() == ""
        datas = [part.removeprefix("data: ") for part in parts]
        return [data if data == "[DONE]" else json.loads(data) for data in datas], whole


@contextlib.asynccontextmanager
async def access(
    model: Any, *, gateway: Gateway | None = None, params: dict[str, Any] | None = None
) -> AsyncIterator[Access]:
    """Open a run, on a gateway of its own if none is given."""
    own = gateway or Gateway()
    heard: list[Event] = []
    try:
        async with (
            own.open(model, params=params, listen=heard.append) as run,
            httpx.AsyncClient(
                base_url=run.base_url, headers={"authorization": f"Bearer {run.token}"}, timeout=20
            ) as http,
            openai.AsyncOpenAI(base_url=run.base_url, api_key=run.token) as sdk,
        ):
            yield Access(run, heard, http, sdk)
    finally:
        if gateway is None:
            await own.aclose()


def text_of(chunks: list[Any]) -> str:
    choices = (choice for chunk in chunks for choice in chunk.get("choices", ()))
    return "".join(choice["delta"].get("content") or "" for choice in choices)
