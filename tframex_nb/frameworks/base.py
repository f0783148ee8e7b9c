"""What an agent framework is to us: one class with one method that streams (stdlib only).

An adapter subclasses ``FrameworkIntegration`` and writes ``execute_agent_streaming``. It imports
its framework inside its methods, never at the top: the kernel reads an adapter whose framework it
does not have, and a worker runs it in the framework's own environment.

The model is reached at ``request.model``, a loopback OpenAI-compatible endpoint made for this run.
Reasoning, usage, retries and errors of the model are seen there, once for all frameworks, and so
are tool calls where a tool is called: an adapter yields the text, and what else is its own.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import inspect
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

from tframex_nb.messages import Event, Message, MessageFinished, TextDelta, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping

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
    "iterate_in_thread",
]

T = TypeVar("T")

StreamChunk = Event  # what a run streams: the same events everywhere, TextDelta above all
Level = Literal["native", "partial", "absent"]

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


@runtime_checkable
class Agent(Protocol):
    """An agent as frameworks see it; ``tframex_nb.Agent`` is one, and so is ``AgentSpec``."""

    @property
    def id(self) -> str:
        """The agent's id, unique in its kernel."""
        ...

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def template_id(self) -> str:
        """The template that it was made from, or the empty text."""
        ...

    @property
    def configuration(self) -> Mapping[str, Any]:
        """The framework's own settings, JSON."""
        ...


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """An agent as it travels to a worker: plain data."""

    id: str
    name: str = ""
    template_id: str = ""
    configuration: Mapping[str, Any] = field(default_factory=dict)  # any JSON
    description: str = ""


@dataclass(frozen=True, slots=True)
class ModelAccess:
    """The model of a run: an OpenAI-compatible base URL and a token that dies with the run."""

    name: str
    base_url: str
    api_key: str = field(repr=False)

    def openai_client(self) -> Any:  # an openai.AsyncOpenAI, which only some environments have
        """Return a client of the ``openai`` package for this endpoint; close it after use.

        It never retries and has no time-out: the run has its own. It speaks plain HTTP to
        loopback, so it asks no proxy and loads no certificates, which would take 20 ms each time.
        """
        import ssl

        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts no certificate at all
        http = DefaultAsyncHttpxClient(trust_env=False, verify=nobody, timeout=None)
        return AsyncOpenAI(
            base_url=self.base_url,
            api_key=self.api_key,
            max_retries=0,
            timeout=None,
            http_client=http,
        )


@dataclass(frozen=True, slots=True)
class ToolHandle:
    """A tool that lives in the notebook; ``parameters`` is the JSON schema of its arguments.

    ``await tool(arguments)`` returns the text for the model, also where it tells of an error.
    ``arguments`` are a dict, or the JSON text as the model wrote it.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]  # a JSON schema
    call: Callable[[dict[str, Any] | str], Awaitable[str]] = field(repr=False)
    loop: asyncio.AbstractEventLoop = field(repr=False, compare=False)

    async def __call__(self, arguments: dict[str, Any] | str) -> str:
        """Return what the tool says to the model."""
        return await self.call(arguments)

    def call_from_thread(self, arguments: dict[str, Any] | str) -> str:
        """Return the result to a thread that is not the event loop's."""

        async def answer() -> str:
            return await self.call(arguments)

        return asyncio.run_coroutine_threadsafe(answer(), self.loop).result()


@dataclass(frozen=True, slots=True)
class AgentExecutionRequest:
    """One question to one agent on one framework.

    ``history`` are the earlier messages, without the system message, rebuilt by the framework's
    memory; ``params`` are sampling parameters for the model (temperature and the like).
    ``schema`` is a JSON schema that the answer must match, or None. ``subject`` is what the user
    built with the framework itself (a graph, a crew, a team), in place of an agent of ours.
    """

    agent: Agent
    prompt: str
    model: ModelAccess
    system: str = ""
    history: tuple[Message, ...] = ()
    tools: tuple[ToolHandle, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)  # sampling parameters, any JSON
    max_steps: int = 12
    schema: Mapping[str, Any] | None = None  # a JSON schema
    subject: Any = None  # an object of the framework
    run_id: str = ""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation: the system message, what was said, and the prompt."""
        head = (Message("system", self.system),) if self.system else ()
        return (*head, *self.history, Message("user", self.prompt))


@dataclass(frozen=True, slots=True)
class AgentExecutionResult:
    """The whole of one answer."""

    text: str
    messages: tuple[Message, ...] = ()
    usage: Usage = field(default_factory=Usage)
    events: tuple[Event, ...] = field(default=(), repr=False)


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


async def build_subject(
    builder: Callable[..., Any],  # returns an object of its framework
    request: AgentExecutionRequest,
) -> Any:
    """Return what a builder function makes of the ``model`` and the ``tools`` that it asks for.

    It may be a coroutine function. Raises what the builder raises.
    """
    offered = {"model": request.model, "tools": request.tools}
    wanted = inspect.signature(builder).parameters
    built = builder(**{name: value for name, value in offered.items() if name in wanted})
    return await built if inspect.isawaitable(built) else built


async def iterate_in_thread(make: Callable[[], Iterable[T]]) -> AsyncGenerator[T, None]:
    """Yield the items of a blocking iterable that is made and read in a thread of its own.

    A thread cannot be cancelled: closing the generator abandons it. Raises what the iterable
    raises.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[bool, Any]] = asyncio.Queue()  # (more, item or error)

    def put(more: bool, item: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(queue.put_nowait, (more, item))

    def read() -> None:
        try:
            for item in _each(make):
                put(True, item)  # noqa: FBT003
        except BaseException as exc:  # noqa: BLE001 - carried to the awaiting side, whatever it is
            put(False, exc)  # noqa: FBT003
        else:
            put(False, None)  # noqa: FBT003

    threading.Thread(target=read, name="framework", daemon=True).start()
    while True:
        more, item = await queue.get()
        if more:
            yield item
        elif item is None:
            return
        else:
            raise item


def _unmet(wanted: type | tuple[Any, ...] | None, value: object) -> str:
    """Return in words what a value should have been, or nothing where it is right."""
    if wanted is None:
        return ""
    if isinstance(wanted, tuple):
        return "" if value in wanted else "one of " + ", ".join(map(repr, wanted))
    right = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
    return "" if right else f"of type {wanted.__name__}"


def _each(make: Callable[[], Iterable[T]]) -> Iterator[T]:
    yield from make()
