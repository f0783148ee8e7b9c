"""What a cell says of frameworks: which one, of which template, with which object."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from tframex_nb.errors import nearest
from tframex_nb.notebook.namespace import look_up
from tframex_nb.notebook.output_forms import FORMS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tframex_nb.notebook.session import Session

__all__ = ["check_known", "choice_of", "names_in_worker", "remember_names", "subject_of"]

AUTO = "auto"

# What ``-f`` means to jupyter-ai's %%ai.
FOREIGN = frozenset({"code", "html", "image", "images", "json", "markdown", "math", "md", "text"})


def choice_of(name: str | None) -> str:
    """Return the framework that ``-f`` names; raises UsageError for a format of %%ai."""
    if name is not None and name.lower() in FOREIGN:
        ours = name.lower() if name.lower() in FORMS else "|".join(FORMS)
        raise UsageError(
            f"-f {name}: that is a format, and -f names a framework (%frameworks lists them); "
            f"write --as {ours}"
        )
    return name or ""


async def check_known(session: Session, names: Iterable[str]) -> None:
    """Raise UnknownFramework for a name that means nothing, before anything is defined or run."""
    frameworks = session.runtime.frameworks
    await frameworks.start()
    for name in names:
        if choice_of(name) != AUTO:
            frameworks.registry.get_framework(name)


def subject_of(session: Session, name: str | None) -> object | None:
    """Return what ``--object`` names: a value of the notebook, or a name in a worker.

    A name that only a ``%%framework`` cell defined is returned as text.
    """
    if name is None:
        return None
    try:
        found: object = look_up(session.shell.user_ns, name)
    except KeyError:
        there = names_in_worker(session)
        if name in there:
            return name
        known = [n for n in session.shell.user_ns if not n.startswith("_")]
        raise UsageError(
            f"--object: {name!r} is defined neither here nor in a %%framework cell; "
            f"{nearest(name, [*known, *there])}"
        ) from None
    return found


def remember_names(session: Session, framework: str, source: str) -> None:
    """Keep the names that a ``%%framework`` cell defines, for ``--object`` and completion."""
    session.worker_names.setdefault(framework, set()).update(_defined(source))


def names_in_worker(session: Session, framework: str = "") -> set[str]:
    """Return the names that ``%%framework`` cells defined, of all frameworks or of one."""
    of = session.worker_names
    return set(of.get(framework, ())) if framework else set().union(*of.values())


def _defined(source: str) -> set[str]:
    """Return the names that a source binds at its top level, imports left out."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return set()
    names: set[str] = set()
    for statement in statements:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names.update(name for target in targets for name in _names_of(target))
            case ast.AnnAssign(target=target):
                names.update(_names_of(target))
            case _:
                continue
    return {name for name in names if not name.startswith("_")}


def _names_of(target: Any) -> set[str]:  # an expression that is assigned to
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}
