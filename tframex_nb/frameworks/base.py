"""What an agent framework is to us: one class with one method that streams (stdlib only).

An adapter subclasses ``FrameworkIntegration`` and writes ``execute_agent_streaming``. It imports
its framework inside its methods, never at the top: the kernel reads an adapter whose framework it
does not have, and a worker runs it in the framework's own environment.

The model is reached at ``request.model``, a loopback OpenAI-compatible endpoint made for this run.
Reasoning, usage, retries and errors of the model are seen there, once for all frameworks, and so
are tool calls where a tool is called: an adapter yields the text, and what else is its own.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tframex_nb.errors import InvalidInput
from tframex_nb.frameworks.requests import (
    Agent,
    AgentExecutionRequest,
    AgentExecutionResult,
    AgentSpec,
    ModelAccess,
    ToolHandle,
)
from tframex_nb.messages import Event, MessageFinished, TextDelta, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "ABSENT",
    "CAPABILITIES",
    "NATIVE",
    "PARTIAL",
    "Agent",
    "AgentExecutionRequest",
    "AgentExecutionResult",
    "AgentSpec",
    "Capability",
    "ExecutionRequirements",
    "Finding",
    "FrameworkIntegration",
    "Health",
    "Level",
    "ModelAccess",
    "StreamChunk",
    "ToolHandle",
    "ValidationResult",
    "build_subject",
]

StreamChunk = Event  # what a run streams: the same events everywhere, TextDelta above all
Level = Literal["native", "partial", "absent"]

_NAMED = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
CAPABILITIES = (
    "streaming",
    "tools",
    "memory",
    "cancel",
    "structured_output",
    "human_in_loop",
    "multi_agent",
    "planning",
    "code_execution",
)


@dataclass(frozen=True, slots=True)
class Capability:
    """How well a framework can do something, and why not better."""

    level: Level
    reason: str = ""

    @property
    def met(self) -> bool:
        """Whether a requirement of this capability is met."""
        return self.level != "absent"


NATIVE = Capability("native")


def PARTIAL(reason: str) -> Capability:  # noqa: N802 - reads as the constant that it stands for
    """Return a capability that is there in part; ``reason`` says what is missing."""
    return Capability("partial", reason)


def ABSENT(reason: str) -> Capability:  # noqa: N802 - reads as the constant that it stands for
    """Return a capability that is not there; ``reason`` says why."""
    return Capability("absent", reason)


@dataclass(frozen=True, slots=True)
class ExecutionRequirements:
    """What a run needs of a framework."""

    streaming: bool = False
    tools: bool = False
    memory: bool = False
    capabilities: frozenset[str] = frozenset()

    def get_required_capabilities(self) -> set[str]:
        """Return the names of all the capabilities that are needed."""
        flags = {"streaming": self.streaming, "tools": self.tools, "memory": self.memory}
        return {name for name, wanted in flags.items() if wanted} | set(self.capabilities)


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding about an agent's configuration; ``field`` is a dotted path into it."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What a framework says of an agent: errors forbid a run, warnings do not."""

    errors: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()

    @property
    def is_valid(self) -> bool:
        """Whether there is no error."""
        return not self.errors


@dataclass(frozen=True, slots=True)
class Health:
    """Whether an integration could run now, and if not, why."""

    ok: bool
    detail: str = ""


