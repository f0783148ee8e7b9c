"""The tool-using agent: it asks the model, runs the tools it wants, and asks again."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from tframex_nb.agents.approval import approver_in_force
from tframex_nb.agents.base import MEMORY, BaseAgent
from tframex_nb.agents.nesting import Caller, calling, check_depth
from tframex_nb.agents.running import closing
from tframex_nb.agents.toolbox import Toolbox
from tframex_nb.errors import InvalidInput, StepLimitReached
from tframex_nb.messages import Message, MessageFinished, ToolResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from tframex_nb.agents.tools import Tool
    from tframex_nb.messages import Event
    from tframex_nb.models.base import ChatModel

__all__ = ["Agent"]

MAX_STEPS = 12  # model calls in a run; a loop of tool calls ends here


class Agent(BaseAgent):
    """An agent with tools and a conversation.

    ``tools`` are functions, ``Tool``s or other agents. ``max_steps`` bounds the model calls of
    a run. ``framework`` names the framework that it runs on (native where it is empty, ``auto``
    to have one chosen); ``template_id`` and ``configuration`` are for frameworks.
    Raises ToolError where a tool cannot be offered to a model.
    """

    def __init__(
        self,
        agent_id: str,
        model: ChatModel | str | None = None,
        *,
        tools: Iterable[Callable[..., Any] | BaseAgent | Tool] = (),  # any callable
        system: str = "",
        description: str = "",
        max_steps: int = MAX_STEPS,
        memory: int | None = MEMORY,
        framework: str = "",
        template_id: str = "",
        configuration: Mapping[str, Any] | None = None,  # a framework's own settings
    ) -> None:
        super().__init__(agent_id, model, system=system, description=description, memory=memory)
        self.max_steps = max_steps
        self.framework = framework
        self.template_id = template_id
        self.configuration = dict(configuration or {})
        self._toolbox = Toolbox(tools)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools as a model sees them."""
        return tuple(self._toolbox)

    @tools.setter
    def tools(self, tools: Iterable[Callable[..., Any] | BaseAgent | Tool]) -> None:  # any callable
        self._toolbox = Toolbox(tools)

    @property
    def max_steps(self) -> int:
        """How many model calls a run may make."""
        return self._max_steps

    @max_steps.setter
    def max_steps(self, max_steps: int) -> None:
        if max_steps < 1:
            raise InvalidInput(
                f"max_steps={max_steps}: {self.agent_id} could not ask its model even once",
                hint="max_steps must be 1 or more",
            )
        self._max_steps = max_steps

    async def steps(
        self,
        messages: list[Message],
        *,
        model: ChatModel,
        tools: Iterable[Callable[..., Any] | BaseAgent | Tool] | None = None,  # any callable
        max_steps: int | None = None,
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncIterator[Event]:
        """Yield the events of model calls and tools, until an answer wants no more tools.

        ``tools`` and ``max_steps`` replace the agent's own for this run. Raises
        StepLimitReached, which holds the text so far, and AgentError where agents ask each
        other in a circle.
        """
        check_depth(self.name)
        toolbox = self._toolbox if tools is None else Toolbox(tools)
        caller = functools.partial(calling, Caller(self.name, model))
        answer = Message("assistant")
        if len(toolbox):
            params["tools"] = toolbox.schemas()
        bound = max_steps or self.max_steps
        for left in reversed(range(bound)):
            async with closing(model.stream(messages, **params)) as events:
                async for event in events:
                    yield event
                    if isinstance(event, MessageFinished):
                        answer = event.message
            if not answer.tool_calls:
                return
            if not left:
                break
            messages = [*messages, answer]
            results = toolbox.run(
                answer.tool_calls, within=caller, approve=approver_in_force(), agent=self.name
            )
            async with closing(results) as told:
                async for each in told:
                    yield each
                    if isinstance(each, ToolResult):
                        messages.append(_as_message(each))
            params = _unforced(params)
        raise self._out_of_steps(answer, bound)

    def _out_of_steps(self, answer: Message, bound: int) -> StepLimitReached:
        wanted = ", ".join(dict.fromkeys(call.name for call in answer.tool_calls))
        error = StepLimitReached(
            f"{self.name!r} used up its {bound} model calls and still wants to call {wanted}",
            hint="raise max_steps, or ask for less at a time",
        )
        error.received = answer.text or (self.last.text if self.last else "")
        return error

    def _parts(self) -> list[str]:
        names = ", ".join(each.name for each in self._toolbox)
        said = (("framework", self.framework), ("template", self.template_id))
        parts = [f"{what} {name}" for what, name in said if name]
        return [*parts, f"tools {names}" if names else "no tools"]


def _as_message(result: ToolResult) -> Message:
    return Message("tool", result.content, tool_call_id=result.id, name=result.name)


def _unforced(params: dict[str, Any]) -> dict[str, Any]:  # sampling parameters
    """Let the model choose from the second call on: a call forced again would never end."""
    choice = params.get("tool_choice")
    forced = choice == "required" or isinstance(choice, dict)
    return {**params, "tool_choice": "auto"} if forced else params
