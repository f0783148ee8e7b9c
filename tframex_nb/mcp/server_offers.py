"""What a client is offered: an agent or a function as one MCP tool, and what a call of it does."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import mcp_types as wire

from tframex_nb.agents._results import failure
from tframex_nb.agents._schema import InvalidArguments
from tframex_nb.agents.base import BaseAgent
from tframex_nb.agents.running import closing
from tframex_nb.agents.toolbox import Toolbox, keep_loop_free
from tframex_nb.agents.tools import marks_of
from tframex_nb.agents.typed_forms import AnswerForm
from tframex_nb.agents.typed_strict import WRAPPED, rooted
from tframex_nb.errors import AgentError, TFrameXError, ToolError, nearest
from tframex_nb.mcp.offered import ORIGIN
from tframex_nb.messages import ToolCall, ToolResult
from tframex_nb.runs import Run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from tframex_nb.agents.tools import Tool
    from tframex_nb.messages import Event

__all__ = ["Ask", "Offer", "ask_natively", "offers_of"]


MAX_LINE = 120  # characters of a progress notification: a model may make up a tool's name


class Ask(Protocol):
    """Asks an agent; ``Frameworks.stream`` is one, and finds the frameworks that agents name."""

    def __call__(
        self,
        agent: BaseAgent,
        prompt: str,
        /,
        **options: Any,  # what ``BaseAgent.stream`` takes
    ) -> AsyncIterator[Event]:
        """Return the events of one run."""
        ...


class Offer(Protocol):
    """One tool of the server."""

    @property
    def tool(self) -> Tool:
        """The tool's name, description and arguments."""
        ...

    def listed(self) -> wire.Tool:
        """Return the tool as clients list it."""
        ...

    async def call(self, arguments: str, tell: Callable[[str], None]) -> wire.CallToolResult:
        """Run one call; ``arguments`` is JSON, ``tell`` is told what goes on."""
        ...


def ask_natively(
    agent: BaseAgent,
    prompt: str,
    /,
    **options: Any,  # what ``BaseAgent.stream`` takes
) -> AsyncIterator[Event]:
    """Ask an agent in this process; one that names another framework needs ``Frameworks``."""
    return agent.stream(prompt, **options)


def offers_of(
    things: Iterable[Any],  # checked one by one
    *,
    ask: Ask = ask_natively,
    model: str | None = None,
    schemas: Mapping[str, Any] | None = None,  # types, or JSON schemas, by the agent's name
) -> dict[str, Offer]:
    """Return agents, functions and ``Tool``s as tools, by their names.

    Raises ToolError for anything else and for two of one name, InvalidInput for a schema that
    describes no answer, AgentError where there is nothing to give a schema to.
    """
    wanted = dict(schemas or {})
    made: dict[str, Offer] = {}
    for each in things:
        offer = _offer(each, ask, model, wanted)
        other = made.setdefault(offer.tool.name, offer)
        if other is not offer:
            raise ToolError(
                f"two tools are called {offer.tool.name!r}: "
                f"{other.tool.origin} and {offer.tool.origin}",
                hint='give one another name: tool(function, name="…"), Agent("…")',
            )
    for name in wanted:
        agents = [offer.agent.name for offer in made.values() if isinstance(offer, _AgentOffer)]
        raise AgentError(f"no agent {name!r} to give a schema to", hint=nearest(name, agents))
    if not made:
        raise ToolError("there is nothing to serve", hint="name an agent or a function")
    return made


@dataclass(slots=True)
class _FunctionOffer:
    """A function: what it returns is the text of the answer."""

    tool: Tool

    def listed(self) -> wire.Tool:
        return _listed(self.tool, annotations=_hints([self.tool]))

    async def call(self, arguments: str, tell: Callable[[str], None]) -> wire.CallToolResult:
        keep_loop_free()
        tell("running")
        calls = [ToolCall("call", self.tool.name, arguments)]
        said = _result()
        async with closing(Toolbox([self.tool]).run(calls)) as events:
            async for event in events:
                if isinstance(event, ToolResult):
                    said = _result(event.content, is_error=event.is_error)
        return said