class FrameworkIntegration(ABC):
    """An agent framework behind our interface. Subclasses write ``execute_agent_streaming``.

    Class attributes say what the framework is: its ``name``, the ``module`` and ``distribution``
    that must be installed (none for an adapter that needs nothing), the ``templates`` that it
    supports, its ``capabilities``, and the ``versions`` it was tested with (a PEP 440 specifier).
    ``cancellable`` says that cancelling the task ends everything at once; where it is False each
    run has a process of its own, which is killed. ``environment`` are variables that a worker
    sets before it imports the framework (to turn its telemetry off). ``lock`` is the file of
    hashed requirements that its environment is made from, beside the adapter's own file.
    ``configuration`` maps the keys of an agent's configuration that this adapter reads to what
    they mean, and ``configuration_types`` to what they may be: a type, or the values themselves.
    """

    name: ClassVar[str]
    module: ClassVar[str] = ""
    distribution: ClassVar[str] = ""
    versions: ClassVar[str] = ""
    templates: ClassVar[tuple[str, ...]] = ()
    capabilities: ClassVar[Mapping[str, Capability]] = {}
    cancellable: ClassVar[bool] = True
    environment: ClassVar[Mapping[str, str]] = {}
    lock: ClassVar[str] = ""
    configuration: ClassVar[Mapping[str, str]] = {}
    configuration_types: ClassVar[Mapping[str, type | tuple[Any, ...]]] = {}  # any JSON values

    @abstractmethod
    def execute_agent_streaming(
        self, request: AgentExecutionRequest
    ) -> AsyncGenerator[StreamChunk, None]:
        """Yield the events of one answer; write it as an async generator.

        An exception fails the run. Closing the generator, or cancelling its task, must end what
        it started.
        """

    async def execute_agent(self, request: AgentExecutionRequest) -> AgentExecutionResult:
        """Return the whole answer: the stream, drained."""
        events = [event async for event in self.execute_agent_streaming(request)]
        text = "".join(event.text for event in events if isinstance(event, TextDelta))
        usage = sum((event for event in events if isinstance(event, Usage)), Usage())
        messages = tuple(e.message for e in events if isinstance(e, MessageFinished))
        return AgentExecutionResult(text, messages, usage, tuple(events))

    def __init__(self) -> None:
        self._version = ""

    @property
    def version(self) -> str:
        """The version of the framework in use, or the empty text where none is installed.

        Whoever runs the framework in another environment sets it to the version there.
        """
        own = getattr(self, "_version", "")  # a subclass may not call our __init__
        return own or (installed_version(self.distribution) if self.distribution else "")

    @version.setter
    def version(self, version: str) -> None:
        self._version = version

    def get_supported_templates(self) -> list[str]:
        """Return the ids of the templates that this framework supports."""
        return list(self.templates)

    def get_capabilities(self) -> set[str]:
        """Return the names of what the framework can do, natively or in part."""
        return {name for name, each in self.describe_capabilities().items() if each.met}

    def describe_capabilities(self) -> dict[str, Capability]:
        """Return every capability with its level and reason, for the ``version`` in use."""
        return dict(self.capabilities)

    async def validate_configuration(self, agent: Agent) -> ValidationResult:
        """Return what is wrong with an agent's configuration for this framework."""
        known = ", ".join(sorted(self.configuration)) or "none"
        warnings = tuple(
            Finding(f"configuration.{key}", f"{self.name} does not read it; it reads: {known}")
            for key in agent.configuration
            if key not in self.configuration
        )
        errors = tuple(
            Finding(f"configuration.{key}", f"{value!r} cannot be; it must be {wanted}")
            for key, value in agent.configuration.items()
            if (wanted := _unmet(self.configuration_types.get(key), value))
        )
        return ValidationResult(errors, warnings)

    async def initialize(self) -> None:  # noqa: B027 - a hook; most need none
        """Import the framework and get ready; called before the first run, and cheap again."""

    async def aclose(self) -> None:  # noqa: B027 - a hook; most need none
        """Release what ``initialize`` and the runs hold."""

    async def health(self) -> Health:
        """Return whether a run could start here and now."""
        if self.module and not importable(self.module):
            return Health(ok=False, detail=f"{self.module} is not installed here")
        return Health(ok=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.version or '(not installed)'}>"


def answer_of(
    integration: FrameworkIntegration, request: AgentExecutionRequest
) -> AsyncGenerator[StreamChunk, None]:
    """Return the stream of an integration's answer; raises TypeError where that is none."""
    stream: Any = integration.execute_agent_streaming(request)  # an adapter may return anything
    if isinstance(stream, AsyncGenerator):
        return stream
    if inspect.iscoroutine(stream):
        stream.close()  # nobody will await it
    raise TypeError(
        f"execute_agent_streaming returned a {type(stream).__name__}; an async generator is wanted"
    )


def installed_version(distribution: str) -> str:
    """Return the version of an installed distribution, or the empty text."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def importable(module: str) -> bool:
    """Whether a module could be imported, told without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a parent package that is missing, or half a module
        return False


def is_builder(subject: object) -> bool:
    """Whether it makes a framework's object, and is none itself: those are instances."""
    return inspect.isroutine(subject) or isinstance(subject, (type, functools.partial))


async def build_subject(
    builder: Callable[..., Any],  # returns an object of its framework
    request: AgentExecutionRequest,
) -> Any:
    """Return what a builder function makes of the ``model`` and the ``tools`` that it asks for.

    It may be a coroutine function. Raises InvalidInput where it needs anything else, and what
    the builder raises.
    """
    offered = {"model": request.model, "tools": request.tools}
    wanted = inspect.signature(builder).parameters
    needed = [n for n, p in wanted.items() if p.default is p.empty and p.kind in _NAMED]
    if strange := sorted(set(needed) - set(offered)):
        raise InvalidInput(
            f"the builder {getattr(builder, '__name__', builder)} needs {', '.join(strange)}",
            hint="a builder is given model and tools, where it takes them, and nothing else",
        )
    built = builder(**{name: value for name, value in offered.items() if name in wanted})
    return await built if inspect.isawaitable(built) else built


def _unmet(wanted: type | tuple[Any, ...] | None, value: object) -> str:
    """Return in words what a value should have been, or nothing where it is right."""
    if wanted is None:
        return ""
    if isinstance(wanted, tuple):
        return "" if value in wanted else "one of " + ", ".join(map(repr, wanted))
    right = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
    return "" if right else f"of type {wanted.__name__}"
