"""The templates that agents are made from: which frameworks suit each, and what each needs."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import InvalidInput, nearest
from tframex_nb.frameworks.versions import is_specifier, is_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tframex_nb.frameworks.config import TemplateEntry

__all__ = ["GENERIC", "Template", "TemplateFrameworkMapping"]

GENERIC = "generic-conversation"  # what counts for a template that nobody described


@dataclass(frozen=True, slots=True)
class Template:
    """What is said of one template; ``origin`` tells by whom.

    ``fallback_type`` names the ``generic-<type>`` template whose frameworks count where none
    supports this one. ``framework_versions`` are PEP 440 ranges by framework.
    """

    id: str
    preferred_frameworks: tuple[str, ...] = ()
    required_capabilities: tuple[str, ...] = ()
    fallback_type: str | None = "conversation"
    template_version: str = ""
    framework_versions: Mapping[str, str] = field(default_factory=dict)
    origin: str = "built-in"


_BUILT_IN = (
    Template("customer-service-bot", ("langgraph", "crewai"), ("streaming", "memory")),
    Template("chat-assistant", ("langgraph", "autogen"), ("streaming", "tools")),
    Template("task-execution-bot", ("crewai", "langgraph"), ("tools", "planning"), "task"),
    Template("workflow-agent", ("crewai",), ("multi_agent", "planning"), "task"),
    Template("custom-code-agent", ("langgraph",), ("code_execution",), "custom"),
    Template(GENERIC, ("langgraph",), ("streaming",), None),
    Template("generic-task", ("langgraph",), ("tools",), None),
)


class TemplateFrameworkMapping:
    """Which frameworks suit a template, in layers: built in, configured, added in a cell.

    Two sides speak of templates. An adapter *declares* the ``templates`` that it supports; a
    mapping *prefers* frameworks for a template and says what it needs. The candidates of a
    template are both together: the registered frameworks that declare it, and the registered
    ones that its mapping prefers. Each candidate of a ``Resolution`` tells by which it came.
    Preference adds no points: among equal totals the order of preference decides.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._built_in = {each.id: each for each in _BUILT_IN}
        self._configured: dict[str, Template] = {}
        self._added: dict[str, Template] = {}
        self._all = dict(self._built_in)
        self.generation = 0

    def get_mapping(self, template_id: str) -> dict[str, Any]:  # texts and lists of texts
        """Return a template's mapping, that of ``generic-conversation`` where there is none.

        Its keys are ``preferred_frameworks``, ``required_capabilities`` and ``fallback_type``,
        and ``template_version`` and ``framework_versions`` where they are set.
        """
        found = self.template(template_id)
        mapping: dict[str, Any] = {  # texts and lists of texts
            "preferred_frameworks": list(found.preferred_frameworks),
            "required_capabilities": list(found.required_capabilities),
            "fallback_type": found.fallback_type,
        }
        if found.template_version:
            mapping["template_version"] = found.template_version
        if found.framework_versions:
            mapping["framework_versions"] = dict(found.framework_versions)
        return mapping

    def template(self, template_id: str) -> Template:
        """Return what is said of a template, or of ``generic-conversation``; see its ``id``."""
        known = self._all
        return known.get(template_id) or known[GENERIC]

    def add(
        self,
        template_id: str,
        *,
        preferred_frameworks: Iterable[str] = (),
        required_capabilities: Iterable[str] = (),
        fallback_type: str | None = "conversation",
        template_version: str = "",
        framework_versions: Mapping[str, str] | None = None,
    ) -> None:
        """Add a template, or replace what was said of it; it goes before any configuration.

        Raises InvalidInput where the name, a version or a range is none.
        """
        if not template_id or template_id != template_id.strip():
            raise InvalidInput(f"{template_id!r} can be no template's name", hint="write a word")
        found = Template(
            template_id,
            _texts("preferred_frameworks", preferred_frameworks),
            _texts("required_capabilities", required_capabilities),
            fallback_type,
            template_version,
            dict(framework_versions or {}),
            "added here",
        )
        _check_versions(found)
        with self._lock:
            self._added[template_id] = found
            self._rebuild()

    def remove(self, template_id: str) -> None:
        """Take back what ``add`` said of a template; raises InvalidInput where it said nothing."""
        with self._lock:
            if self._added.pop(template_id, None) is None:
                raise InvalidInput(
                    f"the template {template_id!r} was not added here",
                    hint=nearest(template_id, self._added),
                )
            self._rebuild()

    def configure(self, entries: Mapping[str, TemplateEntry]) -> None:
        """Put what a configuration says in the place of what the last one said.

        What an entry leaves out stays as it was built in.
        """
        with self._lock:
            self._configured = {
                name: self._configured_template(name, entry) for name, entry in entries.items()
            }
            self._rebuild()

    def names(self) -> list[str]:
        """Return the ids of all templates that are described, sorted."""
        return sorted(self._all)

    def __contains__(self, template_id: object) -> bool:
        return template_id in self._all

    def __repr__(self) -> str:
        return f"<TemplateFrameworkMapping: {', '.join(self.names())}>"

    def _configured_template(self, name: str, entry: TemplateEntry) -> Template:
        said = {key: getattr(entry, key) for key in entry.model_fields_set}
        base = self._built_in.get(name, Template(name))
        return replace(base, **said, origin="configuration")

    def _rebuild(self) -> None:
        """Put the layers together anew: a reader sees the old whole or the new one."""
        self._all = {**self._built_in, **self._configured, **self._added}
        self.generation += 1


def _texts(what: str, values: Iterable[str]) -> tuple[str, ...]:
    found = tuple([values] if isinstance(values, str) else values)
    wrong = next((each for each in found if not isinstance(each, str) or not each), None)
    if wrong is not None:
        raise InvalidInput(f"{what} holds {wrong!r}, which is no name", hint="write names")
    return found


def _check_versions(template: Template) -> None:
    if template.template_version and not is_version(template.template_version):
        raise InvalidInput(
            f"template_version={template.template_version!r} is no version", hint="write 1.2"
        )
    for name, text in template.framework_versions.items():
        if not is_specifier(text):
            raise InvalidInput(
                f"framework_versions[{name!r}]={text!r} is no range", hint="write >=1.0,<2"
            )
