"""smolagents: an agent that calls tools, or one that writes and runs Python.

A builder makes smolagents' model from ``model``, which it is handed::

    from smolagents import OpenAIModel

    llm = OpenAIModel(model.name, api_base=model.base_url, api_key=model.api_key,
                      retry=False, client_kwargs={"max_retries": 0})

and returns an agent: ``return CodeAgent(tools=[], model=llm, stream_outputs=True)``.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any, ClassVar

from tframex_nb.errors import FrameworkFailed, InvalidInput, StepLimitReached
from tframex_nb.frameworks.base import (
    ABSENT,
    NATIVE,
    PARTIAL,
    Finding,
    FrameworkIntegration,
    ValidationResult,
)
from tframex_nb.messages import TextDelta, ToolCallStarted, ToolResult

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping

    from tframex_nb.frameworks.base import (
        Agent,
        AgentExecutionRequest,
        Capability,
        StreamChunk,
        ToolHandle,
    )
    from tframex_nb.messages import Message

__all__ = ["SmolagentsFramework"]

_ANSWER = re.compile(r'\s*\{\s*"answer"\s*:\s*"')
_PIECE = re.compile(  # of a JSON string: plain text, an escape, a whole pair of surrogates
    r'[^"\\]+|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\[^u]'
)
_PYTHON = "python_interpreter"


class SmolagentsFramework(FrameworkIntegration):
    """Hugging Face's smolagents 1.26."""

    name = "smolagents"
    module = "smolagents"
    distribution = "smolagents"
    versions = ">=1.26,<1.27"
    lock = "locks/smolagents.txt"
    templates = ("task-execution-bot", "custom-code-agent", "generic-task", "generic-custom")
    cancellable = False
    environment: ClassVar[Mapping[str, str]] = {"HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    capabilities: ClassVar[Mapping[str, Capability]] = {
        "streaming": PARTIAL("a CodeAgent's answer comes in one piece"),
        "tools": NATIVE,
        "memory": PARTIAL("tool calls of earlier turns are told to the model as text"),
        "cancel": ABSENT("a run cannot be stopped from outside; its process is killed"),
        "structured_output": ABSENT("an answer is what final_answer is given"),
        "human_in_loop": ABSENT("nothing asks before a step is taken"),
        "multi_agent": PARTIAL("managed agents of an agent that the user builds"),
        "planning": NATIVE,
        "code_execution": PARTIAL("a CodeAgent's own interpreter, in the worker: no sandbox"),
    }
    configuration: ClassVar[Mapping[str, str]] = {
        "code": "whether the agent writes and runs Python (a CodeAgent): true or false",
        "planning_interval": "steps between two plans, a number from 1; none without it",
    }

    async def validate_configuration(self, agent: Agent) -> ValidationResult:
        """Return the base's warnings, and an error for what is of the wrong type."""
        found = await super().validate_configuration(agent)
        errors, given = [], agent.configuration
        if not isinstance(given.get("code", False), bool):
            errors.append(Finding("configuration.code", "must be true or false"))
        interval = given.get("planning_interval", 1)
        if not isinstance(interval, int) or isinstance(interval, bool) or interval < 1:
            errors.append(Finding("configuration.planning_interval", "must be a number from 1"))
        return ValidationResult(tuple(errors), found.warnings)

    async def initialize(self) -> None:
        """Import smolagents."""
        import smolagents  # noqa: F401 - imported now, so that a run need not

    async def execute_agent_streaming(
        self, request: AgentExecutionRequest
    ) -> AsyncGenerator[StreamChunk, None]:
        """Yield the answer, read out of the arguments of ``final_answer`` as they come."""
        if request.schema is not None:
            raise FrameworkFailed(
                "smolagents has no structured output",
                hint="leave the schema out, or take another framework: -f langgraph",
                framework=self.name,
            )
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[StreamChunk | None] = asyncio.Queue()

        def put(event: StreamChunk) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, event)

        work = asyncio.ensure_future(asyncio.to_thread(_run, request, put))
        work.add_done_callback(lambda _: queue.put_nowait(None))
        while (event := await queue.get()) is not None:
            yield event
        await work


