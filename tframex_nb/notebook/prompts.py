"""Prompts with ``{{ expression }}``: found, evaluated once, described."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import PromptError, nearest
from tframex_nb.notebook.namespace import names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tframex_nb.models.parts import Attachment
    from tframex_nb.notebook.describe import Description

__all__ = ["Rendered", "render", "shown", "text_alone", "together"]

_OPENING = re.compile(r"\\?\{\{")
LONGEST = 4000  # characters of one expression; bounds the search for its end
SHOWN = 80  # characters of an expression in an error
FEW = 12  # names that an error still lists
FILE = "<prompt>"
LITERAL = "write \\{{ for a literal {{, or use --no-interpolate"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt after interpolation: its text, a note per value sent, the values by expression.

    ``pieces`` are the same with images and files in their places.
    """

    text: str
    notes: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)  # whatever the user's names hold
    pieces: tuple[str | Attachment, ...] = ()

    @property
    def prompt(self) -> str | list[str | Attachment]:
        """What an agent is asked: text, or a list where something goes along with it."""
        return together(*self.pieces)


@dataclass(frozen=True, slots=True)
class _Expression:
    source: str
    spec: str  # of format(), as in {{ x:.2f }}
    line: int  # of the prompt, from 1
    end: int


def render(
    template: str,
    namespace: Mapping[str, Any],  # the user's names hold anything
    *,
    describe: Callable[..., Description],  # of a value and its ``name``
) -> Rendered:
    r"""Return ``template`` with each ``{{ expression }}`` replaced by its described value.

    ``\{{`` is a literal ``{{``; single braces are text; ``{{ x:.2f }}`` formats. What a value
    says is never interpolated again. The same expression twice is evaluated and noted once, and
    an image is sent once: its name stands in the other places.
    Raises PromptError where an expression does not end, names something unknown, or raises.
    """
    out: list[str | Attachment] = []
    notes: list[str] = []
    values: dict[str, Any] = {}  # as above
    sent: dict[str, str] = {}  # names of images and files by their expressions
    names = dict(namespace)
    at = 0
    while (found := _OPENING.search(template, at)) is not None:
        out.append(template[at : found.start()])
        if found[0].startswith("\\"):
            out.append("{{")
            at = found.end()
            continue
        expression = _expression(template, found.start())
        at = expression.end
        source = expression.source
        fresh = source not in values
        if fresh:
            values[source] = _evaluate(expression, names)
        if expression.spec:
            out.append(_formatted(expression, values[source]))
            continue
        if source in sent:  # once is enough: an image is many tokens
            out.append(f"[{sent[source]}]")
            continue
        described = describe(values[source], name=source)
        if described.attachment is not None:
            sent[source] = described.attachment.label
        out.append(described.attachment or described.text)
        if described.note and fresh and described.attachment is None:
            notes.append(f"{source}: {described.note}")
    pieces = (*out, template[at:])
    return Rendered(shown(pieces), tuple(notes), values, pieces)


def together(
    *pieces: str | Attachment | list[str | Attachment],
) -> str | list[str | Attachment]:
    """Return pieces of a prompt as one text, or as a list where something goes along with it.

    Texts that follow each other are joined as they are.
    """
    out: list[str | Attachment] = []
    for piece in pieces:
        for each in piece if isinstance(piece, list) else [piece]:
            if isinstance(each, str) and out and isinstance(out[-1], str):
                out[-1] += each
            else:
                out.append(each)
    if not out:
        return ""
    return out[0] if len(out) == 1 and isinstance(out[0], str) else out


def text_alone(prompt: str | list[str | Attachment], why: str) -> str:
    """Return a prompt that is text; raises PromptError, which says ``why``, for any other."""
    if isinstance(prompt, str):
        return prompt
    names = ", ".join(piece.label for piece in prompt if not isinstance(piece, str))
    raise PromptError(f"{why}: {names} cannot go along", hint="put it into an agent's prompt")


