"""How long the environments of the frameworks take, and how large they are.

``python benchmarks/install.py [--cold] [NAME …]``: warm is from uv's cache, cold is with an empty
cache (it downloads: about 0.4 GB for all). Beside ours stands what people do
instead: ``uv pip install`` of the same requirements without a lock.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uv

from tframex_nb.cli.models import table
from tframex_nb.frameworks._uv import uv_environment
from tframex_nb.frameworks.environments import Environments, shipped_locks

COLUMNS = ("framework", "packages", "MB", "from lock s", "unlocked s", "find ms")
FINDS = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--cold", action="store_true", help="with an empty cache: downloads")
    options = parser.parse_args()
    locks = {n: p for n, p in shipped_locks().items() if not options.names or n in options.names}
    rows = [measure(name, lock, cold=options.cold) for name, lock in locks.items()]
    print(table(COLUMNS, rows))
    print("cold: an empty cache" if options.cold else "warm: all of it in uv's cache")
    return 0


def measure(name: str, lock: Path, *, cold: bool) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        if cold:
            os.environ["UV_CACHE_DIR"] = str(Path(folder, "cache"))
        else:
            make(name, lock, Path(folder, "first"))  # what the cache lacks is fetched before
        made, ours = make(name, lock, Path(folder, "second"))
        if cold:
            os.environ["UV_CACHE_DIR"] = str(Path(folder, "other"))
        theirs = unlocked(lock, Path(folder, "third"))
        environments = Environments(Path(folder, "second"))
        began = time.perf_counter()
        for _ in range(FINDS):
            environments.find(name, lock)
        find = (time.perf_counter() - began) / FINDS * 1000
    size = f"{made.size_mb:.0f}"
    return [name, str(len(made.versions)), size, f"{ours:.1f}", f"{theirs:.1f}", f"{find:.2f}"]


def make(name: str, lock: Path, root: Path):
    began = time.perf_counter()
    made = asyncio.run(Environments(root).install(name, lock))
    return made, time.perf_counter() - began


def unlocked(lock: Path, place: Path) -> float:
    """Return the seconds that uv takes to resolve and install what the lock was made from."""
    began = time.perf_counter()
    for arguments in (
        ("venv", "--quiet", "--python", sys.executable, str(place)),
        (
            *("pip", "install", "--quiet", "--compile-bytecode"),
            *("--python", str(place / "bin/python"), "-r", str(lock.with_suffix(".in"))),
        ),
    ):
        command = [uv.find_uv_bin(), *arguments]
        subprocess.run(command, check=True, env=uv_environment(os.environ))
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