def _run(request: AgentExecutionRequest, put: Callable[[StreamChunk], None]) -> None:
    """Run in a thread of its own; our events go to ``put``."""
    telling = _Telling(request)

    def hear(event: Any) -> None:  # any event of smolagents
        for each in telling.about(event):
            put(each)

    agent, close = (_given(request), _nothing) if request.subject else _agent(request, hear)
    telling.by_code = hasattr(agent, "python_executor")
    agent.memory.steps = list(_remembered(request.history))
    try:
        for event in agent.run(request.prompt, stream=True, reset=False):
            hear(event)
    finally:
        close()


def _nothing() -> None:
    """Close nothing: what the user built is the user's."""


def _given(request: AgentExecutionRequest) -> Any:  # a MultiStepAgent
    from rich.console import Console
    from smolagents import LogLevel, MultiStepAgent

    agent = request.subject
    if not isinstance(agent, MultiStepAgent):
        raise InvalidInput(
            f"smolagents runs one of its agents, not a {type(agent).__name__}",
            hint="return a ToolCallingAgent or a CodeAgent from the builder",
        )
    agent.logger.level, agent.logger.console = LogLevel.OFF, Console(quiet=True)
    # Where it plans, its plans would come as text, too
    agent.stream_outputs = hasattr(agent.model, "generate_stream") and not agent.planning_interval
    return agent


def _agent(
    request: AgentExecutionRequest, hear: Callable[[Any], None]
) -> tuple[Any, Callable[[], None]]:
    """Return a new agent, and what closes its client; ``hear`` is told what its model says."""
    from rich.console import Console
    from smolagents import AgentLogger, CodeAgent, LogLevel, OpenAIModel, ToolCallingAgent
    from smolagents.models import (
        ChatMessageToolCall,
        ChatMessageToolCallFunction,
        agglomerate_stream_deltas,
    )

    class Model(OpenAIModel):  # type: ignore[misc]  # smolagents is not typed
        def create_client(self) -> Any:
            return request.model.blocking_openai_client()

        def generate(self, *args: Any, tools_to_call_from: Any = None, **options: Any) -> Any:
            """Stream, and return the whole.

            smolagents' own streaming renders all the text so far for each new piece of it.
            """
            deltas = []
            options["tools_to_call_from"] = tools_to_call_from
            for delta in self.generate_stream(*args, **options):
                deltas.append(delta)
                if tools_to_call_from:  # not where it plans
                    hear(delta)
            return agglomerate_stream_deltas(deltas)

        def parse_tool_calls(self, message: Any) -> Any:
            """Take an answer without a tool call for what it is."""
            answer = ChatMessageToolCallFunction({"answer": message.content}, "final_answer")
            message.tool_calls = [ChatMessageToolCall(answer, "answer", "function")]
            return message

    def limit(_task: str) -> Any:
        raise StepLimitReached(
            f"{request.agent.name!r} used up its {request.max_steps} steps",
            hint="raise max_steps, or ask for less at a time",
        )

    model = Model(request.model.name, retry=False)
    config = request.agent.configuration
    agent = (CodeAgent if config.get("code") else ToolCallingAgent)(
        tools=[_tool(handle) for handle in request.tools],
        model=model,
        instructions=request.system or None,
        max_steps=request.max_steps,
        planning_interval=config.get("planning_interval"),
        logger=AgentLogger(LogLevel.OFF, Console(quiet=True)),  # it prints what it streams
    )
    agent.provide_final_answer = limit  # what smolagents calls when the steps are used up
    return agent, model.client.close


def _tool(handle: ToolHandle) -> Any:  # a Tool
    """Return a notebook's tool as smolagents takes it: each argument with type and description."""
    from smolagents import Tool

    class NotebookTool(Tool):  # type: ignore[misc]  # smolagents is not typed
        name = handle.name
        description = handle.description or handle.name
        inputs: ClassVar = dict(_inputs(handle.parameters))
        output_type = "string"
        skip_forward_signature_validation = True

        def forward(self, **arguments: Any) -> str:  # what the schema says
            return handle.call_from_thread(arguments)

    return NotebookTool()


