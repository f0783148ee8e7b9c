"""The environments of frameworks from a terminal: list, plan, install, remove."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING

from tframex_nb.cli.models import table
from tframex_nb.errors import UnknownFramework, nearest
from tframex_nb.frameworks.environments import Environments, shipped_locks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tframex_nb.frameworks.environments import Progress

__all__ = ["install_frameworks", "list_frameworks", "plan_frameworks", "remove_frameworks"]

NATIVE = "native"  # runs in the kernel, and needs no environment
MB = 1e6  # bytes
QUIET = 2.0  # seconds between two lines where no terminal can redraw one
_COLUMNS = ("name", "state", "version", "python", "MB", "where")
_PLANS = ("name", "packages", "download MB", "disk MB", "where", "note")


def list_frameworks(*, as_json: bool = False) -> str:
    """Return which frameworks have an environment here, and what it is; asks no network."""
    environments, locks = _environments(), shipped_locks()
    rows = [[NATIVE, "built in", "", "", "", ""]]
    rows += [_row(environments, name, lock) for name, lock in locks.items()]
    if as_json:
        return json.dumps([dict(zip(_COLUMNS, row, strict=True)) for row in rows], indent=2)
    missing = [row[0] for row in rows if row[1] == "not installed"]
    hint = f"\n\nnext: tframex-nb frameworks install {missing[0]}" if missing else ""
    return table(_COLUMNS, rows) + hint


def plan_frameworks(names: Sequence[str]) -> str:
    """Return what an installation would bring, without doing it."""
    environments = _environments()
    rows = []
    for name, lock in _chosen(names).items():
        plan = environments.plan(name, lock)
        sizes = (str(plan.packages), f"{plan.download_mb:.0f}", f"{plan.disk_mb:.0f}")
        rows.append([name, *sizes, str(plan.path), plan.note])
    return table(_PLANS, rows)


def install_frameworks(names: Sequence[str], *, offline: bool = False) -> int:
    """Make the environments of these frameworks, one after the other; return the exit code."""
    environments = _environments()
    chosen = _chosen(names)
    for name, lock in chosen.items():
        found = environments.find(name, lock)
        if found is not None:
            print(f"{name}: installed already, {found.path}")
            continue
        plan = environments.plan(name, lock)
        note = plan.note or f"{plan.download_mb:.0f} MB to download"
        print(f"{name}: {plan.packages} packages, {plan.disk_mb:.0f} MB on disk; {note}")
        show, clear = _shower(name)
        began = time.monotonic()
        try:
            made = asyncio.run(environments.install(name, lock, progress=show, offline=offline))
        except KeyboardInterrupt:
            clear()
            print(f"{name}: nothing half-made is left; again goes on from there", file=sys.stderr)
            raise
        finally:
            clear()
        seconds = time.monotonic() - began
        print(f"{name}: done in {seconds:.1f} s, {made.size_mb:.0f} MB in {made.path}")
    if NATIVE in names:
        print(f"{NATIVE}: needs no environment")
    return 0


def remove_frameworks(names: Sequence[str], *, stale: bool = False) -> int:
    """Delete the environments of these frameworks, or only stale ones; return the exit code."""
    environments = _environments()
    for name, lock in _chosen(names).items():
        freed = environments.remove(name, keep=lock if stale else None)
        print(f"{name}: freed {freed / MB:.0f} MB" if freed else f"{name}: nothing to remove")
        left = environments.find(name, lock)
        if left is not None and not stale:
            print(f"{name}: the shared one stays, {left.path}")
    return 0


def _environments() -> Environments:
    """Return the environments of the folder that the configuration names, as kernels see them."""
    from tframex_nb.frameworks.config import load_config

    made = Environments()
    made.configured = load_config().environments
    return made


def _chosen(names: Sequence[str]) -> dict[str, Path]:
    """Return the locks of the frameworks that are named; of all where none is."""
    locks = shipped_locks()
    for name in names:
        if name not in locks and name != NATIVE:
            raise UnknownFramework(
                f"no framework {name!r} has an environment", hint=nearest(name, [*locks, NATIVE])
            )
    return {name: lock for name, lock in locks.items() if not names or name in names}


def _row(environments: Environments, name: str, lock: Path) -> list[str]:
    found = environments.find(name, lock)
    stale = environments.stale(name, lock)
    if found is None:
        state = "stale: install it again" if stale else "not installed"
        return [name, state, "", "", "", str(stale[0].path) if stale else ""]
    state = f"installed, and {len(stale)} stale" if stale else "installed"
    version = found.versions.get(_main_package(lock), "")
    return [name, state, version, found.python_version, f"{found.size_mb:.0f}", str(found.path)]


def _main_package(lock: Path) -> str:
    """Return the first requirement that a lock was made from: the framework itself."""
    lines = lock.with_suffix(".in").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line and not line.startswith("#")).split("[")[0]


def _shower(name: str) -> tuple[Callable[[Progress], None], Callable[[], None]]:
    """Return what shows a progress, redrawn where a terminal can, and what clears it."""
    if sys.stderr.isatty():
        return _redraw, lambda: print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
    last = [0.0]

    def tell(progress: Progress) -> None:
        if progress.seconds - last[0] >= QUIET:
            last[0] = progress.seconds
            print(f"{name}: {_share(progress):.0%} {progress.line}", file=sys.stderr, flush=True)

    return tell, lambda: None


def _redraw(progress: Progress) -> None:
    width = 24
    full = int(width * _share(progress))
    bar = "█" * full + "░" * (width - full)
    line = f"{bar} {_share(progress):4.0%} {progress.seconds:4.0f} s  {progress.line}"
    print(f"\r\x1b[2K{line[:100]}", end="", file=sys.stderr, flush=True)


def _share(progress: Progress) -> float:
    return progress.done / progress.total if progress.total else 0.0
