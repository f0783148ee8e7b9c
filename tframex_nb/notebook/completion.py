"""Completion inside agent cells: options, agents, models, tools, and names in ``{{ }}``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from tframex_nb.notebook.namespace import agents_in, find_system, names_of_tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from IPython.core.completer import SimpleMatcherResult

    from tframex_nb.notebook.session import Session

__all__ = ["matcher_for"]

OPTIONS = (
    "--api-url",
    "--context",
    "--define",
    "--fresh",
    "--max-steps",
    "--memory",
    "--model",
    "--no-interpolate",
    "--out",
    "--param",
    "--system",
    "--tools",
)
VERBS = {
    "agents": ("show", "history", "reset"),
    "models": ("use", "connect"),
    "runs": (),
}
_LINE = re.compile(r"\s*%(agents|models|runs|ask)\s+(.*)$")


def matcher_for(session: Session) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """Return the matcher that IPython asks at each completion."""

    @context_matcher(identifier="tframex_nb")
    def complete(context: CompletionContext) -> SimpleMatcherResult:
        lines = context.full_text.split("\n")[: context.cursor_line + 1]
        line = lines[-1][: context.cursor_position]
        before = "\n".join([*lines[:-1], line])
        token = re.split(r"[\s,{]", line)[-1]
        names = _candidates(session, context.full_text, before, line)
        found = [SimpleCompletion(n, type="tframex") for n in names if n.startswith(token)]
        return {"completions": found, "matched_fragment": token, "suppress": bool(found)}

    matcher: Callable[[CompletionContext], SimpleMatcherResult] = complete
    return matcher


def _candidates(session: Session, text: str, before: str, line: str) -> Iterable[str]:
    if match := _LINE.match(line):
        return _line_magic(session, match[1], match[2])
    if not re.match(r"(\s*(#.*)?\n)*%%agent\b", text):
        return ()
    if not line.startswith("%%agent"):
        inside = before.rfind("{{") > before.rfind("}}")
        return sorted(n for n in session.shell.user_ns if not n.startswith("_")) if inside else ()
    return _cell_magic(session, line)


def _cell_magic(session: Session, line: str) -> Iterable[str]:
    words = line.split()
    previous = words[-1] if line.endswith(" ") else words[-2] if len(words) > 1 else ""
    namespace = session.shell.user_ns
    if previous in ("-m", "--model"):
        return session.runtime.endpoints.names()
    if previous in ("-t", "--tools"):
        return sorted(names_of_tools(namespace))
    if previous in ("-c", "--context"):
        return sorted(n for n in namespace if not n.startswith("_"))
    systems = (n for n in namespace if not n.startswith("_") and find_system(namespace, n))
    return [*agents_in(namespace), *systems, *OPTIONS]


def _line_magic(session: Session, magic: str, rest: str) -> Iterable[str]:
    agents = agents_in(session.shell.user_ns)
    if magic == "ask":
        return [f"{name}:" for name in agents]
    words = rest.split()
    if not words or (len(words) == 1 and not rest.endswith(" ")):
        return VERBS[magic]
    return session.runtime.endpoints.names() if magic == "models" else agents
