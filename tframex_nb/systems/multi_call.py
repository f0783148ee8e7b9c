"""The same prompt many times at once: each answer streams into a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tframex_nb import interrupts
from tframex_nb.agents.running import closing
from tframex_nb.errors import AgentError, InvalidInput, PartialFailure
from tframex_nb.messages import Message, MessageFinished
from tframex_nb.systems.base import BaseSystem
from tframex_nb.systems.fan_out import FanOut
from tframex_nb.systems.files import file_stem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tframex_nb.messages import Event
    from tframex_nb.models.base import ChatModel

__all__ = ["MultiCallSystem"]

MAX_CONCURRENCY = 8  # calls at the same time; a small server answers as many without queueing
MAX_REASONS = 3  # failures that an error's text spells out


class MultiCallSystem(BaseSystem):
    """Samples one prompt several times, ``max_concurrency`` calls at a time.

    Raises InvalidInput where no call could run.
    """

    def __init__(
        self,
        system_id: str,
        model: ChatModel | str | None = None,
        max_concurrency: int = MAX_CONCURRENCY,
    ) -> None:
        super().__init__(system_id, model)
        if max_concurrency < 1:
            raise InvalidInput(
                f"max_concurrency={max_concurrency}: no call could run",
                hint="max_concurrency must be 1 or more",
            )
        self.max_concurrency = max_concurrency

    def stream(
        self,
        prompt: str,
        num_calls: int,
        output_dir: str | Path = ".",
        base_filename: str = "call",
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> AsyncIterator[Event]:
        """Yield the events of a run: those of each call are wrapped in ``CallEvent``.

        The answer of call i goes to ``{base_filename}_{i}.txt`` in ``output_dir`` once it is
        whole; of a call that failed or was stopped, ``{base_filename}_{i}.partial.txt`` keeps
        what was received. Raises InvalidInput at once for less than one call, PartialFailure
        at the end where any call failed.
        """
        return self._begin(prompt, num_calls, output_dir, base_filename, params)[1]

    async def run(
        self,
        prompt: str,
        num_calls: int,
        output_dir: str | Path = ".",
        base_filename: str = "call",
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> dict[str, str]:
        """Return the path of each answer, as ``{"call_1": path, …}``; raises as ``stream`` does."""
        files = self._files(prompt, num_calls, output_dir, base_filename, params)
        return await interrupts.guarded(files)

    def run_sync(
        self,
        prompt: str,
        num_calls: int,
        output_dir: str | Path = ".",
        base_filename: str = "call",
        **params: Any,  # sampling parameters go to the endpoint unchanged
    ) -> dict[str, str]:
        """Return the path of each answer, from synchronous code."""
        files = self._files(prompt, num_calls, output_dir, base_filename, params)
        return interrupts.run_sync(files)

    async def _files(
        self,
        prompt: str,
        num_calls: int,
        output_dir: str | Path,
        base_filename: str,
        params: dict[str, Any],  # sampling parameters
    ) -> dict[str, str]:
        calls, events = self._begin(prompt, num_calls, output_dir, base_filename, params)
        async with closing(events):
            async for _ in events:
                pass
        return calls.completed

    def _begin(
        self,
        prompt: str,
        num_calls: int,
        output_dir: str | Path,
        base_filename: str,
        params: dict[str, Any],  # sampling parameters
    ) -> tuple[FanOut, AsyncIterator[Event]]:
        if num_calls < 1:
            raise InvalidInput(
                f"num_calls={num_calls}: {self.name!r} has nothing to do",
                hint="num_calls must be 1 or more",
            )
        calls = FanOut(prompt, num_calls, Path(output_dir), file_stem(base_filename), params)
        return calls, self._observed(prompt, lambda model: self._steps(model, calls))[1]

    async def _steps(self, model: ChatModel, calls: FanOut) -> AsyncIterator[Event]:
        try:
            calls.folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise AgentError(
                f"{calls.folder} cannot hold the answers: {exc.strerror or exc}",
                hint="pass an output_dir that can be written to",
            ) from exc
        async with closing(calls.stream(model, self.max_concurrency)) as events:
            async for event in events:
                yield event
        yield calls.usage
        if calls.failures:
            raise _partial_failure(calls)
        paths = "\n".join(f"- {name}: `{path}`" for name, path in calls.completed.items())
        yield MessageFinished(Message("assistant", paths))


def _partial_failure(calls: FanOut) -> PartialFailure:
    """Return the one error that tells of every failed call, and keeps what was completed."""
    failures = calls.failures
    reasons = [
        f"{name}: {type(exc).__name__}: {getattr(exc, 'message', exc)}"
        for name, exc in list(failures.items())[:MAX_REASONS]
    ]
    more = len(failures) - len(reasons)
    told = "; ".join([*reasons, f"and {more} more"] if more else reasons)
    hint = next((h for exc in failures.values() if (h := getattr(exc, "hint", ""))), "")
    kept = "the error's .completed holds the whole answers, .failures the reasons"
    return PartialFailure(
        f"{len(failures)} of {calls.total} calls failed: {told}",
        completed=calls.completed,
        failures=failures,
        hint=f"{hint}; {kept}" if hint else kept,
    )
