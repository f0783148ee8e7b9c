"""CrewAI: one agent with a role, or a crew or flow that the user built.

A builder makes CrewAI's model from ``model``, which it is handed::

    from crewai import LLM

    llm = LLM(model=model.name, base_url=model.base_url, api_key=model.api_key,
              custom_openai=True, stream=True, max_retries=0)

and returns a Crew, a Flow or an Agent. A crew's tasks, and a flow's state, read ``{prompt}`` (the
cell's text) and ``{history}`` (what was said before it). A crew that reads one other name gets the
prompt for it; where it reads several, the cell is a JSON object that gives them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
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
from tframex_nb.messages import TextDelta

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from tframex_nb.frameworks.base import (
        Agent,
        AgentExecutionRequest,
        Capability,
        StreamChunk,
        ToolHandle,
    )

__all__ = ["CrewAIFramework"]


class CrewAIFramework(FrameworkIntegration):
    """CrewAI 1.15."""

    name = "crewai"
    module = "crewai"
    distribution = "crewai"
    versions = ">=1.15.30,<1.16"
    lock = "locks/crewai.txt"
    templates = (
        "customer-service-bot",
        "task-execution-bot",
        "workflow-agent",
        "generic-task",
    )
    cancellable = False
    environment: ClassVar[Mapping[str, str]] = {
        "CREWAI_DISABLE_TELEMETRY": "true",
        "CREWAI_DISABLE_TRACKING": "true",
        "CREWAI_DISABLE_VERSION_CHECK": "true",
        "CREWAI_TRACING_ENABLED": "false",
        "CREWAI_TESTING": "true",  # no question about traces after the first run
        "OTEL_SDK_DISABLED": "true",
        "NO_COLOR": "1",
    }
    capabilities: ClassVar[Mapping[str, Capability]] = {
        "streaming": NATIVE,
        "tools": NATIVE,
        "memory": PARTIAL("an agent remembers its turns; a crew or flow reads them as {history}"),
        "cancel": ABSENT("a run cannot be stopped from outside; its process is killed"),
        "structured_output": PARTIAL("with tools it takes one more call of the model"),
        "human_in_loop": ABSENT("human_input reads a terminal, and a run has none"),
        "multi_agent": NATIVE,
        "planning": PARTIAL("with planning=True in what the user builds; the plan comes as text"),
        "code_execution": ABSENT("CrewAI has removed its code interpreter"),
    }
    configuration: ClassVar[Mapping[str, str]] = {
        "role": "who the agent is, a text (its name)",
        "goal": "what it is to reach, a text (its description)",
        "backstory": "what it knows of itself, a text, below the system prompt",
    }

    async def validate_configuration(self, agent: Agent) -> ValidationResult:
        """Return the base's warnings, and an error for what is of the wrong type."""
        found = await super().validate_configuration(agent)
        errors = tuple(
            Finding(f"configuration.{key}", "must be a text")
            for key in self.configuration
            if not isinstance(agent.configuration.get(key, ""), str)
        )
        return ValidationResult(errors, found.warnings)

    async def initialize(self) -> None:
        """Import CrewAI, its files kept out of the user's data folder, its log of errors off."""
        if "CREWAI_STORAGE_DIR" not in os.environ:
            os.environ["CREWAI_STORAGE_DIR"] = str(_storage())
        # At import it writes a key for its cloud's credentials under the home folder
        homes = {key: os.environ[key] for key in ("HOME", "LOCALAPPDATA") if key in os.environ}
        os.environ.update(dict.fromkeys(homes, os.environ["CREWAI_STORAGE_DIR"]))
        try:
            import crewai  # noqa: F401 - imported now, so that a run need not
        finally:
            os.environ.update(homes)
        logging.getLogger("crewai").setLevel(logging.CRITICAL)
        logging.getLogger().addFilter(_is_news)

    async def aclose(self) -> None:
        """Clear away the folder of this process."""
        folder = Path(os.environ.get("CREWAI_STORAGE_DIR", ""))
        if folder.name.startswith(f"tframex-nb-crewai-{os.getpid()}-"):
            del os.environ["CREWAI_STORAGE_DIR"]
            shutil.rmtree(folder, ignore_errors=True)

    async def execute_agent_streaming(
        self, request: AgentExecutionRequest
    ) -> AsyncGenerator[StreamChunk, None]:
        """Yield what the agent, or each member of the crew, says."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[str | None] = asyncio.Queue()

        def put(piece: str) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, piece)

        work = asyncio.ensure_future(asyncio.to_thread(_run, request, put))
        work.add_done_callback(lambda _: queue.put_nowait(None))
        said = False
        while (piece := await queue.get()) is not None:
            said = True
            yield TextDelta(piece)
        whole = await work
        if whole and not said:
            yield TextDelta(whole)


def _storage() -> Path:
    """Return a new folder of this process; being absolute, CrewAI takes it in place of its own.

    A process that was killed leaves its folder behind: the next one clears it away.
    """
    prefix = "tframex-nb-crewai-"
    if hasattr(os, "getuid"):
        for old in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
            pid = old.name.removeprefix(prefix).partition("-")[0]
            if pid.isdigit() and old.lstat().st_uid == os.getuid() and not _lives(int(pid)):
                shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of the root log is not what the run raises anyway."""
    return "API call failed" not in str(record.msg)


