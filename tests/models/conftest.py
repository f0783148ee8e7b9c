"""What the tests of models share: the fault server on the test's own loop, quick bounds."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from fault_server import KEY, FaultServer

from tframex_nb.http import Timeouts
from tframex_nb.messages import Event, MessageFinished, TextDelta
from tframex_nb.models import VLLMModel
from tframex_nb.models._retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

QUICK = Timeouts(connect=5, first_byte=5, between_chunks=5, run=10)
ONCE = RetryPolicy(retries=0)
ASK = [{"role": "user", "content": "hi"}]


class Outcome:
    """What one call gave: its events, and its error if it raised one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.error: Exception | None = None
        self.requests = 0

    @property
    def text(self) -> str:
        return "".join(e.text for e in self.events if isinstance(e, TextDelta))

    @property
    def finished(self) -> MessageFinished:
        assert self.error is None, self.error
        last = self.events[-1]
        assert isinstance(last, MessageFinished)
        assert sum(isinstance(e, MessageFinished) for e in self.events) == 1
        return last

    def of(self, kind: type) -> list[Any]:
        return [e for e in self.events if isinstance(e, kind)]


class Bench:
    """A running fault server, and models on its cases."""

    def __init__(self, server: FaultServer, stack: contextlib.AsyncExitStack) -> None:
        self.server = server
        self._stack = stack

    def model(self, case: str, **options: Any) -> VLLMModel:
        """Return a model on a case; it is closed with the bench."""
        options = {"timeouts": QUICK, "retry": ONCE, "api_key": KEY, **options}
        model = VLLMModel("m", options.pop("url", self.server.url(case)), **options)
        self._stack.push_async_callback(model.aclose)
        return model

    async def ask(self, case: str, *, params: dict[str, Any] | None = None, **options: Any):
        """Make one call to the end and return its outcome."""
        outcome = Outcome()
        model = self.model(case, **options)
        try:
            async for event in model.stream(ASK, **(params or {})):
                outcome.events.append(event)
        except Exception as exc:
            outcome.error = exc
        outcome.requests = len(self.server.requests)
        await model.aclose()
        return outcome


@contextlib.asynccontextmanager
async def bench(**options: Any) -> AsyncIterator[Bench]:
    async with FaultServer(**options) as server, contextlib.AsyncExitStack() as stack:
        yield Bench(server, stack)


@pytest.fixture
def on_bench() -> Callable[..., Any]:
    """Run an async function on a loop of its own with a bench: ``on_bench(play)``."""

    def run(play: Callable[[Bench], Awaitable[Any]], **options: Any) -> Any:
        async def main() -> Any:
            async with bench(**options) as b:
                return await play(b)

        return asyncio.run(main())

    return run


@pytest.fixture
def ask(on_bench: Callable[..., Any]) -> Callable[..., Outcome]:
    """Ask one case once: ``ask("plain", timeouts=…)``."""

    def run(case: str, **options: Any) -> Outcome:
        return on_bench(lambda b: b.ask(case, **options))

    return run
