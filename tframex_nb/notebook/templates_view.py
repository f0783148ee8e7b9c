"""What ``%frameworks template`` answers: what a template asks of a framework, and new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from tframex_nb.errors import nearest
from tframex_nb.frameworks.base import CAPABILITIES
from tframex_nb.notebook.tables import Table

if TYPE_CHECKING:
    from tframex_nb.frameworks.service import Frameworks

__all__ = ["template_view"]

COLUMNS = ("template", "preferred", "needs", "fallback", "supported by")
NONE = "none"


async def template_view(frameworks: Frameworks, options: Any) -> Table:  # argparse's Namespace
    """Return all templates, or one, after what the options say of it was taken in."""
    await frameworks.start()
    name = options.subject
    if not name:
        return Table.of(COLUMNS, [_row(frameworks, each) for each in frameworks.mapping.names()])
    if options.prefer or options.capability or options.fallback:
        _describe(frameworks, name, options)
        note = f"in force until the kernel ends; next: %frameworks why {name}"
    else:
        note = "" if name in frameworks.mapping.names() else f"{name} is not described: as generic"
    return Table.of(COLUMNS, [_row(frameworks, name)], note)


def _describe(frameworks: Frameworks, name: str, options: Any) -> None:  # argparse's Namespace
    """Say what a template asks; what is left out stays as it was."""
    prefer = [each.strip() for each in (options.prefer or "").split(",") if each.strip()]
    for each in prefer:
        frameworks.registry.get_framework(each)
    known = {*CAPABILITIES, *frameworks.registry.capabilities()}
    for each in options.capability or ():
        if each not in known:
            raise UsageError(f"--capability {each}: no such capability; {nearest(each, known)}")
    described = name in frameworks.mapping.names()
    old = frameworks.mapping.get_mapping(name) if described else {}
    fallback = options.fallback or old.get("fallback_type", "conversation")
    frameworks.mapping.add(
        name,
        preferred_frameworks=prefer or old.get("preferred_frameworks", ()),
        required_capabilities=options.capability or old.get("required_capabilities", ()),
        fallback_type=None if fallback in {None, NONE} else fallback,
    )


def _row(frameworks: Frameworks, name: str) -> tuple[str, ...]:
    mapping = frameworks.mapping.get_mapping(name)
    return (
        name,
        ", ".join(mapping["preferred_frameworks"]),
        ", ".join(mapping["required_capabilities"]),
        mapping["fallback_type"] or NONE,
        ", ".join(frameworks.registry.get_frameworks_for_template(name)),
    )