def shown(prompt: str | Sequence[Any]) -> str:
    """Return a prompt as people read it: a name for each image and file."""
    if isinstance(prompt, str):
        return prompt
    return "".join(p if isinstance(p, str) else f"[{getattr(p, 'label', '…')}]" for p in prompt)


def _expression(template: str, start: int) -> _Expression:
    """Return the expression that begins at ``{{``: it ends at the first ``}}`` where it compiles.

    So braces of dicts and sets, and ``}}`` inside a string, belong to the expression.
    """
    line = template.count("\n", 0, start) + 1
    begin, first = start + 2, None
    end = template.find("}}", begin, begin + LONGEST)
    while end >= 0:
        # In {{ {"a": {"b": 1}} }} the dict's own braces come first: try each place.
        source = template[begin:end].strip()
        first = source if first is None else first
        body, spec = _split(source)
        if body:
            return _Expression(body, spec, line, end + 2)
        end = template.find("}}", end + 1, begin + LONGEST)
    if first is None:
        raise PromptError(f"line {line} of the prompt: {{{{ is never closed by }}}}", hint=LITERAL)
    if not first:
        raise PromptError(f"line {line} of the prompt: {{{{ }}}} holds nothing", hint=LITERAL)
    raise PromptError(
        f"line {line} of the prompt: {{{{ {_short(first)} }}}} is not a Python expression",
        hint=LITERAL,
    )


def _split(source: str) -> tuple[str, str]:
    """Return an expression and its format spec; two empty texts where it does not compile."""
    if _compiles(source):
        return source, ""
    body, colon, spec = source.rpartition(":")
    if colon and spec and not spec.startswith(" ") and _compiles(body.strip()):
        return body.strip(), spec
    return "", ""


def _compiles(source: str) -> bool:
    return bool(source) and (_parses(source) or ("\n" in source and _parses(f"({source}\n)")))


def _parses(source: str) -> bool:
    try:
        ast.parse(source, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _evaluate(expression: _Expression, names: dict[str, Any]) -> object:
    # As globals, for a comprehension or a lambda sees no other names of an evaluated expression.
    source, where = expression.source, f"line {expression.line} of the prompt"
    code = compile(source if _parses(source) else f"({source}\n)", FILE, "eval")
    try:
        return eval(code, names)  # noqa: S307  # the user's own cell, like the code in any other
    except Exception as exc:  # a user's expression may raise anything
        if isinstance(exc, NameError) and _raised_here(exc):
            hint = _nearest(exc.name or source, names)
            raise PromptError(f"{where}: {exc.name!r} is not defined", hint=hint) from exc
        said = " ".join(str(exc).split())
        what = f"{type(exc).__name__}: {said}" if said else type(exc).__name__
        raise PromptError(
            f"{where}: {{{{ {_short(source)} }}}} raised {what}",
            hint=f"mend the expression, or {LITERAL}",
        ) from exc


def _formatted(expression: _Expression, value: object) -> str:
    try:
        return format(value, expression.spec)
    except Exception as exc:  # __format__ is the value's own code
        raise PromptError(
            f"line {expression.line} of the prompt: {_short(expression.source)!r} cannot be"
            f" formatted with {expression.spec!r}: {exc}",
            hint="a format follows a colon, as in {{ price:.2f }}",
        ) from exc


def _raised_here(exc: NameError) -> bool:
    """Whether the name is missing in the prompt itself, not in a function that it calls."""
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename == FILE


def _nearest(name: str, names: Mapping[str, Any]) -> str:  # the user's names
    known = names_of(names)
    said = nearest(name, known)
    many = said.startswith("known:") and len(known) > FEW
    return f"define {name} in a cell first" if many else said


def _short(source: str) -> str:
    flat = " ".join(source.split())
    return flat if len(flat) <= SHOWN else f"{flat[: SHOWN - 1]}…"
