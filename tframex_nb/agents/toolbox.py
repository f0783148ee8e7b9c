"""An agent's tools by name: what a model is told of them, and how its calls are run."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import time
from typing import TYPE_CHECKING, Any

from tframex_nb import interrupts
from tframex_nb.agents._asking import Asked, invalid, question
from tframex_nb.agents._results import failure, render
from tframex_nb.agents.approval import ApprovalRequest
from tframex_nb.agents.tools import Tool
from tframex_nb.errors import ToolError, nearest
from tframex_nb.messages import ToolResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from tframex_nb.agents.approval import Approver
    from tframex_nb.messages import Event, ToolCall

__all__ = ["Toolbox", "keep_loop_free"]

_in_threads = contextvars.ContextVar("tframex_in_threads", default=False)


def keep_loop_free() -> None:
    """Run synchronous tools in threads in this context from now on: the loop serves others."""
    _in_threads.set(True)


class Toolbox:
    """Tools by their names.

    Takes functions, ``Tool``s, and whatever has ``as_tool()``, such as an agent. Raises
    ToolError for anything else, and for two tools of one name.
    """

    def __init__(self, tools: Iterable[Any] = ()) -> None:  # checked one by one
        self._tools: dict[str, Tool] = {}
        for each in tools:
            made = _as_tool(each)
            other = self._tools.setdefault(made.name, made)
            if other is not made:
                raise ToolError(
                    f"two tools are called {made.name!r}: {other.origin} and {made.origin}",
                    hint='give one another name: tool(function, name="…")',
                )

    def schemas(self) -> list[dict[str, Any]]:
        """Return the tools as ``/v1/chat/completions`` takes them."""
        return [each.to_dict() for each in self._tools.values()]

    async def run(
        self,
        calls: Iterable[ToolCall],
        *,
        within: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
        approve: Approver | None = None,
        agent: str = "",
        framework: str = "native",
    ) -> AsyncIterator[Event]:
        """Yield the result of each call, in the order of the calls; each runs ``within``.

        ``approve`` is asked before a tool runs, one call after the other; what is asked and
        answered is yielded, too, also of the agents that a tool asks. A call that is denied is a
        result which tells the model so. ``agent`` and ``framework`` say whose calls they are.

        Neighbouring calls of async tools run at the same time; a synchronous tool runs alone,
        on this thread. Errors are results, which the model may mend; a cancellation or an
        interrupt passes through as a cancellation.
        """
        for batch in self._batches(calls):
            asked = [Asked(call) for call in batch]
            for each in asked:
                tool = self._tools.get(each.call.name)
                if tool is None or approve is None:
                    continue
                request = ApprovalRequest(each.call, tool, agent, framework)
                async with contextlib.aclosing(question(each, request, approve)) as events:
                    async for event in events:
                        yield event
            if len(asked) == 1:
                await self._call(asked[0], within)
            else:
                async with asyncio.TaskGroup() as group:
                    for each in asked:
                        group.create_task(self._call(each, within))
            for each in asked:
                for event in each.events():
                    yield event

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __repr__(self) -> str:
        return f"<Toolbox: {', '.join(self._tools) or 'empty'}>"

    def _batches(self, calls: Iterable[ToolCall]) -> Iterator[list[ToolCall]]:
        batch: list[ToolCall] = []
        for call in calls:
            found = self._tools.get(call.name)
            if found is not None and not found.is_async:
                if batch:
                    yield batch
                yield [call]
                batch = []
            else:
                batch.append(call)
        if batch:
            yield batch

    async def _call(
        self, asked: Asked, within: Callable[[], AbstractContextManager[object]]
    ) -> None:
        """Run a call that may run, and keep its result."""
        if asked.result is not None:
            return
        call = asked.call
        start = time.perf_counter()
        with within(), asked.hears():
            content, is_error = await self._outcome(call)
        seconds = time.perf_counter() - start
        told = f"{asked.told}{content}"
        asked.result = ToolResult(call.id, call.name, told, is_error=is_error, seconds=seconds)

    async def _outcome(self, call: ToolCall) -> tuple[str, bool]:
        """Return the text for the model, and whether it tells of an error."""
        found = self._tools.get(call.name)
        if found is None:
            return f"There is no tool {call.name!r}; {nearest(call.name, self._tools)}", True
        from tframex_nb.agents._schema import InvalidArguments

        try:
            args, named = found.arguments.bind(call.arguments)
        except InvalidArguments as exc:
            return invalid(call, exc), True
        try:
            return await _invoke(found, functools.partial(found.function, *args, **named)), False
        except KeyboardInterrupt:  # must not leave a task: it would end the kernel's loop
            raise asyncio.CancelledError from None
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - a tool is the user's own code
            return failure(exc), True


async def _invoke(found: Tool, function: Callable[[], Any]) -> str:  # a tool returns what it likes
    """Call a tool and return its result as text, once it is there."""
    if found.thread or (_in_threads.get() and not found.is_async):
        value = await asyncio.to_thread(_drained, function)
    elif found.is_async:
        value = function()
    else:
        value = interrupts.call_tool(_drained, function)
    if inspect.isawaitable(value):
        value = await value
    if inspect.isasyncgen(value):
        value = [each async for each in value]
    return interrupts.call_tool(render, value)


def _drained(function: Callable[[], Any]) -> Any:  # a tool returns what it likes
    """Call a tool; a generator is run to its end here, where the tool may block."""
    try:
        value = function()
    except StopIteration as exc:  # asyncio cannot carry it out of a thread
        raise RuntimeError("the tool raised StopIteration") from exc
    return list(value) if inspect.isgenerator(value) else value


def _as_tool(each: Any) -> Tool:  # whatever people pass
    if isinstance(each, Tool):
        return each
    if not isinstance(each, type) and hasattr(each, "as_tool"):
        made: Tool = each.as_tool()
        return made
    if not callable(each):
        raise ToolError(
            f"{each!r} is a {type(each).__name__}, not a tool",
            hint="pass a function, an Agent or a Tool",
        )
    return Tool.of(each)
