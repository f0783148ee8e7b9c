"""Model calls side by side: a bounded number at a time, their events in one stream."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

from tframex_nb.agents.running import closing
from tframex_nb.errors import AgentError
from tframex_nb.messages import Message, TextDelta, Usage
from tframex_nb.systems.events import CallEvent, CallFailed, CallFinished, CallStarted
from tframex_nb.systems.files import AnswerFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tframex_nb.messages import Event
    from tframex_nb.models.base import ChatModel

__all__ = ["FanOut"]

BACKLOG = 256  # events that wait for a slow reader before the calls wait for it


class FanOut:
    """One prompt, ``total`` calls, an answer file each.

    ``completed`` maps a call's name to its path, ``failures`` to its error, both in the order
    of the calls; ``usage`` is the sum. It is good for one ``stream``.
    """

    def __init__(
        self,
        prompt: str,
        total: int,
        folder: Path,
        stem: str,
        params: dict[str, Any],  # sampling parameters go to the endpoint unchanged
    ) -> None:
        self.prompt = prompt
        self.total = total
        self.folder = folder
        self.usage = Usage()
        self._stem = stem
        self._params = params
        self._tag = uuid.uuid4().hex[:8]
        self._outcomes: dict[int, str | Exception] = {}
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(BACKLOG)

    @property
    def completed(self) -> dict[str, str]:
        """The path of each whole answer."""
        outcomes = sorted(self._outcomes.items())
        return {_name(i): outcome for i, outcome in outcomes if isinstance(outcome, str)}

    @property
    def failures(self) -> dict[str, Exception]:
        """The error of each failed call."""
        outcomes = sorted(self._outcomes.items())
        return {_name(i): outcome for i, outcome in outcomes if isinstance(outcome, Exception)}

    async def stream(self, model: ChatModel, limit: int) -> AsyncIterator[Event]:
        """Yield the events of all calls as they come, each naming its call.

        Errors do not end the stream: they are in ``failures`` when it ends. Closing it closes
        every call's stream.
        """
        calls = asyncio.create_task(self._run_all(model, asyncio.Semaphore(limit)))
        try:
            while (event := await self._queue.get()) is not None:
                yield event
        finally:
            calls.cancel()
            await asyncio.gather(calls, return_exceptions=True)

    async def _run_all(self, model: ChatModel, slots: asyncio.Semaphore) -> None:
        async with asyncio.TaskGroup() as group:
            for index in range(1, self.total + 1):
                # Until it has run, a call counts as cancelled: a model may cancel itself.
                self._outcomes[index] = AgentError(f"{_name(index)} was cancelled")
                group.create_task(self._run_one(model, index, slots))
        await self._queue.put(None)

    async def _run_one(self, model: ChatModel, index: int, slots: asyncio.Semaphore) -> None:
        name = _name(index)
        async with slots:
            await self._queue.put(CallStarted(name, index, self.total))
            file = None
            try:
                file = AnswerFile(self.folder, f"{self._stem}_{index}", tag=self._tag)
                await self._fill(file, model, name)
                self._outcomes[index] = file.finish()
            except Exception as exc:  # noqa: BLE001 - one call's fault must not end the others
                self._outcomes[index] = exc
                partial = file.abandon() if file else ""
                reason = getattr(exc, "message", str(exc))
                await self._queue.put(CallFailed(name, type(exc).__name__, reason, partial))
            except BaseException:  # a stop, too, leaves no draft behind
                if file:
                    file.abandon()
                raise
            else:
                await self._queue.put(CallFinished(name, str(file.path)))

    async def _fill(self, file: AnswerFile, model: ChatModel, name: str) -> None:
        messages = [Message("user", self.prompt)]
        async with closing(model.stream(messages, **self._params)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    file.write(event.text)
                elif isinstance(event, Usage):
                    self.usage = self.usage + event
                await self._queue.put(CallEvent(name, event))


def _name(index: int) -> str:
    return f"call_{index}"
