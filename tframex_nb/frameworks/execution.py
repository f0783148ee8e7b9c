"""One run of an agent on a framework: gateway, tools, limits, merged events, one kind of error."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tframex_nb.agents._asking import Asked, listener_in_force, listening
from tframex_nb.agents.approval import Approver, approver_in_force, under_approver
from tframex_nb.agents.nesting import Caller, calling, check_depth
from tframex_nb.agents.running import closing
from tframex_nb.agents.toolbox import Toolbox
from tframex_nb.errors import FrameworkFailed, TFrameXError, innermost
from tframex_nb.frameworks.base import AgentExecutionRequest, AgentSpec, ModelAccess, ToolHandle
from tframex_nb.frameworks.channel import Channel, leave
from tframex_nb.frameworks.events import FrameworkLog, Waiting, WorkerStarting
from tframex_nb.frameworks.merging import Merger
from tframex_nb.frameworks.own_steps import late
from tframex_nb.messages import Event, ToolCall, ToolResult
from tframex_nb.models.gateway.markers import Markers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from tframex_nb.agents import BaseAgent
    from tframex_nb.frameworks.slots import Slots
    from tframex_nb.messages import Message
    from tframex_nb.models.base import ChatModel
    from tframex_nb.models.gateway import Gateway, GatewayRun

__all__ = ["FrameworkEngine", "Place", "spec_of"]

MAX_STEPS = 12
PRINTS = 1000  # lines of a framework that are told each; after them each thousandth
PRINT = 4000  # characters of such a line
GRACE = 2.0  # seconds that a framework has to react to a fault of its model


class Place(Protocol):
    """Where a framework runs: here, or in a worker."""

    def stream(
        self,
        request: AgentExecutionRequest,
        *,
        log: Callable[[str], None],
        waiting: Callable[[int], None],
    ) -> AsyncGenerator[Event, None]:
        """Yield what the framework says of one run."""
        ...

    async def prepare(self) -> None:
        """Import the framework, or start its worker."""
        ...


@dataclass(frozen=True, slots=True)
class _Task:
    """What one run has to do."""

    agent: BaseAgent
    messages: list[Message]
    model: ChatModel
    toolbox: Toolbox
    max_steps: int
    params: Mapping[str, Any]  # sampling parameters
    # A worker calls tools in a context of its own: what holds for them is taken from the run's.
    approve: Approver | None = field(default_factory=approver_in_force)
    listener: Asked | None = field(default_factory=listener_in_force)


@dataclass(slots=True)
class FrameworkEngine:
    """What answers in place of an agent's own steps, for one run.

    ``enter`` opens the place where the framework runs, and holds it until the run has ended; it
    is told whether another run of this framework waits for this one. ``takes_schema`` says
    whether the framework heeds a schema. A typed answer may take several turns of ``steps``,
    one after the other.
    ``timeout`` is in seconds, from the moment the run has its slot.
    """

    framework: str
    enter: Callable[[bool], AbstractContextManager[Place]]
    gateway: Gateway
    slots: Slots
    timeout: float | None = None
    preface: tuple[Event, ...] = ()
    takes_schema: bool = True
    _place: Place = field(init=False, repr=False)
    _channel: Channel = field(default_factory=Channel, repr=False)
    _merger: Merger = field(default_factory=Merger, repr=False)
    _markers: Markers = field(default_factory=Markers, repr=False)
    _printed: int = 0
    _tools: int = 0  # that are at work now

    async def steps(
        self,
        agent: BaseAgent,
        messages: list[Message],
        *,
        model: ChatModel,
        tools: Any = None,  # what ``Agent.steps`` takes
        max_steps: int | None = None,
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncIterator[Event]:
        """Yield the events of one answer.

        Raises ModelError as the model raised it, FrameworkError for all else that goes wrong.
        """
        check_depth(agent.name)
        preface, self.preface = self.preface, ()
        self._channel, self._merger = Channel(), Merger()
        for event in preface:
            yield event
        toolbox = Toolbox(getattr(agent, "tools", ()) if tools is None else tools)
        self._merger.follow(messages)
        self._markers = Markers()
        messages = [self._markers.mark(message) for message in messages]
        steps = max_steps or int(getattr(agent, "max_steps", MAX_STEPS))
        work = functools.partial(self._work, _Task(agent, messages, model, toolbox, steps, params))
        async with closing(self._channel.filled_by(work)) as events:
            async for event in events:
                yield event

    async def _work(self, task: _Task) -> None:
        put = self._channel.put
        schema, params = _schema_of(task.params)
        async with self.slots.take(lambda ahead: put(Waiting(self.framework, ahead))):
            nested = self.slots.lent
            bound = asyncio.timeout(self.timeout)
            try:
                async with bound:
                    opened = self.gateway.open(
                        task.model, params=params, listen=self._hear, markers=self._markers
                    )
                    with self.enter(nested) as self._place:
                        await self._prepare()
                        async with opened as access:
                            await self._drive(self._request(task, access, schema), access)
            except TimeoutError as exc:
                if not bound.expired() or self.timeout is None:
                    raise
                raise late(self.framework, self.timeout, self._merger.text) from exc
        for event in self._merger.end(task.model.model_name):
            put(event)

    def _request(
        self,
        task: _Task,
        access: GatewayRun,
        schema: Mapping[str, Any] | None,  # a JSON schema
    ) -> AgentExecutionRequest:
        head, prompt = task.messages[0], task.messages[-1]
        return AgentExecutionRequest(
            agent=spec_of(task.agent),
            prompt=prompt.text,
            model=ModelAccess(access.model_name, access.base_url, access.token),
            system=head.text if head.role == "system" else "",
            history=tuple(m for m in task.messages[:-1] if m.role != "system"),
            tools=self._handles(task),
            max_steps=task.max_steps,
            schema=schema,
            run_id=task.agent.last.id if task.agent.last else "",
        )

    async def _prepare(self) -> None:
        begun = asyncio.get_running_loop().call_later(
            0.2, self._channel.put, WorkerStarting(self.framework)
        )
        try:
            await self._place.prepare()
        except TFrameXError:
            raise
        except Exception as exc:  # the wall around an adapter
            raise self._failed(exc, "cannot be initialized") from exc
        finally:
            begun.cancel()
        self._channel.put(WorkerStarting(self.framework, ready=True))

    async def _drive(self, request: AgentExecutionRequest, access: GatewayRun) -> None:
        """Let the framework work; a fault of its model is the run's fault."""
        pump = asyncio.create_task(self._pump(request))
        watch = asyncio.create_task(self._fault_that_lasts(access))
        try:
            await asyncio.wait({pump, watch}, return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                await pump
        except TFrameXError as exc:
            if access.fault is None:
                _keep(exc, self._merger.text)
                raise
        except Exception as exc:  # where the model failed, that is told below in its place
            if access.fault is None:
                raise self._failed(exc) from exc
        finally:
            access.close()  # the upstream connection closes now, whatever the framework does
            watch.cancel()
            await leave(pump)
        if access.fault is not None:
            _keep(access.fault, self._merger.text)
            raise access.fault

    async def _pump(self, request: AgentExecutionRequest) -> None:
        put, take = self._channel.put, self._merger.framework
        stream = self._place.stream(
            request, log=self._log, waiting=lambda n: put(Waiting(self.framework, n))
        )
        async with contextlib.aclosing(stream) as events:
            try:
                async for event in events:
                    for each in take(event):
                        put(each)
                    if self._channel.full:
                        await self._channel.room()
            except SystemExit as exc:  # it would leave the task, and end the kernel's loop
                raise self._failed(exc) from exc
            except asyncio.CancelledError as exc:
                if _is_stopped():
                    raise
                raise self._failed(exc) from exc  # the framework cancelled itself

    def _hear(self, event: Event) -> None:
        for each in self._merger.model(event):
            self._channel.put(each)

    def _log(self, line: str) -> None:
        """Tell of what was printed: a run keeps its events, and a framework may print for ever."""
        text = self._markers.plain(line.strip())
        self._printed += bool(text)
        if text and (self._printed <= PRINTS or not self._printed % PRINTS):
            self._channel.put(FrameworkLog(self.framework, text[:PRINT], self._printed))

    def _handles(self, task: _Task) -> tuple[ToolHandle, ...]:
        loop = asyncio.get_running_loop()

        @contextlib.contextmanager
        def within() -> Iterator[None]:
            with calling(Caller(task.agent.name, task.model)), self.slots.lend():
                yield

        async def call(name: str, arguments: dict[str, Any] | str) -> str:
            with under_approver(task.approve), listening(task.listener):
                return await answer(name, arguments)

        async def answer(name: str, arguments: dict[str, Any] | str) -> str:
            text = arguments if isinstance(arguments, str) else _json(arguments)
            started = self._merger.call(name, text)
            self._publish(started)
            wish = ToolCall(started.id, name, text)
            content = ""
            self._tools += 1
            try:
                events = task.toolbox.run(
                    [wish],
                    within=within,
                    approve=task.approve,
                    agent=task.agent.name,
                    framework=self.framework,
                )
                async with closing(events) as told:
                    async for event in told:
                        self._publish(event)
                        if isinstance(event, ToolResult):
                            content = event.content
            finally:
                self._tools -= 1
            return content

        return tuple(
            ToolHandle(t.name, t.description, t.parameters, functools.partial(call, t.name), loop)
            for t in task.toolbox
        )

    def _publish(self, event: Event) -> None:
        for each in self._merger.framework(event):
            self._channel.put(each)

    def _failed(self, exc: BaseException, what: str = "failed") -> TFrameXError:
        """Return an error of the framework as ours, or ours that came in a group."""
        exc = innermost(exc)
        if isinstance(exc, TFrameXError):
            error: TFrameXError = exc
        else:
            error = FrameworkFailed(
                f"{self.framework} {what}: {type(exc).__name__}: {exc}".rstrip(": "),
                hint="this is the framework's own error, and the cause of ours",
                framework=self.framework,
            )
        _keep(error, self._merger.text)
        return error

    async def _fault_that_lasts(self, access: GatewayRun) -> None:
        """Return once the model has failed and the framework does nothing about it."""
        since: float | None = None
        clock = asyncio.get_running_loop().time
        while since is None or clock() - since < GRACE:
            await asyncio.sleep(GRACE / 10)
            idle = access.fault is not None and not access.active and not self._tools
            since = (since or clock()) if idle else None


def _json(arguments: Mapping[str, Any]) -> str:  # nearly always JSON
    """Return arguments as a model would write them; what is no JSON as its text."""
    return json.dumps(arguments, ensure_ascii=False, default=str)


def _keep(error: Exception, text: str) -> None:
    """Let an error hold the text that came before it, where it has a place for it."""
    if hasattr(error, "received") and not error.received:
        error.received = text


def spec_of(agent: BaseAgent, template: str = "") -> AgentSpec:
    """Return an agent as frameworks and workers see it, of another template where one is given."""
    return AgentSpec(
        id=agent.id,
        name=agent.name,
        template_id=template or getattr(agent, "template_id", ""),
        configuration=getattr(agent, "configuration", {}),
        description=agent.description,
    )


def _schema_of(
    params: Mapping[str, Any],  # sampling parameters
) -> tuple[Mapping[str, Any] | None, Mapping[str, Any]]:
    """Take the JSON schema of the answer out of the parameters: the framework asks for it."""
    wanted = params.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None, params
    form = wanted.get("json_schema")
    if not isinstance(form, dict) or not isinstance(form.get("schema"), dict):
        return None, params  # the endpoint says what is wrong with it
    rest = {name: value for name, value in params.items() if name != "response_format"}
    return {"title": form.get("name", "answer"), **form["schema"]}, rest


def _is_stopped() -> bool:
    """Whether somebody has cancelled the running task."""
    task = asyncio.current_task()
    return task is not None and bool(task.cancelling())
