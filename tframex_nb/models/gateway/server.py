"""The gateway itself: who may ask which model, and the server on a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import weakref
from typing import TYPE_CHECKING, Any

from tframex_nb.models._loopback import LoopbackServer
from tframex_nb.models.gateway.run import GatewayRun
from tframex_nb.models.gateway.upstream import is_pooled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from starlette.types import ASGIApp

    from tframex_nb.messages import Event
    from tframex_nb.models.base import ChatModel, PooledModel
    from tframex_nb.models.gateway.markers import Markers

__all__ = ["Gateway"]


class Gateway:
    """A loopback OpenAI-compatible endpoint in this process, with a token for each run.

    A framework is given the run's URL and token, and never the endpoint's own: retries, bounds
    and errors are those of ``ChatModel.stream`` for all of them, and closing the run closes what
    it has under way. The server has a thread and an event loop of its own, so that a tool that
    blocks the kernel's does not stop it. It starts at the first ``open``.
    """

    def __init__(self) -> None:
        self._runs: dict[str, GatewayRun] = {}
        self._siblings: weakref.WeakKeyDictionary[PooledModel, PooledModel]
        self._siblings = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._server = LoopbackServer("tframex-nb gateway", self._build)

    @property
    def running(self) -> bool:
        """Whether the server runs in this process (a fork does not inherit it)."""
        return self._server.running

    @contextlib.asynccontextmanager
    async def open(
        self,
        model: ChatModel,
        *,
        params: Mapping[str, Any] | None = None,  # sampling parameters, unchanged
        listen: Callable[[Event], None],
        markers: Markers | None = None,
    ) -> AsyncIterator[GatewayRun]:
        """Give a run access to ``model`` while the block lasts.

        ``params`` go before those that a request brings. ``listen`` is called on this loop with
        each ReasoningDelta, Usage, Retrying and MessageFinished, in order, before the framework
        can see the end of that answer. A model without ``sibling`` is streamed on this loop.
        ``markers`` are put back into the images and files that they stand for.
        """
        port = self._server.start()
        token = secrets.token_urlsafe(32)
        run = GatewayRun(
            self._nearby(model),
            base_url=f"http://127.0.0.1:{port}/v1",
            token=token,
            params=dict(params or {}),
            listen=listen,
            markers=markers,
            loop=asyncio.get_running_loop(),
            call=self._server.call,
            forget=self._runs.pop,
        )
        self._runs[token] = run
        try:
            yield run
        finally:
            await run.aclose()

    async def aclose(self) -> None:
        """End every run and stop the server; a later ``open`` starts it again."""
        for run in tuple(self._runs.values()):
            run.close()
        await asyncio.to_thread(self._server.stop)
        with self._lock:
            self._siblings.clear()

    def __repr__(self) -> str:
        port = self._server.port
        return f"<Gateway on 127.0.0.1:{port}>" if port else "<Gateway, not started>"

    def _build(self, port: int) -> ASGIApp:
        from tframex_nb.models.gateway.app import GatewayApp

        return GatewayApp(self._runs, port)

    def _nearby(self, model: ChatModel) -> ChatModel:
        """Return the model as this server's loop can use it, kept warm from run to run."""
        if not is_pooled(model):
            return model
        with self._lock:
            return model.nearby(self._kept)

    def _kept(self, model: PooledModel) -> PooledModel:
        if model not in self._siblings:
            self._siblings[model] = model.sibling()
        return self._siblings[model]
