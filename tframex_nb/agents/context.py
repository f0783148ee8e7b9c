"""An agent that reads every prompt together with a text of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tframex_nb.agents.basic import BasicAgent
from tframex_nb.messages import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tframex_nb.messages import Event
    from tframex_nb.models.base import ChatModel

__all__ = ["ContextAgent"]


class ContextAgent(BasicAgent):
    """A ``BasicAgent`` that puts ``context`` before each prompt.

    With memory, earlier prompts are sent without it: a model reads the context once, next to
    the question that it belongs to.
    """

    def __init__(
        self,
        agent_id: str,
        model: ChatModel | str | None = None,
        context: str = "",
        *,
        system: str = "",
        memory: int | None = 0,
    ) -> None:
        super().__init__(agent_id, model, system=system, memory=memory)
        self.context = context

    def steps(
        self,
        messages: list[Message],
        *,
        model: ChatModel,
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncIterator[Event]:
        """Yield the events of one model call, the context before the prompt."""
        *earlier, prompt = messages
        if self.context:
            prompt = _below(f"Context:\n{self.context}\n\n", prompt)
        return super().steps([*earlier, prompt], model=model, **params)

    def _parts(self) -> list[str]:
        return [f"{len(self.context):,} characters of context"]


def _below(text: str, prompt: Message) -> Message:
    """Return a prompt with a text above it; what goes along with it stays."""
    if isinstance(prompt.content, str):
        return Message("user", f"{text}{prompt.content}")
    return Message("user", [{"type": "text", "text": text}, *prompt.content])