def _inputs(schema: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each argument's schema, without references, and with what smolagents insists on."""
    required = schema.get("required") or ()
    for name, rules in (schema.get("properties") or {}).items():
        flat = _flat(rules, schema.get("$defs") or {})
        kinds = flat.get("type") or [o.get("type") or "any" for o in flat.get("anyOf") or ()]
        flat = {"description": name, **flat, "type": kinds or "any"}
        flat.pop("anyOf", None) if "anyOf" in flat and kinds else None
        yield name, flat if name in required else {**flat, "nullable": True}


def _flat(rules: Any, defs: Mapping[str, Any], depth: int = 20) -> Any:  # any JSON
    if isinstance(rules, list):
        return [_flat(each, defs, depth) for each in rules]
    if not isinstance(rules, dict) or not depth:
        return rules
    if "$ref" in rules:
        rules = {**defs.get(rules["$ref"].rsplit("/", 1)[-1], {}), **rules}
    return {k: _flat(v, defs, depth - 1) for k, v in rules.items() if k != "$ref"}


def _remembered(history: tuple[Message, ...]) -> Iterator[Any]:
    """Yield the history as steps of smolagents' memory: tasks, and actions with observations."""
    from smolagents.memory import ActionStep, TaskStep, ToolCall
    from smolagents.monitoring import Timing

    results = {m.tool_call_id: m.text for m in history if m.role == "tool"}
    for message in history:
        if message.role == "user":
            yield TaskStep(message.text)
        elif message.role == "assistant":
            calls = [ToolCall(c.name, _parsed(c.arguments), c.id) for c in message.tool_calls]
            seen = [results.get(call.id, "") for call in message.tool_calls]
            yield ActionStep(
                step_number=1,
                timing=Timing(0.0, 0.0),
                model_output=message.text or None,
                tool_calls=calls or None,
                observations="\n".join(seen) if calls else None,
            )


def _parsed(arguments: str) -> Any:  # any JSON
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


class _Telling:
    """From smolagents' events to ours; ``by_code`` where the model writes Python, not text."""

    def __init__(self, request: AgentExecutionRequest) -> None:
        self._notebook = {tool.name for tool in request.tools} | {"final_answer"}
        self.by_code = False
        self._answers: dict[int, _Answer] = {}
        self._said = ""
        self._call: Any = None

    def about(self, event: Any) -> Iterator[StreamChunk]:
        """Yield what one event says."""
        match type(event).__name__:
            case "ChatMessageStreamDelta" if not self.by_code:
                yield from self._delta(event)
            case "ToolCall" if event.name not in self._notebook:
                self._call = event
                text = event.arguments
                text = text if isinstance(text, str) else json.dumps(text, default=str)
                yield ToolCallStarted(event.id, event.name, text)
            case "ToolOutput" if event.tool_call.name not in self._notebook:
                yield ToolResult(event.id, event.tool_call.name, event.observation)
            case "ActionStep":
                yield from self._step(event)
            case "FinalAnswerStep":
                yield from self._rest(event.output)

    def _delta(self, event: Any) -> Iterator[StreamChunk]:
        pieces = [event.content or ""]
        for call in event.tool_calls or ():
            name = call.function.name if call.function else None
            if name:
                self._answers[call.index] = _Answer(wanted=name == "final_answer")
            if call.index in self._answers and call.function:
                pieces.append(self._answers[call.index].feed(call.function.arguments or ""))
        for piece in filter(None, pieces):
            self._said += piece
            yield TextDelta(piece)

    def _step(self, step: Any) -> Iterator[StreamChunk]:
        """Yield what the code of a step has given; the next step is told anew."""
        if self._call is not None and self._call.name == _PYTHON:
            text = str(step.error or step.observations or "")
            yield ToolResult(self._call.id, _PYTHON, text, is_error=step.error is not None)
        self._call = None
        self._answers.clear()

    def _rest(self, output: Any) -> Iterator[StreamChunk]:
        """Yield what of the answer was not streamed: no text, or an argument of another form."""
        whole = output if isinstance(output, str) else _json(output)
        if not self._said.endswith(whole):
            yield TextDelta(whole.removeprefix(self._said))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


class _Answer:
    """Reads the text of ``{"answer": "…"}`` while its JSON is still being written."""

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._raw = ""
        self._at = 0

    def feed(self, more: str) -> str:
        """Return the text that ``more`` completes."""
        if not self._wanted:
            return ""
        self._raw += more
        if not self._at:
            head = _ANSWER.match(self._raw)
            self._at = head.end() if head else 0
        out = ""
        while self._at and (found := _PIECE.match(self._raw, self._at)):
            out += json.loads(f'"{found[0]}"', strict=False)
            self._at = found.end()
        return out
