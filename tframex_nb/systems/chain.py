"""A chain of agents reads a long text part by part, and answers from a running summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tframex_nb import interrupts
from tframex_nb.agents.running import closing
from tframex_nb.errors import AgentError, InvalidInput
from tframex_nb.messages import Message, MessageFinished
from tframex_nb.systems.base import BaseSystem
from tframex_nb.systems.events import CallStarted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tframex_nb.messages import Event
    from tframex_nb.models.base import ChatModel
    from tframex_nb.runs import Run

__all__ = ["ChainOfAgents", "windows"]


class ChainOfAgents(BaseSystem):
    """Answers a prompt about a text that is longer than a model's context.

    The text is cut into windows of ``chunk_size`` characters, each beginning ``chunk_overlap``
    before the end of the one before (a twentieth of the size unless told). N windows make N + 1
    model calls, one after the other: each window updates a running summary, and the last call
    answers from it.
    Raises InvalidInput where the windows would not advance.
    """

    def __init__(
        self,
        system_id: str,
        model: ChatModel | str | None = None,
        chunk_size: int = 8_000,
        chunk_overlap: int | None = None,
    ) -> None:
        super().__init__(system_id, model)
        if chunk_overlap is None:
            chunk_overlap = chunk_size // 20
        if not 0 <= chunk_overlap < chunk_size:
            raise InvalidInput(
                f"chunk_size={chunk_size}, chunk_overlap={chunk_overlap}: "
                "the windows would not advance through the text",
                hint="chunk_overlap must be 0 or more, and smaller than chunk_size",
            )
        self.chunk_size = chunk_size
        self.chunk_overlap = chunk_overlap

    def stream(
        self,
        initial_prompt: str,
        long_text: str,
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncIterator[Event]:
        """Yield the events of a run: a ``CallStarted`` before each model call, then its events.

        Raises InvalidInput at once for an empty text.
        """
        return self._begin(initial_prompt, long_text, params)[1]

    async def run(
        self,
        initial_prompt: str,
        long_text: str,
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> str:
        """Return the answer."""
        return await interrupts.guarded(self._answer(initial_prompt, long_text, params))

    def run_sync(
        self,
        initial_prompt: str,
        long_text: str,
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> str:
        """Return the answer, from synchronous code."""
        return interrupts.run_sync(self._answer(initial_prompt, long_text, params))

    async def _answer(self, prompt: str, text: str, params: dict[str, Any]) -> str:  # sampling
        run, events = self._begin(prompt, text, params)
        async with closing(events):
            async for _ in events:
                pass
        return run.text

    def _begin(
        self,
        prompt: str,
        text: str,
        params: dict[str, Any],  # sampling parameters
    ) -> tuple[Run, AsyncIterator[Event]]:
        if not text.strip():
            raise InvalidInput(
                f"{self.name!r} was given an empty text to read",
                hint="pass the text as long_text; without one, ask an agent",
            )
        return self._observed(prompt, lambda model: self._steps(model, prompt, text, params))

    async def _steps(
        self,
        model: ChatModel,
        prompt: str,
        text: str,
        params: dict[str, Any],  # sampling parameters
    ) -> AsyncIterator[Event]:
        parts = list(windows(text, self.chunk_size, self.chunk_overlap))
        total = len(parts) + 1
        summary = ""
        for index, part in enumerate([*parts, ""], start=1):
            last = index == total
            name = "answer" if last else f"part {index} of {len(parts)}"
            request = _final(prompt, summary) if last else _update(prompt, summary, part, name)
            answer = ""
            yield CallStarted(name, index, total)
            async with closing(model.stream([Message("user", request)], **params)) as events:
                async for event in events:
                    yield event
                    if isinstance(event, MessageFinished):
                        answer = event.message.text
            if not answer.strip():
                raise AgentError(
                    f"{self.name!r}: the model gave no text for {name}",
                    hint="raise max_tokens where it spends them on reasoning, or use another model",
                )
            summary = answer


def windows(text: str, size: int, overlap: int) -> Iterator[str]:
    """Yield windows of ``size`` characters that advance by ``size - overlap`` up to the end.

    The last one may be shorter, and always holds something that no other does.
    """
    for start in range(0, max(len(text) - overlap, 1), size - overlap):
        yield text[start : start + size]


def _update(prompt: str, summary: str, part: str, name: str) -> str:
    return (
        "You read a long text part by part, to answer a request at the end.\n\n"
        f"Request:\n{prompt}\n\n"
        f"Summary of the parts so far:\n{summary or '(this is the first part)'}\n\n"
        f"The text, {name}:\n{part}\n\n"
        "Write the summary anew, with all that matters for the request from the summary so far "
        "and from this part. Write only the summary."
    )


def _final(prompt: str, summary: str) -> str:
    return (
        "You have read a long text part by part. Answer the request from your summary of it.\n\n"
        f"Summary:\n{summary}\n\n"
        f"Request:\n{prompt}"
    )
