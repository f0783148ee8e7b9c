"""Asking adapters whether an agent's configuration is valid, all at once and with a bound."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tframex_nb.frameworks.base import FrameworkIntegration, ValidationResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tframex_nb.frameworks.base import Agent

__all__ = ["validate_all"]

_OURS = FrameworkIntegration.validate_configuration
_VALID = ValidationResult()

Answer = ValidationResult | str  # what it said, or why it said nothing


async def validate_all(
    frameworks: Mapping[str, FrameworkIntegration], agent: Agent, seconds: float
) -> dict[str, Answer]:
    """Return for each framework what it says of the agent, or the reason why it says nothing.

    A validator that raises, hangs longer than ``seconds`` or answers something else is a reason.
    """
    answers: dict[str, Answer] = {}
    tasks: dict[str, asyncio.Task[ValidationResult]] = {}
    configured = bool(agent.configuration)  # ours looks at nothing else
    for name, framework in frameworks.items():
        if type(framework).validate_configuration is _OURS:  # never waits: no task, no clock
            answers[name] = await framework.validate_configuration(agent) if configured else _VALID
        else:
            tasks[name] = asyncio.ensure_future(framework.validate_configuration(agent))
    if tasks:
        answers |= await _gathered(tasks, seconds)
    return answers


async def _gathered(
    tasks: Mapping[str, asyncio.Task[ValidationResult]], seconds: float
) -> dict[str, Answer]:
    try:
        await asyncio.wait(tasks.values(), timeout=seconds)
        return {name: _answer(task, seconds) for name, task in tasks.items()}
    finally:
        for task in tasks.values():
            if not task.done():  # also where we are cancelled ourselves
                task.add_done_callback(_seen)
                task.cancel()


def _answer(task: asyncio.Task[ValidationResult], seconds: float) -> Answer:
    if not task.done():
        return f"validate_configuration did not answer within {seconds:g} s"
    if task.cancelled():
        return "validate_configuration was cancelled"
    exc = task.exception()
    if exc is not None:
        return f"validate_configuration failed: {type(exc).__name__}: {exc}"
    said: object = task.result()  # an adapter may answer anything
    if isinstance(said, ValidationResult):
        return said
    return f"validate_configuration gave a {type(said).__name__}, no ValidationResult"


def _seen(task: asyncio.Task[ValidationResult]) -> None:
    """Look at the exception of an abandoned task, or asyncio complains that nobody did."""
    if not task.cancelled():
        task.exception()
