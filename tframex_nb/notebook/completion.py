"""Completion in our cells and lines: options, verbs, agents, models, tools, frameworks."""

from __future__ import annotations

import pkgutil
import re
from typing import TYPE_CHECKING

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from tframex_nb.notebook.framework_choice import names_in_worker
from tframex_nb.notebook.namespace import agents_in, find_system, names_of_tools
from tframex_nb.notebook.output_forms import FORMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from IPython.core.completer import SimpleMatcherResult

    from tframex_nb.agents import BaseAgent
    from tframex_nb.notebook.session import Session

__all__ = ["matcher_for"]

SHARED = (
    "--api-url",
    "--as",
    "--background",
    "--context",
    "--max-cost",
    "--max-steps",
    "--max-tokens-total",
    "--model",
    "--no-interpolate",
    "--out",
    "--param",
    "--schema",
    "--system",
    "--template",
    "--tools",
    "--tries",
)
OPTIONS = {
    "agent": (
        *SHARED,
        "--define",
        "--explain",
        "--framework",
        "--fresh",
        "--memory",
        "--object",
    ),
    "compare": (*SHARED, "--frameworks"),
    "framework": (),
    "frameworks": ("--capability", "--memory", "--offline", "--streaming", "--tools"),
}
VERBS = {
    "agents": ("show", "history", "reset", "chat", "edit", "rerun", "drop", "save", "load"),
    "cassettes": ("use", "show", "clear"),
    "frameworks": (
        "load",
        "reload",
        "unload",
        "install",
        "remove",
        "use",
        "reconfigure",
        "show",
        "template",
        "why",
    ),
    "models": ("use", "connect"),
    "runs": ("stop",),
    "tools": ("show", "start", "stop", "trust"),
}
_LINE = re.compile(rf"\s*(?:\w+\s*=\s*)?%%?({'|'.join(VERBS)}|ask)\s+(.*)$")
_CELL = re.compile(r"(?:\s*(?:#.*)?\n)*%%(agent|compare|framework)\b")


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
    cell = _CELL.match(text)
    if cell is None:
        return ()
    if not line.startswith("%%"):
        inside = before.rfind("{{") > before.rfind("}}") and cell[1] != "framework"
        return sorted(n for n in session.shell.user_ns if not n.startswith("_")) if inside else ()
    return _cell_magic(session, cell[1], line)


def _cell_magic(session: Session, magic: str, line: str) -> Iterable[str]:
    words = line.split()
    previous = words[-1] if line.endswith(" ") else words[-2] if len(words) > 1 else ""
    values = _values(session, magic, previous)
    if values is not None:
        return values
    if magic == "framework":
        return _frameworks(session)
    namespace = session.shell.user_ns
    systems = (n for n in namespace if not n.startswith("_") and find_system(namespace, n))
    return [*agents_in(namespace), *(systems if magic == "agent" else ()), *OPTIONS[magic]]


def _values(session: Session, magic: str, option: str) -> Iterable[str] | None:
    """Return what an option takes, or None for what is no option with names to complete."""
    namespace = session.shell.user_ns
    match option:
        case "-m" | "--model":
            return session.runtime.endpoints.names()
        case "--tools":
            return [*sorted(names_of_tools(namespace)), *_servers(session)]
        case "-f" | "--framework" | "--frameworks":
            return [*_frameworks(session), "auto", *(["all"] if magic == "compare" else [])]
        case "-t" | "--template":
            return _templates(session)
        case "--object":
            names = (n for n in namespace if not n.startswith("_"))
            return sorted({*names, *names_in_worker(session)})
        case "--as":
            return FORMS
        case "--schema":
            return sorted(n for n, v in namespace.items() if _is_schema(n, v))
        case "-c" | "--context":
            return sorted(n for n in namespace if not n.startswith("_"))
        case _:
            return None


def _line_magic(session: Session, magic: str, rest: str) -> Iterable[str]:
    agents = agents_in(session.shell.user_ns)
    if magic == "ask":
        return [f"{name}:" for name in agents]
    words = rest.split()
    if not words or (len(words) == 1 and not rest.endswith(" ")):
        return VERBS[magic]
    if magic == "cassettes":
        return _cassette_modes(rest)
    if magic == "agents":
        return _dialogue(agents, words, rest)
    if magic == "tools":
        servers = [name.removeprefix("mcp:") for name in _servers(session)]
        tools = names_of_tools(session.shell.user_ns) if words[0] == "show" else ()
        return [*servers, *tools] if words[0] == "show" else [n for n in servers if "/" not in n]
    if magic == "runs":
        return ["all", *(handle.id for handle in session.background.active)]
    if magic == "frameworks":
        return _framework_verb(session, words[0], rest)
    return session.runtime.endpoints.names() if magic == "models" else agents


def _dialogue(agents: Mapping[str, BaseAgent], words: list[str], rest: str) -> Iterable[str]:
    """Return what may follow a verb of ``%agents``: its option, an agent, the number of a turn."""
    verb = words[0]
    flags = {"edit": "--rerun-rest", "rerun": "--rerun-rest", "save": "--force", "load": "--force"}
    options = [flags[verb]] if verb in flags else []
    names = [word for word in words[1:] if not word.startswith("-")]
    done = names if rest.endswith(" ") else names[:-1]
    if not done:
        return [*agents, *options]
    if verb == "load":
        return [*agents, *options] if len(done) == 1 else options
    if verb in {"show", "history", "edit", "rerun", "drop"} and len(done) == 1:
        known = agents.get(done[0])
        return [str(n) for n in range(1, len(known.conversation) + 1)] if known else ()
    return options


def _servers(session: Session) -> list[str]:
    """Return the words that name MCP servers and the tools of those that run."""
    from tframex_nb.errors import SettingsError
    from tframex_nb.settings import load_settings

    try:
        return session.runtime.mcp.names() if load_settings().mcp else []
    except SettingsError:  # told of where they are used
        return []


def _cassette_modes(rest: str) -> Iterable[str]:
    from tframex_nb.models.cassette.shelf import MODES

    return MODES if re.fullmatch(r"use\s+\w*", rest) else ()


def _framework_verb(session: Session, verb: str, rest: str) -> Iterable[str]:
    """Return what may follow a verb of ``%frameworks``."""
    last = rest if rest.endswith(" ") else rest[: rest.rfind(" ") + 1]
    if last.rstrip().endswith("--capability"):
        from tframex_nb.frameworks.base import CAPABILITIES

        return CAPABILITIES
    if verb in {"why", "template"}:
        return [*_templates(session), *OPTIONS["frameworks"]]
    if verb == "load":
        return sorted(n for n, v in session.shell.user_ns.items() if _is_adapter(v))
    names = _frameworks(session)
    extra = {"use": ("auto",), "install": ("--offline",)}.get(verb, ())
    return [*names, *extra]


def _frameworks(session: Session) -> list[str]:
    """Return the frameworks known now; before the first use, those that come with us."""
    known = session.runtime.frameworks.registry.names()
    if known:
        return known
    from tframex_nb.frameworks import adapters

    return [m.name for m in pkgutil.iter_modules(adapters.__path__) if not m.name.startswith("_")]


def _templates(session: Session) -> list[str]:
    frameworks = session.runtime.frameworks
    return sorted({*frameworks.mapping.names(), *frameworks.registry.templates()})


def _is_schema(name: str, value: object) -> bool:
    return not name.startswith("_") and isinstance(value, (type, dict))


def _is_adapter(value: object) -> bool:
    from tframex_nb.frameworks.base import FrameworkIntegration

    return isinstance(value, type) and issubclass(value, FrameworkIntegration)
