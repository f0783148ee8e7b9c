"""Budgets as cells, ``%config`` and ``%runs`` know them."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError

from tframex_nb.errors import InvalidInput
from tframex_nb.models.budget import Budget, session_budget

__all__ = ["budget_of", "cap_session", "check_cap", "session_line"]

OPTIONS = ("--max-cost", "--max-tokens-total")


def budget_of(options: Any, *, name: str = "the run") -> Budget | None:  # argparse's Namespace
    """Return the budget that a cell sets, or None; raises UsageError for a cap that is none."""
    cost, tokens = options.max_cost, options.max_tokens_total
    if cost is None and tokens is None:
        return None
    try:
        return Budget(
            max_cost=None if cost is None else cost.removeprefix("$"),
            max_tokens_total=None if tokens is None else _whole(tokens),
            name=name,
            options=OPTIONS,
        )
    except InvalidInput as exc:
        option, given = OPTIONS[cost is None or "tokens" in exc.message], exc.message
        raise UsageError(f"{option}: {given.partition('=')[2]}; {_hint(exc)}") from None


def check_cap(name: str, value: Any) -> None:  # a number or None, as the trait has it
    """Raise InvalidInput for a cap of the session that nothing could be under."""
    if name == "session_max_cost":
        Budget(max_cost=value)
    else:
        Budget(max_tokens_total=value)


def cap_session(max_cost: float | None, max_tokens_total: int | None) -> None:
    """Set the session's caps above the settings, which None leaves to say."""
    session_budget().choose(max_cost, max_tokens_total)


def session_line() -> str:
    """Return what this process has spent, under which caps; empty before the first call."""
    budget = session_budget()
    if not budget.spent.calls:
        return ""
    caps = f" ({budget.line})" if budget.capped else ""
    return f"this session: {budget.spent}{caps}"


def _hint(exc: InvalidInput) -> str:
    """Return the hint without what only Python can give."""
    return exc.hint.removesuffix(", or None")


def _whole(text: str) -> int:
    try:
        return int(text.replace("_", "").replace(",", ""))
    except ValueError:
        raise InvalidInput(
            f"max_tokens_total={text} is no whole number", hint="give one from 1 on, or None"
        ) from None
