"""What a cell's answer has to look like: ``--schema`` and ``--as``."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from tframex_nb.errors import InvalidAnswer, nearest
from tframex_nb.interrupts import call_tool
from tframex_nb.markdown import first_code, pretty
from tframex_nb.notebook.namespace import names_of

if TYPE_CHECKING:
    from tframex_nb.notebook.session import Session
    from tframex_nb.runs import Run

__all__ = ["FORMS", "form_of", "insert_code", "schema_of", "settle", "told"]

FORMS = ("markdown", "code", "json", "text")
PYTHON = frozenset({"", "ipython", "ipython3", "py", "python", "python3"})
FEW = 12  # names that an error still lists

_TOLD = {
    "code": "Answer with code alone, in one fenced block that names its language.",
    "text": "Answer in plain text, without any Markdown.",
}


def form_of(options: Any, *, prompted: bool) -> str:  # argparse's Namespace
    """Return the form that a cell wants, empty for Markdown; raises UsageError for a mixture."""
    if options.schema is None:
        if options.tries is not None and options.form != "json":
            raise UsageError("--tries is for --schema, and for --as json")
        return "" if options.form in {None, "markdown"} else str(options.form)
    if not prompted:
        raise UsageError("--schema is for one run: give it with the prompt")
    if options.form not in {None, "json"}:
        raise UsageError(f"--as {options.form}: what matches a --schema is shown as JSON")
    return "json"


def schema_of(
    namespace: Mapping[str, Any],  # the user's names hold anything
    source: str | None,
    form: str,
) -> Any:  # a type, or a JSON schema
    """Return what ``--schema`` says, an expression in the notebook; any JSON for ``--as json``.

    Raises UsageError where it cannot be evaluated, InvalidInput where it describes no answer.
    """
    if source is None:
        return {} if form == "json" else None
    found = call_tool(_evaluate, source, dict(namespace))
    if isinstance(found, Mapping) and source.isidentifier():
        found = {"title": source, **found}
    from tframex_nb.agents.typed_forms import AnswerForm

    call_tool(AnswerForm.of, found)  # now, before an agent is defined
    return found


def told(form: str, system: str) -> dict[str, str]:
    """Return what the model is told of the form, as an option of the run."""
    words = _TOLD.get(form)
    return {"system": f"{system}\n\n{words}".strip()} if words else {}


def settle(run: Run, form: str) -> None:
    """Set the output of a run that ended well, where its form gives one; raises InvalidAnswer."""
    if form == "code":
        found = first_code(run.text)
        run.output = None if found is None else found[1]
    elif form == "json" and run.output is None:
        try:
            run.output = json.loads(pretty(run.text))
        except (ValueError, RecursionError) as exc:
            raise InvalidAnswer(
                f"{run.agent!r} gave no JSON: {exc}",
                hint="ask for JSON in the prompt, or leave --as json out",
                received=run.text,
            ) from exc


def insert_code(session: Session, run: Run) -> None:
    """Put the code of an answer into a new cell, where the front end can; it is never run.

    A cell that gives the same code again has it below already.
    """
    found = first_code(run.text)
    if found is None:
        return
    language, code = found
    if language.lower() not in PYTHON:
        if language not in session.shell.magics_manager.magics["cell"]:
            return  # it is shown, and no cell of this kernel would take it
        code = f"%%{language}\n{code}"
    cell = session.cell
    if cell and session.inserted.get(cell) == code:
        return
    session.shell.set_next_input(code, replace=False)
    if cell:
        session.inserted[cell] = code


def _evaluate(source: str, names: dict[str, Any]) -> Any:  # whatever the user named
    try:
        ast.parse(source.strip(), mode="eval")
        found = eval(source.strip(), names)  # noqa: S307  # the user's own cell, like any code
    except SyntaxError:
        raise UsageError(f"--schema {source}: not a type; quote it where it has spaces") from None
    except NameError as exc:
        known = names_of(names)
        said = nearest(exc.name or source, known)
        hint = "define it in a cell first" if len(known) > FEW and "did you" not in said else said
        raise UsageError(f"--schema: {exc.name!r} is not defined; {hint}") from None
    except Exception as exc:  # a user's expression may raise anything
        raise UsageError(f"--schema {source}: {type(exc).__name__}: {exc}") from exc
    if found is None:
        raise UsageError(f"--schema {source}: that is None, not a type")
    return found
