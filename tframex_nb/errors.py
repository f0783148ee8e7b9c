"""The one exception tree; each error says what happened, to what, and the next move.

::

    TFrameXError
    ├── SettingsError
    ├── ModelError                  (.url .status .received)
    │   ├── AuthError               401, 403
    │   ├── RateLimited             429            (.retry_after)
    │   │   └── QuotaExceeded       429 that waiting does not cure
    │   ├── ModelNotFound           404, unknown model
    │   ├── BadRequest              400, 413, 422 …
    │   │   ├── ContextOverflow     the prompt does not fit
    │   │   └── UnsupportedInput    the model takes no images, files or sound (so many)
    │   ├── ServerError             5xx, an error object in the stream
    │   ├── ConnectionFailed        nothing answered, TLS, DNS, refused
    │   ├── ModelTimeout            connect, first byte, between chunks, whole run
    │   ├── BadResponse             not what the protocol promises
    │   ├── Truncated               the stream ended before its end
    │   ├── PoolExhausted           more streams than the pool may open
    │   └── CassetteMiss            nothing recorded answers this (.difference)
    ├── AgentError
    │   ├── InvalidAnswer           no answer in the wanted form (.received .problems)
    │   ├── InvalidInput            a value that cannot work (also a ValueError)
    │   ├── UnknownAgent
    │   ├── PromptError             an expression in a prompt failed
    │   ├── ToolError               a tool cannot be used at all
    │   │   └── McpError            an MCP server, or a call to it (see tframex_nb.mcp)
    │   ├── StepLimitReached        the bound on model calls
    │   ├── BudgetExceeded          the bound on cost or tokens (.spent .cap .received)
    │   └── PartialFailure          some of several calls failed (.completed .failures)
    └── FrameworkError              (.framework)
        ├── UnknownFramework        no framework, or no template, of this name
        ├── FrameworkNotInstalled   known, and not installed here
        ├── FrameworkLoadError      an adapter could not be loaded
        ├── FrameworkFailed         the framework raised, or broke its promises
        ├── NoFrameworkFits         every candidate is excluded (.resolution)
        ├── InstallFailed           an environment could not be made
        ├── WorkerCrashed           the worker's process ended (.stderr)
        ├── WorkerUnavailable       a worker could not be started, or speaks another protocol
        ├── MemoryLimitExceeded     the worker grew beyond memory_limit_mb
        ├── RunTimeout              the run took longer than timeout_seconds
        └── CannotTravel            a live object cannot be sent to a worker
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

__all__ = [
    "AgentError",
    "AuthError",
    "BadRequest",
    "BadResponse",
    "BudgetExceeded",
    "CannotTravel",
    "CassetteMiss",
    "ConnectionFailed",
    "ContextOverflow",
    "FrameworkError",
    "FrameworkFailed",
    "FrameworkLoadError",
    "FrameworkNotInstalled",
    "InstallFailed",
    "InvalidAnswer",
    "InvalidInput",
    "McpError",
    "MemoryLimitExceeded",
    "ModelError",
    "ModelNotFound",
    "ModelTimeout",
    "NoFrameworkFits",
    "PartialFailure",
    "PoolExhausted",
    "PromptError",
    "QuotaExceeded",
    "RateLimited",
    "RunTimeout",
    "ServerError",
    "SettingsError",
    "StepLimitReached",
    "TFrameXError",
    "ToolError",
    "Truncated",
    "UnknownAgent",
    "UnknownFramework",
    "UnsupportedInput",
    "WorkerCrashed",
    "WorkerUnavailable",
    "innermost",
    "nearest",
]


class TFrameXError(Exception):
    """Base of every error that this package raises on purpose.

    ``message`` is one sentence; ``hint`` is the next move, as a command where there is one.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows in place of a traceback (at most three)."""
        lines = [f"{type(self).__name__}: {_flat(self.message)}"]
        return [*lines, f"hint: {_flat(self.hint)}"] if self.hint else lines


class SettingsError(TFrameXError):
    """A setting is missing, invalid, or may not be used together with another."""


class ModelError(TFrameXError):
    """A model endpoint did not give a whole answer.

    ``url`` is the endpoint without credentials, ``status`` the HTTP status or None,
    ``received`` the answer's text up to the fault. ``transient`` says that the same request may
    succeed when it is sent again, ``retry_after`` (seconds) when the endpoint wants it.
    """

    transient: bool = False
    retry_after: float | None = None

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        url: str = "",
        status: int | None = None,
        received: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.url = url
        self.status = status
        self.received = received


class AuthError(ModelError):
    """The endpoint refused the API key, or wants one."""


class RateLimited(ModelError):
    """The endpoint asks to come back later; ``retry_after`` is in seconds, or None."""


class QuotaExceeded(RateLimited):
    """The account's quota is spent: waiting does not cure it, so it is never retried."""


class ModelNotFound(ModelError):
    """The endpoint answers, and does not have this model or this path."""


class BadRequest(ModelError):
    """The endpoint refused the request as it was written."""


