"""The course of a run: its model is found, it starts, its steps pass, it finishes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

from tframex_nb.errors import AgentError
from tframex_nb.messages import RunFinished, RunStarted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tframex_nb.messages import Event
    from tframex_nb.models.base import ChatModel
    from tframex_nb.models.budget import Budget
    from tframex_nb.runs import Run

__all__ = ["closing", "label_of", "resolve", "run_events", "under"]

E = TypeVar("E", bound="Event")


@contextlib.asynccontextmanager
async def closing(events: AsyncIterator[E]) -> AsyncIterator[AsyncIterator[E]]:
    """Close a stream when the block is left, whichever way, so that its connection closes too."""
    try:
        yield events
    finally:
        aclose = getattr(events, "aclose", None)
        if aclose is not None:
            await aclose()


def resolve(model: ChatModel | str | None) -> ChatModel:
    """Return the model itself, or the one that a name or the settings mean; taped where set.

    Raises SettingsError where no model can be found, AgentError for anything else.
    """
    if model is None or isinstance(model, str):
        return _at_work(model)
    if isinstance(model, type) or not hasattr(model, "stream"):
        raise AgentError(
            f"{model!r} is no model",
            hint='pass model="demo", a name that %models lists, or VLLMModel(…)',
        )
    return _at_work(model)


def label_of(model: ChatModel | str | None) -> str:
    """Return what people call a model; the empty text for the one that the settings choose."""
    if model is None or isinstance(model, str):
        return model or ""
    return str(getattr(model, "label", "") or getattr(model, "model_name", ""))


def under(model: ChatModel, budgets: Sequence[Budget]) -> ChatModel:
    """Return the model with its calls under these budgets, the session's caps read anew.

    Raises SettingsError for invalid settings: a cap that cannot be read is not passed over.
    """
    from tframex_nb.models._metered import metered
    from tframex_nb.models.budget import session_budget
    from tframex_nb.settings import load_settings

    settings = load_settings()
    session_budget().follow(settings.session_max_cost, settings.session_max_tokens)
    return metered(model, budgets, settings)


async def run_events(
    run: Run,
    model: ChatModel | str | None,
    steps: Callable[[ChatModel], AsyncIterator[Event]],
    *,
    budgets: Sequence[Budget] = (),
) -> AsyncIterator[Event]:
    """Yield ``RunStarted``, the events of the steps, ``RunFinished``.

    ``runs.observe`` must consume it, for the last event is read from ``run``. The model that the
    steps get counts its calls on ``budgets``, and refuses those that a cap leaves no room for.
    """
    try:
        found = under(resolve(model), budgets)
    except Exception:  # whatever it is, a run begins before it fails
        yield RunStarted(run.id, run.agent, label_of(model), run.framework)
        raise
    yield RunStarted(run.id, run.agent, label_of(found), run.framework)
    try:
        async with closing(steps(found)) as events:
            async for event in events:
                yield event
    finally:
        run.notes = (*run.notes, *getattr(found, "notes", ()))
    yield RunFinished(run.text, run.finish_reason or "stop", run.messages)


def _at_work(model: ChatModel | str | None) -> ChatModel:
    """Return a model that is recorded or replayed, where that is on."""
    from tframex_nb.models.cassette import shared_cassettes

    return shared_cassettes().model(model)