def _run(request: AgentExecutionRequest, put: Callable[[str], object]) -> str:
    """Run in a thread of its own: pieces go to ``put``, the whole answer comes back."""
    from crewai.events import crewai_event_bus
    from crewai.events.types.llm_events import LLMStreamChunkEvent
    from crewai.events.utils.console_formatter import set_suppress_console_output
    from crewai.llms import retry

    # CrewAI would send a 429 three times; the model's own door retries, once for all frameworks
    retry._active_llm_rate_limit_retry.set(True)  # noqa: SLF001 - it has no other switch
    set_suppress_console_output(True)
    hear = _Hearing(request, put)
    crewai_event_bus.on(LLMStreamChunkEvent)(hear)
    try:
        return _answer(request)
    except SystemExit as exc:  # its way to say that the context is too small
        raise FrameworkFailed(f"crewai gave up: {exc}", framework="crewai") from exc
    finally:
        crewai_event_bus.off(LLMStreamChunkEvent, hear)


class _Hearing:
    """Takes the text out of CrewAI's stream of chunks; names the speakers where several speak."""

    __name__ = "hearing"  # CrewAI names its handlers

    def __init__(self, request: AgentExecutionRequest, put: Callable[[str], object]) -> None:
        self._put = put
        self._several = len(getattr(request.subject, "agents", ())) > 1
        # With tools the words before the last call of the model are no JSON
        self._mute = request.schema is not None and bool(request.tools)
        self._speaker = ""

    def __call__(self, _source: object, event: Any) -> None:
        """Hear one chunk; chunks of tool calls are no text."""
        if self._mute or event.tool_call is not None or not event.chunk:
            return
        if self._several and event.agent_role and event.agent_role != self._speaker:
            gap = "\n\n" if self._speaker else ""
            self._speaker = event.agent_role
            self._put(f"{gap}**{self._speaker.strip()}**\n\n")
        self._put(event.chunk)


def _answer(request: AgentExecutionRequest) -> str:
    from crewai import Agent, Crew, Flow

    subject = request.subject
    for member in getattr(subject, "agents", (subject,)):
        if hasattr(getattr(member, "llm", None), "stream"):
            member.llm.stream = True
    if isinstance(subject, Crew | Flow):
        return _kickoff(subject, request)
    if subject is not None and not isinstance(subject, Agent):
        raise InvalidInput(
            f"crewai runs a Crew, a Flow or an Agent, not a {type(subject).__name__}",
            hint="return crewai.Crew(agents=[…], tasks=[…]) from the builder",
        )
    agent = subject or _agent(request)
    messages = [m.to_dict() for m in (*request.history, request.messages[-1])]
    if request.schema is None:
        return str(agent.kickoff(messages).raw)
    from tframex_nb.frameworks.adapters._schema import model_of

    output = agent.kickoff(messages, response_format=model_of(request.schema, "crewai"))
    if output.pydantic is None:
        raise FrameworkFailed("crewai: the answer does not match the schema", framework="crewai")
    return str(output.pydantic.model_dump_json(by_alias=True, exclude_unset=True))


