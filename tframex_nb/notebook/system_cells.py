"""``%%agent`` cells that name a system: the same live display, arguments as ``-p k=v``."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from tframex_nb.runtime import RunRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tframex_nb.systems.base import BaseSystem

__all__ = ["system_request"]

AGENTS_ONLY = (
    "model",
    "api_url",
    "system",
    "tools",
    "max_steps",
    "memory",
    "framework",
    "template",
    "object",
    "explain",
    "fresh",
    "define",
    "schema",
    "tries",
    "approve",
)


def system_request(
    system: BaseSystem,
    prompt: str,
    options: Any,  # argparse's Namespace
    params: dict[str, Any],  # the system's own arguments and sampling parameters
    look_up: Callable[[str, str], Any],  # whatever the user named
) -> tuple[RunRequest, tuple[str, ...]]:
    """Return the request of a cell to a system, and what it reads.

    ``--context`` gives a system that reads a long text that text, whole. Raises UsageError for
    options that only agents have, and for arguments that are missing.
    """
    name, kind = options.name, type(system).__name__
    given = {option: getattr(options, option) for option in AGENTS_ONLY}
    wrong = [
        f"--{o.replace('_', '-')}" for o, v in given.items() if v is not None and v is not False
    ]
    if wrong:
        raise UsageError(f"{name} is a {kind}: {', '.join(wrong)} is for agents only")
    takes = inspect.signature(system.stream)
    texts = {each: look_up("--context", each) for each in options.context or []}
    if texts and "long_text" not in takes.parameters:
        raise UsageError(
            f"{name} is a {kind}, which reads no --context: write {{{{ }}}} in the prompt"
        )
    for each, text in texts.items():
        if not isinstance(text, str):
            raise UsageError(f"--context {each}: {kind} reads a text, not a {type(text).__name__}")
    if texts:
        params = {**params, "long_text": "\n\n".join(texts.values())}
    try:
        takes.bind(prompt, **params)
    except TypeError as exc:
        more = "--context VAR" if "long_text" in str(exc) else "-p k=v"
        raise UsageError(f"{name} is a {kind}: {exc}; give it as {more}") from None
    read = tuple(f"read {each}: {len(text):,} characters" for each, text in texts.items())
    return RunRequest(system, prompt, params=params), read
