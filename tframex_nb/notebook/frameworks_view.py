"""What ``%frameworks`` answers: the table, and its verbs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from tframex_nb.errors import FrameworkError, nearest
from tframex_nb.frameworks.base import CAPABILITIES, ExecutionRequirements, FrameworkIntegration
from tframex_nb.notebook.front_end import detect
from tframex_nb.notebook.namespace import look_up
from tframex_nb.notebook.progress import ProgressLine, bar
from tframex_nb.notebook.tables import Table
from tframex_nb.notebook.templates_view import template_view

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tframex_nb.frameworks.base import Capability
    from tframex_nb.frameworks.environments import Environment, InstallPlan, Progress
    from tframex_nb.frameworks.resolution import Resolution
    from tframex_nb.frameworks.service import Frameworks
    from tframex_nb.notebook.session import Session

__all__ = ["VERBS", "frameworks_view"]

COLUMNS = ("name", "version", "state", "mode", "capabilities", "runs", "failures", "why not")
# Each verb and what it takes.
VERBS = {
    "load": "PATH, module:Class or a class of the notebook",
    "reload": "NAME",
    "unload": "NAME",
    "install": "NAME",
    "remove": "NAME",
    "use": "NAME, auto or native",
    "reconfigure": "",
    "show": "NAME",
    "template": "",
    "why": "TEMPLATE",
}
MEGABYTE = 1_000_000


async def frameworks_view(session: Session, options: Any, display: str) -> object:  # a Namespace
    """Answer ``%frameworks [VERB …]``: a ``Table``, a ``Resolution``, or None after an install."""
    frameworks = session.runtime.frameworks
    verb, subject = options.verb, options.subject
    _check(options)
    match verb:
        case "":
            return await _table(frameworks)
        case "load":
            loaded = await frameworks.load(_target(session, subject))
            return await _table(frameworks, loaded.name, "loaded; next: %%agent -f " + loaded.name)
        case "reload":
            await frameworks.reload(subject)
            return await _table(
                frameworks, subject, "loaded anew; runs that go on keep the old one"
            )
        case "unload":
            await frameworks.unload(subject)
            return _line(subject, "unloaded; runs that go on end as they began")
        case "install":
            await _install(session, subject, display, offline=options.offline)
            return None  # the line has told it
        case "remove":
            freed = await frameworks.remove(subject)
            return _line(subject, f"removed; {freed / MEGABYTE:,.0f} MB are free again")
        case "use":
            await frameworks.use(subject)
            return _line(subject, "used from now on where neither cell nor agent names another")
        case "reconfigure":
            changed = await frameworks.reconfigure(subject or None)
            return Table.of(("changed",), [(c,) for c in changed], "" if changed else "nothing new")
        case _:
            tell = {"show": _show, "template": template_view, "why": _why}[verb]
            return await tell(frameworks, options)


async def _table(frameworks: Frameworks, name: str = "", note: str = "") -> Table:
    """Return all frameworks, or the one that a verb was about."""
    rows = [row for row in await frameworks.rows() if not name or row["name"] == name]
    states = ("ready", "not installed")  # and then what has failed
    rows.sort(key=lambda row: states.index(row["state"]) if row["state"] in states else len(states))
    cells = [
        (
            row["name"],
            row["version"],
            row["state"],
            row["mode"],
            row["capabilities"],
            row["runs"],
            row["failures"],
            row["why_not"],
        )
        for row in rows
    ]
    used = f"used where none is named: {frameworks.default}; ~ in part: %frameworks show NAME"
    return Table.of(COLUMNS, cells, note or used)


async def _show(frameworks: Frameworks, options: Any) -> Table:  # argparse's Namespace
    """Return all that is known of one framework, the reasons included."""
    await frameworks.start()
    name = options.subject
    found = frameworks.registry.get_framework(name)
    ready = frameworks.readiness(name)
    can = found.describe_capabilities()
    rows: list[tuple[str, object]] = [
        ("version", ready.version or found.version),
        ("tested with", found.versions),
        ("state", "ready" if ready.ready else ready.reason),
        ("mode", ready.mode),
        ("next", "" if ready.ready else ready.hint),
        ("health", await _health(found) if ready.mode == "in-process" else ""),
        ("from", frameworks.loader.origin(name)),
        ("templates", ", ".join(found.get_supported_templates())),
        *((each, _described(can[each])) for each in _sorted(can)),
        *((f"configuration.{key}", means) for key, means in found.configuration.items()),
    ]
    return Table.of((name, ""), [row for row in rows if row[1]])


async def _health(found: FrameworkIntegration) -> str:
    """Return what an adapter that runs in this process says of itself; it is foreign code."""
    try:
        health = await found.health()
    except Exception as exc:  # noqa: BLE001 - the wall around an adapter: told, and no more
        return f"could not be told: {type(exc).__name__}: {exc}"
    return health.detail or ("ok" if health.ok else "not ok")


async def _why(frameworks: Frameworks, options: Any) -> Resolution:  # argparse's Namespace
    await frameworks.start()
    wanted = frozenset(options.capability or ())
    known = {*CAPABILITIES, *frameworks.registry.capabilities()}
    for each in sorted(wanted - known):
        raise UsageError(f"--capability {each}: no such capability; {nearest(each, known)}")
    needs = ExecutionRequirements(
        streaming=options.streaming,
        tools=options.tools,
        memory=options.memory,
        capabilities=wanted,
    )
    return await frameworks.why(options.subject, needs)


async def _install(session: Session, name: str, display: str, *, offline: bool) -> None:
    frameworks = session.runtime.frameworks
    plan = await frameworks.plan(name)
    line = ProgressLine(session.shell, detect(session.shell, display), head=_size(name, plan))

    def show(progress: Progress) -> None:
        line.show(
            f"{bar(progress.done, progress.total)} {progress.line} · {progress.seconds:.0f} s"
        )

    end = f"{name} is not installed"
    try:
        made = await frameworks.install(name, progress=show, offline=offline)
        end = _installed(name, frameworks.readiness(name).version, made)
    except asyncio.CancelledError:
        end = f"{name} is not installed; what was fetched is kept: %frameworks install {name}"
        raise
    finally:
        line.close(end)


def _size(name: str, plan: InstallPlan) -> str:
    parts = [
        f"installing {name}: {plan.packages} packages",
        f"{plan.download_mb:,.0f} MB to fetch" if plan.download_mb else "",
        f"{plan.disk_mb:,.0f} MB on disk" if plan.disk_mb else "",
        plan.note,
    ]
    return f"{', '.join(part for part in parts if part)}; into {plan.path}"


def _installed(name: str, version: str, made: Environment) -> str:
    head = " ".join(part for part in (name, version) if part)
    size = f"{len(made.versions)} packages, {made.size_mb:,.0f} MB"
    return f"{head} is installed ({size}); next: %%agent -f {name}"


def _target(session: Session, text: str) -> object:
    """Return the class that the notebook has under this name, or the text for the loader."""
    try:
        found = look_up(session.shell.user_ns, text)
    except KeyError:
        return text
    if not isinstance(found, (type, FrameworkIntegration)):
        return text
    if isinstance(found, type) and not issubclass(found, FrameworkIntegration):
        raise FrameworkError(
            f"{text} is a class, and no FrameworkIntegration",
            hint="subclass tframex_nb.frameworks.base.FrameworkIntegration",
        )
    return found


def _line(name: str, note: str) -> Table:
    return Table.of(("framework",), [(name,)], note)


def _check(options: Any) -> None:  # argparse's Namespace
    """Raise UsageError for a verb that does not exist, or that misses what it takes."""
    verb, takes = options.verb, VERBS.get(options.verb, "")
    if verb and verb not in VERBS:
        raise UsageError(f"%frameworks {verb}: no such verb; {nearest(verb, VERBS)}")
    if takes and not options.subject:
        raise UsageError(f"%frameworks {verb} takes one {takes}")
    if any((options.streaming, options.tools, options.memory)) and verb != "why":
        raise UsageError("--streaming, --tools and --memory go with: why TEMPLATE")
    if options.capability and verb not in {"why", "template"}:
        raise UsageError("--capability goes with: why TEMPLATE, template NAME")
    if (options.prefer or options.fallback) and (verb != "template" or not options.subject):
        raise UsageError("--prefer and --fallback go with: template NAME")
    if options.offline and verb != "install":
        raise UsageError("--offline goes with: install NAME")


def _described(capability: Capability) -> str:
    reason = f": {capability.reason}" if capability.reason else ""
    return f"{capability.level}{reason}"


def _sorted(names: Mapping[str, Capability]) -> list[str]:
    """Return capabilities in the usual order, those of an adapter's own after them."""
    known = [name for name in CAPABILITIES if name in names]
    return [*known, *sorted(name for name in names if name not in CAPABILITIES)]