def _agent(request: AgentExecutionRequest) -> Any:  # a crewai.Agent
    from crewai import Agent

    config, agent = request.agent.configuration, request.agent
    about = getattr(agent, "description", "")
    return Agent(
        role=config.get("role") or agent.name or "assistant",
        goal=config.get("goal") or about or "Answer the user.",
        backstory="\n\n".join(filter(None, (request.system, config.get("backstory")))),
        llm=_model(request),
        tools=[_tool(handle) for handle in request.tools],
        max_iter=request.max_steps,
        max_retry_limit=0,
        respect_context_window=False,  # it would sum up behind the user's back
        cache=False,
        verbose=False,
    )


def _model(request: AgentExecutionRequest) -> Any:  # a crewai.LLM
    from crewai.llms.providers.openai.completion import OpenAICompletion
    from pydantic import PrivateAttr

    exact = {handle.name: dict(handle.parameters) for handle in request.tools}

    class Model(OpenAICompletion):  # type: ignore[misc]  # crewai is not typed
        _calls: int = PrivateAttr(default=0)

        def _build_sync_client(self) -> Any:
            return request.model.blocking_openai_client()

        def _build_async_client(self) -> Any:
            return request.model.openai_client()

        def call(self, *args: Any, **options: Any) -> Any:  # as CrewAI calls it
            """Count: CrewAI would make one more call when the steps are used up."""
            self._calls += 1
            if self._calls > request.max_steps:
                raise StepLimitReached(
                    f"{request.agent.name!r} used up its {request.max_steps} model calls",
                    hint="raise max_steps, or ask for less at a time",
                )
            return super().call(*args, **options)

        def _convert_tools_for_interference(self, tools: Any) -> Any:  # OpenAI's shape
            """Offer each tool with its own schema: CrewAI's has no defaults, all is required."""
            offered = super()._convert_tools_for_interference(tools)
            for function in (tool["function"] for tool in offered):
                if function["name"] in exact:
                    function |= {"parameters": exact[function["name"]], "strict": False}
            return offered

    return Model(
        model=request.model.name,
        base_url=request.model.base_url,
        api_key=request.model.api_key,
        custom_openai=True,
        stream=True,
        max_retries=0,
    )


def _tool(handle: ToolHandle) -> Any:  # a crewai BaseTool
    """Return a notebook's tool as CrewAI takes it; its schema is told as it is."""
    from crewai.tools import BaseTool
    from pydantic import BaseModel, ConfigDict

    class Arguments(BaseModel):
        model_config = ConfigDict(extra="allow", title=handle.name)

        @classmethod
        def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
            return dict(handle.parameters)

    class NotebookTool(BaseTool):  # type: ignore[misc]  # crewai is not typed
        def _run(self, **arguments: Any) -> str:
            return handle.call_from_thread(arguments)

    about = handle.description or handle.name
    return NotebookTool(name=handle.name, description=about, args_schema=Arguments)


def _kickoff(subject: Any, request: AgentExecutionRequest) -> str:
    """Run a crew or a flow on the prompt, and return its whole answer."""
    history = "\n".join(f"{m.role}: {m.text}" for m in request.history if m.text)
    inputs: dict[str, Any] = {"prompt": request.prompt, "history": history} | _object(request)
    if hasattr(subject, "fetch_inputs"):
        missing = sorted(subject.fetch_inputs() - set(inputs))
        if len(missing) > 1:
            raise InvalidInput(
                f"the crew reads {', '.join(missing)}, and the cell does not give them",
                hint='write the cell as a JSON object: {"' + missing[0] + '": …}',
            )
        inputs |= dict.fromkeys(missing, request.prompt)
    output = subject.kickoff(inputs=inputs)
    return str(getattr(output, "raw", output))


def _object(request: AgentExecutionRequest) -> dict[str, Any]:
    """Return the prompt as a JSON object, or nothing."""
    try:
        value = json.loads(request.prompt)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
