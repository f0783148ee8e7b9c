"""The simplest agent: one prompt, one model call, one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tframex_nb.agents.base import BaseAgent
from tframex_nb.agents.running import closing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tframex_nb.messages import Event, Message
    from tframex_nb.models.base import ChatModel

__all__ = ["BasicAgent"]


class BasicAgent(BaseAgent):
    """One model call per run, and no memory of earlier runs unless ``memory`` asks for it."""

    def __init__(
        self,
        agent_id: str,
        model: ChatModel | str | None = None,
        *,
        system: str = "",
        memory: int | None = 0,
    ) -> None:
        super().__init__(agent_id, model, system=system, memory=memory)

    async def steps(
        self,
        messages: list[Message],
        *,
        model: ChatModel,
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncIterator[Event]:
        """Yield the events of one model call."""
        async with closing(model.stream(messages, **params)) as events:
            async for event in events:
                yield event
