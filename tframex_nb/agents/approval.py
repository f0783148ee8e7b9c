"""Approval: who is asked before a tool acts, about which tools, and what was allowed for good."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from tframex_nb.errors import AgentError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tframex_nb.agents.tools import Tool
    from tframex_nb.messages import Event, ToolCall

__all__ = [
    "POLICIES",
    "ApprovalRequest",
    "Approvals",
    "Approver",
    "Asker",
    "Decision",
    "Policy",
    "approver_in_force",
    "asked_about",
    "asking",
    "decided",
    "under_approver",
]

Policy = Literal["all", "writes", "never"]
POLICIES: tuple[Policy, ...] = get_args(Policy)


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A tool that a model wants to call: ``agent`` is whose run it is, and ``framework`` where."""

    call: ToolCall
    tool: Tool
    agent: str = ""
    framework: str = "native"

    def problem(self, arguments: str) -> str:
        """Return why the tool cannot take these arguments, or nothing where it can."""
        from tframex_nb.agents._schema import InvalidArguments

        if doubled := _doubled(arguments):
            return f"the name {doubled!r} stands twice"
        try:
            self.tool.arguments.bind(arguments)
        except InvalidArguments as exc:
            return str(exc)
        return ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was answered.

    ``arguments`` are the JSON that the tool gets in place of the model's, None to leave those.
    ``reason`` is told to the model. ``always`` allows the tool for as long as is remembered.
    """

    allowed: bool
    arguments: str | None = None
    reason: str = ""
    always: bool = False


Approver = Callable[[ApprovalRequest], Awaitable[Decision]]


class Asker(Protocol):
    """What puts a question to a person."""

    async def __call__(self, request: ApprovalRequest, /) -> Decision:
        """Return the answer; a cancellation takes the question back."""
        ...


class Approvals:
    """What was allowed for good, and the one queue of all questions: one is asked at a time.

    A tool is remembered by its name, its origin, and what it says of itself: another one of that
    name is asked about, and so is one that its server has made into another.
    """

    def __init__(self) -> None:
        self._always: set[tuple[str, str, str]] = set()
        self._turn = asyncio.Lock()

    @property
    def always(self) -> tuple[str, ...]:
        """The names of the tools that are not asked about any more."""
        return tuple(sorted({name for name, *_ in self._always}))

    def forget(self) -> None:
        """Ask about every tool again."""
        self._always.clear()

    def approver(self, policy: Policy, ask: Asker) -> Approver | None:
        """Return an approver that asks about the tools that the policy names.

        ``all`` asks about every tool, ``writes`` about those that change something, ``never``
        about none. Raises InvalidInput for another policy.
        """
        if policy not in POLICIES:
            raise InvalidInput(
                f"{policy!r} is no policy of approval", hint=f"it is one of {', '.join(POLICIES)}"
            )
        return None if policy == "never" else _Careful(self, policy, ask)

    def allows(self, tool: Tool) -> bool:
        """Whether the tool was allowed for good."""
        return bool(self._always) and _identity(tool) in self._always

    async def put(self, request: ApprovalRequest, ask: Asker) -> Decision:
        """Ask once the questions before this one are answered; remember what is for good."""
        async with self._turn:
            if self.allows(request.tool):
                return Decision(allowed=True)
            decision = await ask(request)
            if decision.allowed and decision.always:
                self._always.add(_identity(request.tool))
            return decision


class _Careful:
    """An approver that asks only where it has to."""

    def __init__(self, approvals: Approvals, policy: Policy, ask: Asker) -> None:
        self._approvals = approvals
        self._policy = policy
        self._ask = ask
        self._loop = asyncio.get_running_loop() if _is_running() else None

    def asks(self, tool: Tool) -> bool:
        """Whether a call of the tool has to be asked about."""
        wanted = self._policy == "all" or tool.writes
        return wanted and not self._approvals.allows(tool)

    async def __call__(self, request: ApprovalRequest) -> Decision:
        """Return the answer; people are asked on the loop on which this was made."""
        if not self.asks(request.tool):
            return Decision(allowed=True)
        asked = self._approvals.put(request, self._ask)
        if self._loop in {None, asyncio.get_running_loop()}:
            return await asked
        assert self._loop is not None  # an agent that a tool asks from a thread
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asked, self._loop))


# What a run inside another one inherits; set around each step of a run and around its tools.
_approver: contextvars.ContextVar[Approver | None] = contextvars.ContextVar(
    "tframex_approver", default=None
)


def approver_in_force() -> Approver | None:
    """Return who is asked about the tools of what runs here, or None for nobody."""
    return _approver.get()


def asked_about(tool: Tool, approve: Approver | None) -> bool:
    """Whether a call of the tool is asked about; a bare function is asked about each call."""
    if approve is None:
        return False
    asks: Callable[[Tool], bool] | None = getattr(approve, "asks", None)
    return True if asks is None else asks(tool)


async def decided(request: ApprovalRequest, approve: Approver) -> Decision:
    """Return what the approver answers; raises AgentError for what is no Decision."""
    decision: Any = await approve(request)  # the user's own code
    if not isinstance(decision, Decision):
        raise AgentError(
            f"approve returned a {type(decision).__name__} for {request.tool.name!r}",
            hint="return Decision(allowed=True) or Decision(allowed=False, reason=…)",
        )
    return decision


@contextlib.contextmanager
def under_approver(approve: Approver | None) -> Iterator[None]:
    """Let what runs inside the block ask this approver."""
    token = _approver.set(approve)
    try:
        yield
    finally:
        _approver.reset(token)


def asking(events: AsyncIterator[Event], approve: Approver | None) -> AsyncIterator[Event]:
    """Return the events of a run's steps, each made under this approver."""
    return events if approve is None else _asking(events, approve)


async def _asking(events: AsyncIterator[Event], approve: Approver) -> AsyncIterator[Event]:
    """Set the approver for each step alone.

    A variable that an async generator sets is seen by whoever reads the generator, too.
    """
    try:
        while True:
            with under_approver(approve):
                try:
                    event = await anext(events)
                except StopAsyncIteration:
                    return
            yield event
    finally:
        aclose = getattr(events, "aclose", None)
        if aclose is not None:
            with under_approver(approve):
                await aclose()


def _identity(tool: Tool) -> tuple[str, str, str]:
    said = json.dumps([tool.description, tool.parameters], sort_keys=True, default=str)
    return tool.name, tool.origin, hashlib.sha256(said.encode()).hexdigest()


def _doubled(arguments: str) -> str:
    """Return a name that stands twice in one object: readers disagree about which one counts."""
    found: list[str] = []

    def read(pairs: list[tuple[str, Any]]) -> None:  # any JSON
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                found.append(name)
            seen.add(name)

    with contextlib.suppress(ValueError, RecursionError):  # told by whoever reads it
        json.loads(arguments, object_pairs_hook=read)
    return found[0] if found else ""


def _is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
