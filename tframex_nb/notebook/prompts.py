"""Prompts with ``{{ expression }}``: found, evaluated once, described."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import PromptError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tframex_nb.notebook.describe import Description

__all__ = ["Rendered", "render"]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt after interpolation: its text, a note per value sent, the values by expression."""

    text: str
    notes: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)  # whatever the user's names hold


def render(
    template: str,
    namespace: Mapping[str, Any],  # the user's names hold anything
    *,
    describe: Callable[[object], Description],
) -> Rendered:
    r"""Return ``template`` with each ``{{ expression }}`` replaced by its described value.

    ``\{{`` is a literal ``{{``; single braces are text; values are never interpolated again.
    Raises PromptError where an expression is unbalanced, unknown, or raises.
    """
    out: list[str] = []
    notes: list[str] = []
    values: dict[str, Any] = {}  # as above
    at = 0
    while (start := template.find("{{", at)) >= 0:
        if start and template[start - 1] == "\\":
            out += [template[at : start - 1], "{{"]
            at = start + 2
            continue
        source, end = _expression(template, start)
        value = _evaluate(source, namespace, template.count("\n", 0, start) + 1)
        described = describe(value)
        out += [template[at:start], described.text]
        if described.note:
            notes.append(f"{source}: {described.note}")
        values[source] = value
        at = end
    return Rendered("".join([*out, template[at:]]), tuple(notes), values)


def _expression(template: str, start: int) -> tuple[str, int]:
    """Return the expression that begins at ``{{`` and the index after its ``}}``."""
    end = template.find("}}", start + 2)
    while end >= 0:
        source = template[start + 2 : end].strip()
        try:
            ast.parse(source, mode="eval")
        except SyntaxError:
            end = template.find("}}", end + 1)
        else:
            return source, end + 2
    line = template.count("\n", 0, start) + 1
    raise PromptError(
        f"line {line} of the prompt: `{{{{` has no `}}}}` that ends an expression",
        hint="write \\{{ for a literal {{, or use --no-interpolate",
    )


def _evaluate(source: str, namespace: Mapping[str, Any], line: int) -> object:
    try:
        return eval(compile(source, "<prompt>", "eval"), dict(namespace))  # noqa: S307 - the user's own cell, as any other code in it
    except NameError as exc:
        name = exc.name or source
        raise PromptError(
            f"line {line} of the prompt: {name!r} is not defined", hint=nearest(name, namespace)
        ) from exc
    except Exception as exc:
        raise PromptError(
            f"line {line} of the prompt: {{{{ {source} }}}} raised {type(exc).__name__}: {exc}",
            hint="mend the expression, or write \\{{ for a literal {{",
        ) from exc
