"""A server behind a URL: the one door to httpx2, which the mcp package speaks HTTP with."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from tframex_nb.mcp.program import MAX_MESSAGE
from tframex_nb.settings.urls import is_loopback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tframex_nb.mcp.definition import Definition

__all__ = ["url_streams"]


@asynccontextmanager
async def url_streams(
    definition: Definition, *, answered: Callable[[int, str], None]
) -> AsyncIterator[tuple[Any, Any]]:  # the package's own streams
    """Yield the streams to a server behind a URL; the session there ends with the context.

    ``answered`` is told the status of each response, and where a redirect leads. The package
    follows redirects within the URL's own origin alone, so no header goes anywhere else.
    """

    async def look(response: httpx2.Response) -> None:
        answered(response.status_code, response.headers.get("location", ""))
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise httpx2.DecodingError("the server compresses though it was asked not to")
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            response.stream = _Bounded(response.stream)

    client = httpx2.AsyncClient(
        headers={**definition.headers, "accept-encoding": "identity"},
        timeout=httpx2.Timeout(None, connect=definition.connect_timeout),
        trust_env=not is_loopback(definition.url),
        follow_redirects=False,
        event_hooks={"response": [look]},
    )
    async with (
        client,
        streamable_http_client(
            definition.url, http_client=client, max_sse_event_size=MAX_MESSAGE
        ) as streams,
    ):
        yield streams


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends with an error where it is larger than a message may be."""

    def __init__(self, body: Any) -> None:  # a stream of httpx2's; its type is not exported
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._body:
            size += len(chunk)
            if size > MAX_MESSAGE:
                raise httpx2.StreamError(f"a message of more than {MAX_MESSAGE >> 20} MiB")
            yield chunk

    async def aclose(self) -> None:
        await self._body.aclose()