class ContextOverflow(BadRequest):
    """The messages do not fit into the model's context."""


class UnsupportedInput(BadRequest):
    """The model takes no images, no files or no sound, or not so many of them."""


class ServerError(ModelError):
    """The endpoint failed: a 5xx status, or an error object inside the stream."""


class ConnectionFailed(ModelError):
    """No connection: refused, unknown host, TLS, proxy."""


class ModelTimeout(ModelError):
    """A wait reached its bound; ``phase`` is connect, first byte, between chunks or whole run."""

    phase: str = ""


class BadResponse(ModelError):
    """The endpoint sent something that the protocol does not allow."""


class Truncated(ModelError):
    """The stream ended before the answer did; ``received`` holds what came."""


class PoolExhausted(ModelError):
    """Every connection of the pool is in use; nothing queues silently."""


class CassetteMiss(ModelError):
    """Only recordings may answer, and none has this request.

    ``difference`` is a short unified diff from the nearest recording to what was asked, line by
    line; empty where there is none to compare with.
    """

    difference: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = "\n".join([self.message, *self.difference])
        return f"{head}\nhint: {self.hint}" if self.hint else head

    def _render_traceback_(self) -> list[str]:
        head, *hint = super()._render_traceback_()
        return [head, *self.difference, *hint]


class AgentError(TFrameXError):
    """An agent or a system of agents could not do its work."""


class InvalidInput(AgentError, ValueError):
    """An agent, tool or system was given a value that cannot work."""


class InvalidAnswer(AgentError):
    """No answer came in the wanted form: ``received`` is the last, ``problems`` what is wrong."""

    def __init__(
        self, message: str, *, hint: str = "", received: str = "", problems: Iterable[str] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.received = received
        self.problems = tuple(problems)


class UnknownAgent(AgentError):
    """No agent of this name is defined."""


class PromptError(AgentError):
    """An expression in a prompt could not be evaluated."""


class ToolError(AgentError):
    """A tool cannot be offered to a model, or does not exist."""


class McpError(ToolError):
    """An MCP server cannot be used; ``stderr`` is the tail of what its program wrote."""

    def __init__(self, message: str, *, hint: str = "", server: str = "", stderr: str = "") -> None:
        super().__init__(message, hint=hint)
        self.server = server
        self.stderr = stderr


class StepLimitReached(AgentError):
    """The agent used up its bound on model calls; ``received`` is the text so far."""

    received: str = ""


class BudgetExceeded(AgentError):
    """A call would pass, or has passed, what may be spent.

    ``spent`` and ``cap`` are USD (a Decimal) or tokens (an int), whichever was capped;
    ``received`` is the text so far.
    """

    spent: Decimal | int = 0
    cap: Decimal | int = 0
    received: str = ""


class PartialFailure(AgentError):
    """Some of several calls failed.

    ``completed`` maps a call's name to its result (a path), ``failures`` to its error.
    """

    def __init__(
        self,
        message: str,
        *,
        completed: Mapping[str, str],
        failures: Mapping[str, Exception],
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.completed = dict(completed)
        self.failures = dict(failures)


class FrameworkError(TFrameXError):
    """An agent framework could not be found, loaded, installed or run."""

    def __init__(self, message: str, *, hint: str = "", framework: str = "") -> None:
        super().__init__(message, hint=hint)
        self.framework = framework


class UnknownFramework(FrameworkError):
    """No framework, template or capability of this name is known."""


class FrameworkNotInstalled(FrameworkError):
    """The framework is known and not installed; the hint is the command that installs it."""


class FrameworkLoadError(FrameworkError):
    """An adapter could not be loaded."""


class FrameworkFailed(FrameworkError):
    """The framework raised an error of its own; ``received`` is the text so far."""

    received: str = ""


class NoFrameworkFits(FrameworkError):
    """Every candidate is excluded; ``resolution`` tells why, for each."""

    resolution: object = None


class InstallFailed(FrameworkError):
    """A framework's environment could not be made; nothing half-made is used."""


class WorkerCrashed(FrameworkError):
    """A worker's process ended in mid-run; ``stderr`` is the tail of what it wrote."""

    stderr: str = ""
    received: str = ""


class WorkerUnavailable(FrameworkError):
    """A worker could not be started, or does not speak this version of the protocol."""


class MemoryLimitExceeded(FrameworkError):
    """The worker's processes grew beyond ``memory_limit_mb`` and were killed."""

    received: str = ""


class RunTimeout(FrameworkError):
    """The run took longer than ``timeout_seconds``; ``received`` is the text so far."""

    received: str = ""


class CannotTravel(FrameworkError):
    """A live object cannot be sent to a worker; a builder function can."""


def _flat(text: str) -> str:
    """Return a text on one line, without what a terminal would obey or no reader sees."""
    return "".join(each for each in " ".join(text.split()) if each.isprintable())


def innermost(exc: BaseException) -> BaseException:
    """Return the one error that a group holds, or a group in it; what is no such group, itself."""
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the nearest known name, or lists what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(names) if names else "none is known yet"
