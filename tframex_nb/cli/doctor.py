"""Is this installation fit? Each check says what it found and what to do next."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from tframex_nb.errors import TFrameXError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tframex_nb.settings import Settings

__all__ = ["Check", "examine", "report"]

State = Literal["ok", "warn", "fail"]

PATIENCE = 10.0  # seconds that an endpoint gets to say which models it has

_LAB = "pip install 'tframex-nb[lab]'"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; ``next`` is the next move, empty where there is none to make."""

    name: str
    state: State
    found: str
    next: str = ""


def examine() -> list[Check]:
    """Run every check; no check stops the others."""
    checks = [_python(), *_packages(), _nesting()]
    checks += [_guarded("uv", _uv), _guarded("frameworks", _frameworks)]
    settings, finding = _settings()
    checks.append(finding)
    if settings is not None:
        checks.append(_guarded("endpoint", lambda: asyncio.run(_endpoint(settings))))
    checks.append(_guarded("demo model", lambda: asyncio.run(_demo())))
    return checks


def report(checks: list[Check], *, as_json: bool = False) -> str:
    """Return the findings as text, or as a JSON list."""
    if as_json:
        return json.dumps([asdict(check) for check in checks], indent=2)
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.state:<4}  {check.name:<{width}}  {check.found}")
        if check.next:
            lines.append(f"{'':<{width + 8}}next: {check.next}")
    return "\n".join(lines)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", "ok", f"{version}, {sys.executable}")


def _packages() -> list[Check]:
    wanted: tuple[tuple[str, tuple[int, int], State, str], ...] = (
        ("ipython", (8, 18), "fail", "pip install --upgrade ipython"),
        ("ipykernel", (6, 29), "warn", _LAB),
        ("jupyterlab", (4, 4), "warn", _LAB),
    )
    return [_package(*each) for each in wanted]


def _package(name: str, least: tuple[int, int], without: State, line: str) -> Check:
    lowest = ".".join(map(str, least))
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, without, "not installed here", line)
    if _numbers(version) < least:
        return Check(name, "fail", f"{version} is older than {lowest}", f"{line} --upgrade")
    return Check(name, "ok", version)


def _numbers(version: str) -> tuple[int, ...]:
    """Return major and minor of a version; a word counts as zero."""
    return tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])


def _nesting() -> Check:
    """Runs started by synchronous code (``run_sync``, ``%%time``) need a fork of nest-asyncio."""
    for name in ("nest-asyncio2", "nest-asyncio"):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return Check("nest-asyncio", "ok", f"{name} {version}")
    return Check("nest-asyncio", "warn", "not installed here", "pip install nest-asyncio2")


def _uv() -> Check:
    """The environments of frameworks are made with uv."""
    from tframex_nb.frameworks._uv import ask_uv, find_uv

    found = find_uv()
    return Check("uv", "ok", f"{ask_uv('--version').stdout.strip()}, {found}")


def _frameworks() -> Check:
    """Tell which frameworks have an environment; none is a fine state, too."""
    from tframex_nb.frameworks.environments import Environments, shipped_locks

    environments, locks = Environments(), shipped_locks()
    here = [name for name, lock in locks.items() if environments.find(name, lock)]
    found = f"native, {', '.join(here)}" if here else "native (it needs no environment)"
    missing = next((name for name in locks if name not in here), "")
    line = f"tframex-nb frameworks install {missing}" if missing else ""
    return Check("frameworks", "ok", found, line)


def _settings() -> tuple[Settings | None, Check]:
    """Read the settings; name where each value comes from, and show no secret."""
    from tframex_nb.settings import load_settings

    try:
        settings = load_settings()
    except TFrameXError as error:
        return None, _failed("settings", error)
    given = [f"{name} ({source})" for name, source in sorted(settings.sources.items())]
    found = ", ".join(given) or "none given: the defaults hold"
    if settings.notes:
        return settings, Check("settings", "warn", found, "; ".join(settings.notes))
    return settings, Check("settings", "ok", found)


async def _endpoint(settings: Settings) -> Check:
    """Ask what answers when no model is named which models it has."""
    from tframex_nb.models.endpoints import DEMO, Endpoints

    endpoints = Endpoints()
    try:
        model = endpoints.resolve()
        if settings.api_url is None and model.label == DEMO:
            return Check(
                "endpoint",
                "ok",
                "none configured: the demo model answers",
                "for a real model set TFRAMEX_API_URL and TFRAMEX_MODEL; "
                "found here: tframex-nb models",
            )
        async with asyncio.timeout(PATIENCE):
            names = await model.list_models()
    finally:
        await endpoints.aclose()
    return _listing(model.api_url, model.model_name, names)


def _listing(url: str, wanted: str, names: list[str]) -> Check:
    """Judge what an endpoint lists by the model that is set; none is needed where it has one."""
    if wanted in names or (not wanted and len(names) == 1):
        return Check("endpoint", "ok", f"{url} answers and has {wanted or names[0]}")
    known = ", ".join(names[:5]) or "none"
    missing = f"does not list {wanted!r}" if wanted else "no model is chosen"
    found = f"{url} answers, and {missing} (it has: {known})"
    return Check("endpoint", "warn", found, "set TFRAMEX_MODEL to one that it lists")


async def _demo() -> Check:
    """Ask the embedded demo model over real HTTP."""
    from tframex_nb.models.endpoints import Endpoints

    endpoints = Endpoints()
    try:
        text = await endpoints.resolve("demo:fast").run([{"role": "user", "content": "hello"}])
    finally:
        await endpoints.aclose()
    return Check("demo model", "ok", f"answers ({len(text)} characters)")


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except TFrameXError as error:
        return _failed(name, error)
    except TimeoutError:
        return Check(name, "fail", f"no answer within {PATIENCE:.0f} s", "is the server still up?")


def _failed(name: str, error: TFrameXError) -> Check:
    return Check(name, "fail", " ".join(error.message.split()), " ".join(error.hint.split()))
