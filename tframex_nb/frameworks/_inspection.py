"""What an integration says of itself, read once and checked field by field."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from tframex_nb.errors import FrameworkLoadError
from tframex_nb.frameworks.base import NATIVE, Capability, FrameworkIntegration, Level
from tframex_nb.frameworks.versions import is_specifier, split_template

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Facts", "capabilities_of", "check_class", "inspected"]

RESERVED = {"auto": "has one chosen", "all": "means every framework"}

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_COROUTINES = ("initialize", "aclose", "health", "validate_configuration", "execute_agent")


@dataclass(frozen=True, slots=True)
class Facts:
    """The name, the templates with the versions of them, and the capabilities that are met."""

    name: str
    templates: Mapping[str, str] = field(default_factory=dict)
    capabilities: frozenset[str] = frozenset()


def inspected(framework: FrameworkIntegration) -> Facts:
    """Return what an integration says of itself.

    Raises FrameworkLoadError, which names the field, where something in it cannot be right.
    """
    _check_instance(framework)
    name = _name(framework)
    check_class(type(framework))
    _check_texts(framework, name)
    templates = _asked(framework, name, "templates", framework.get_supported_templates)
    if isinstance(templates, str) or not _are_texts(templates):
        raise _invalid(name, "templates", "must be a list of template ids", templates)
    met = _asked(framework, name, "capabilities", lambda: capabilities_of(framework))
    if not isinstance(met, dict):
        raise _invalid(name, "capabilities", "must map names to capabilities", met)
    for key, level in met.items():
        _check_capability(name, key, level)
    return Facts(
        name,
        dict(split_template(each) for each in templates),
        frozenset(key for key, level in met.items() if level.met),
    )


def capabilities_of(framework: FrameworkIntegration) -> dict[str, Capability]:
    """Return each capability with its level, for the version in use.

    What an adapter has only in its own ``get_capabilities`` counts as native.
    """
    described = framework.describe_capabilities()
    if type(framework).get_capabilities is FrameworkIntegration.get_capabilities:
        return described
    return {**dict.fromkeys(framework.get_capabilities(), NATIVE), **described}


def check_class(cls: type[FrameworkIntegration]) -> None:
    """Raise FrameworkLoadError where a method of an adapter's class is missing or of no use."""
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise FrameworkLoadError(
            f"{cls.__qualname__} does not write {', '.join(missing)}",
            hint=f"add async def {missing[0]}(self, …) to {cls.__qualname__}",
        )
    for method in _COROUTINES:
        if not inspect.iscoroutinefunction(getattr(cls, method, None)):
            raise FrameworkLoadError(
                f"{cls.__qualname__}.{method} cannot be awaited",
                hint=f"write it as async def {method}(self, …), or leave it out",
            )
    stream = cls.execute_agent_streaming
    if not callable(stream) or inspect.iscoroutinefunction(stream):
        raise FrameworkLoadError(
            f"{cls.__qualname__}.execute_agent_streaming is no async generator: it never yields",
            hint="yield TextDelta events in it",
        )


def _check_instance(framework: object) -> None:
    if isinstance(framework, FrameworkIntegration):
        return
    if isinstance(framework, type):
        raise FrameworkLoadError(
            f"{framework.__name__} is a class; the registry holds instances",
            hint=f"register {framework.__name__}()",
        )
    raise FrameworkLoadError(
        f"a {type(framework).__name__} is no framework",
        hint="subclass tframex_nb.frameworks.base.FrameworkIntegration",
    )


def _name(framework: FrameworkIntegration) -> str:
    name = getattr(framework, "name", None)
    of = type(framework).__qualname__
    if not isinstance(name, str) or not name:
        raise FrameworkLoadError(
            f"{of} has no name", hint=f'write name = "…" in the class {of}', framework=of
        )
    if not _NAME.fullmatch(name):
        raise _invalid(of, "name", "may hold letters, digits, and _ - . between them", name)
    if name in RESERVED:
        raise _invalid(of, "name", f"is reserved: -f {name} {RESERVED[name]}", name)
    return name


def _check_texts(framework: FrameworkIntegration, name: str) -> None:
    for key in ("module", "distribution", "versions", "lock"):
        value = getattr(framework, key)
        if not isinstance(value, str):
            raise _invalid(name, key, "must be a text", value)
    version = _asked(framework, name, "version", lambda: framework.version)
    if not isinstance(version, str):
        raise _invalid(name, "version", "must be a text", version)
    if not is_specifier(framework.versions):
        raise _invalid(name, "versions", "must be like >=1.0,<2 (PEP 440)", framework.versions)
    for key in ("environment", "configuration"):
        table = getattr(framework, key)
        texts = isinstance(table, Mapping) and _are_texts([*table, *table.values()], empty=True)
        if not texts:
            raise _invalid(name, key, "must map texts to texts", table)
    if not isinstance(framework.cancellable, bool):
        raise _invalid(name, "cancellable", "must be True or False", framework.cancellable)


def _asked(
    framework: FrameworkIntegration,
    name: str,
    what: str,
    ask: Callable[[], Any],  # an adapter may answer anything
) -> Any:
    try:
        return ask()
    except (Exception, SystemExit) as exc:  # the wall around an adapter
        raise FrameworkLoadError(
            f"{name!r} cannot tell its {what}: {type(exc).__name__}: {exc}",
            hint=f"mend {type(framework).__qualname__}",
            framework=name,
        ) from exc


def _check_capability(name: str, key: object, value: object) -> None:
    if not isinstance(key, str) or not key:
        raise _invalid(name, "capabilities", "must have texts as keys", key)
    if not isinstance(value, Capability) or value.level not in get_args(Level):
        raise _invalid(
            name, f"capabilities[{key!r}]", "must be NATIVE, PARTIAL(…) or ABSENT(…)", value
        )


def _are_texts(values: object, *, empty: bool = False) -> bool:
    return isinstance(values, Iterable) and all(
        isinstance(each, str) and (each or empty) for each in values
    )


def _invalid(name: str, where: str, rule: str, value: object) -> FrameworkLoadError:
    return FrameworkLoadError(
        f"{name!r} is not a valid framework: its {where} {rule}",
        hint=f"it is {_shown(value)}; mend it in the adapter",
        framework=name,
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004 - one line
