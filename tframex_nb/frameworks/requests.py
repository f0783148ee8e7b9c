"""What is asked of a framework, and what it gives back: plain data (stdlib only)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tframex_nb.messages import Event, Message, Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = [
    "Agent",
    "AgentExecutionRequest",
    "AgentExecutionResult",
    "AgentSpec",
    "ModelAccess",
    "ToolHandle",
]


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
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        return self._client(AsyncOpenAI, DefaultAsyncHttpxClient)

    def blocking_openai_client(self) -> Any:  # an openai.OpenAI
        """Return the same for code that blocks its thread."""
        from openai import DefaultHttpxClient, OpenAI

        return self._client(OpenAI, DefaultHttpxClient)

    def _client(self, make: Callable[..., Any], make_http: Callable[..., Any]) -> Any:
        import ssl

        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts no certificate at all
        return make(
            base_url=self.base_url,
            api_key=self.api_key,
            max_retries=0,
            timeout=None,
            http_client=make_http(trust_env=False, verify=nobody, timeout=None),
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