@dataclass(slots=True)
class _AgentOffer:
    """An agent: each call is a run that neither sees nor changes its conversation."""

    agent: BaseAgent
    tool: Tool
    ask: Ask
    model: str | None
    schema: Any  # a type or a JSON schema
    form: AnswerForm | None
    output: dict[str, Any] | None = field(init=False)  # a JSON schema
    wrapped: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.output = None
        if self.form is not None:
            root, self.wrapped = rooted(self.form.schema)
            if "properties" in root:  # else the protocol has no place for it
                self.output = {**root, "type": "object"}

    def listed(self) -> wire.Tool:
        tools = getattr(self.agent, "tools", None)
        # A framework's agent may run code of its own
        bare = tools is not None and not getattr(self.agent, "framework", "")
        hints = _hints(tools or (), whole=bare)
        hints.open_world_hint = True
        return _listed(self.tool, annotations=hints, output_schema=self.output)

    async def call(self, arguments: str, tell: Callable[[str], None]) -> wire.CallToolResult:
        keep_loop_free()
        try:
            (prompt,) = self.tool.arguments.bind(arguments)[1].values()
        except InvalidArguments as exc:
            return _result(f"Invalid arguments for {self.tool.name}:\n{exc}", is_error=True)
        run = Run()
        try:
            await self._run(prompt, run, tell)
        except TFrameXError as exc:
            return _failed("\n".join(exc._render_traceback_()), run)
        except Exception as exc:  # noqa: BLE001 - an agent is the user's own code; the client is told
            return _failed(failure(exc), run)
        if self.output is None:
            return _result(run.text)
        # In a thread: the library that checks it may take a second to import
        return _result(run.text, structured=await asyncio.to_thread(self._structured, run))

    async def _run(self, prompt: str, run: Run, tell: Callable[[str], None]) -> None:
        options: dict[str, Any] = {"remember": False, "fresh": True}  # as ``BaseAgent.stream``
        if self.model:
            options["model"] = self.model
        if self.schema is not None:
            options["schema"] = self.schema
        tell("asking the model")
        async with closing(self.ask(self.agent, prompt, **options)) as events:
            async for event in events:
                run.record(event)
                tell(_said(event, run))

    def _structured(self, run: Run) -> dict[str, Any] | None:  # any JSON object
        """Return the checked answer, as the schema that is listed has it."""
        if self.output is None:
            return None
        for data in _as_json(run):
            found = {WRAPPED: data} if self.wrapped else data
            if isinstance(found, dict) and _matches(found, self.output):
                return found
        return None


def _offer(
    each: Any,  # whatever people pass
    ask: Ask,
    model: str | None,
    schemas: dict[str, Any],  # of the agents; what is used is taken out
) -> Offer:
    if not isinstance(each, BaseAgent):
        (made,) = Toolbox([each])
        return _FunctionOffer(made)
    # Not what ``as_tool`` says by itself: the system message is not for strangers
    told = each.description or f"Ask the agent {each.name!r}."
    tool = dataclasses.replace(each.as_tool(description=told), origin=f"the agent {each.name!r}")
    schema = schemas.pop(each.name, None)
    form = None if schema is None else AnswerForm.of(schema)
    return _AgentOffer(each, tool, ask, model, schema, form)


def _listed(tool: Tool, **more: Any) -> wire.Tool:  # further fields of the protocol
    schema = {"type": "object", **tool.parameters}
    return wire.Tool(
        name=tool.name, description=tool.description or None, input_schema=schema, **more
    )


def _hints(tools: Sequence[Tool], *, whole: bool = True) -> wire.ToolAnnotations:
    """Return what is promised of what uses these tools; nothing of what nobody has said.

    A client may run unasked what only reads. ``whole`` says that there is nothing but the tools.
    """
    told = [_writes(each) for each in tools]
    if True in told:
        return wire.ToolAnnotations(read_only_hint=False, destructive_hint=True)
    return wire.ToolAnnotations(read_only_hint=True if whole and None not in told else None)


def _writes(tool: Tool) -> bool | None:
    """Whether a tool changes something; None where neither a mark nor a server says so."""
    served = tool.origin.startswith(ORIGIN)
    return True if tool.writes else False if served else marks_of(tool.function).writes


def _said(event: Event, run: Run) -> str:
    """Return what goes on, on one short line; nothing of the answer."""
    match event.type:
        case "text_delta" | "reasoning_delta":
            doing = "writing" if event.type == "text_delta" else "thinking"
            line = f"{doing}, {run.length:,} characters"
        case "tool_call_started":
            line = f"calling {getattr(event, 'name', '')}"
        case "tool_result":
            line = "reading what the tool gave"
        case "retrying":
            line = "the model failed; asking again"
        case _:
            line = event.line
    return "".join(each for each in " ".join(line.split()) if each.isprintable())[:MAX_LINE]


def _as_json(run: Run) -> list[Any]:  # any JSON
    """Return the checked answer as the model wrote it, and as its validated value has it."""
    from pydantic_core import PydanticSerializationError, from_json, to_json

    found = [getattr(e, "data", None) for e in run.events if e.type == "answer_checked"][-1:]
    with suppress(PydanticSerializationError, ValueError):  # a value that is no JSON by itself
        found.append(from_json(to_json(run.output, by_alias=True)))
    return found


def _matches(data: Any, schema: dict[str, Any]) -> bool:  # JSON, and a JSON schema
    import jsonschema
    import referencing
    from jsonschema.validators import validator_for

    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    with suppress(referencing.exceptions.Unresolvable):
        return bool(kind(schema, registry=referencing.Registry()).is_valid(data))
    return False


def _failed(said: str, run: Run) -> wire.CallToolResult:
    """Return an error, and beside it what the agent had said by then."""
    partial = [f"The answer up to there:\n{run.text}"] if run.text else []
    return _result(said, *partial, is_error=True)


def _result(
    *texts: str,
    structured: dict[str, Any] | None = None,  # any JSON object
    is_error: bool = False,
) -> wire.CallToolResult:
    content: list[wire.ContentBlock] = [wire.TextContent(text=_sendable(text)) for text in texts]
    result = wire.CallToolResult(content=content, is_error=is_error)
    if structured is not None:
        result.structured_content = json.loads(_sendable(json.dumps(structured)))
    return result


def _sendable(text: str) -> str:
    """Return a text without lone surrogates, which no JSON reader takes."""
    return text.encode("utf-8", "replace").decode()
