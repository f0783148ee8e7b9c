"""An agent's own steps as an engine: with something to say before them, and with bounds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tframex_nb.agents.running import closing
from tframex_nb.errors import RunTimeout
from tframex_nb.frameworks.channel import Channel
from tframex_nb.frameworks.events import Waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tframex_nb.agents import BaseAgent
    from tframex_nb.frameworks.slots import Slots
    from tframex_nb.messages import Event, Message
    from tframex_nb.models.base import ChatModel

__all__ = ["NATIVE", "OwnSteps", "late"]

NATIVE = "native"


class OwnSteps:
    """An agent's own steps; ``preface`` comes first, then the wait for a slot.

    ``timeout`` is in seconds, from the moment the run has its slot.
    """

    framework = NATIVE

    def __init__(
        self, preface: tuple[Event, ...], *, slots: Slots, timeout: float | None = None
    ) -> None:
        self._preface = preface
        self._slots = slots
        self._timeout = timeout

    async def steps(
        self,
        agent: BaseAgent,
        messages: list[Message],
        *,
        model: ChatModel,
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncIterator[Event]:
        """Yield the preface and the agent's own steps; raises RunTimeout."""

        def own() -> AsyncIterator[Event]:
            return agent.steps(messages, model=model, **params)

        preface, self._preface = self._preface, ()  # a typed answer may take several turns
        for event in preface:
            yield event
        bound = self._slots.limit is not None or self._timeout is not None
        async with closing(self._bounded(agent, own) if bound else own()) as events:
            async for event in events:
                yield event

    def _bounded(
        self, agent: BaseAgent, own: Callable[[], AsyncIterator[Event]]
    ) -> AsyncIterator[Event]:
        channel = Channel()

        async def work() -> None:
            async with self._slots.take(lambda ahead: channel.put(Waiting(NATIVE, ahead))):
                bound = asyncio.timeout(self._timeout)
                try:
                    async with bound, closing(own()) as events:
                        async for event in events:
                            channel.put(event)
                            if channel.full:
                                await channel.room()
                except TimeoutError as exc:
                    if not bound.expired() or self._timeout is None:
                        raise
                    text = agent.last.text if agent.last else ""
                    raise late(NATIVE, self._timeout, text) from exc

        return channel.filled_by(work)


def late(framework: str, seconds: float, received: str) -> RunTimeout:
    """Return the error of a run that took longer than it may."""
    error = RunTimeout(
        f"{framework} took longer than its {seconds:g} s",
        hint=f"raise timeout_seconds of {framework} in runtime-config.yaml",
        framework=framework,
    )
    error.received = received
    return error
