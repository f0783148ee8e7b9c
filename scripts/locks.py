"""Make the locks of the frameworks' environments, and measure what each one costs.

Usage: ``python scripts/locks.py [--upgrade] [--no-sizes] [NAME …]``.

A lock is universal (one file for every system and Python that it names) and hashed; it holds no
index, no host and no path. Without ``--upgrade`` versions stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import uv

from tframex_nb.frameworks._lock import Lock

LOCKS = Path(__file__).parents[1] / "tframex_nb/frameworks/adapters/locks"
SIZES = LOCKS / "sizes.json"
HEADER = "# Made from {name}.in by `make locks`: universal, hashed, wheels only.\n"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
OLDEST = PYTHONS[0]
OLDEST_MACOS = "14.0"  # older ones have no wheels of onnxruntime, which crewai pulls
MB = 1e6  # bytes


def main() -> int:
    """Make the locks that are named, or all of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="all of them without a name")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    parser.add_argument("--no-sizes", action="store_true", help="do not install to measure")
    options = parser.parse_args()
    for name in options.names or sorted(path.stem for path in LOCKS.glob("*.in")):
        lock = compile_lock(name, upgrade=options.upgrade)
        held = [python for python in PYTHONS if lock.allows(python)]
        for python in held:
            check(lock, python)
        print(f"{name}: resolves on {', '.join(held)}", flush=True)
        if not options.no_sizes:
            write_size(name, measure(lock))
    return 0


def compile_lock(name: str, *, upgrade: bool) -> Lock:
    """Resolve ``NAME.in`` into ``NAME.txt``; what it already pins stays, unless upgraded."""
    source, target = LOCKS / f"{name}.in", LOCKS / f"{name}.txt"
    run_uv(
        *("pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header"),
        *("--only-binary", ":all:", "--emit-build-options", "--annotation-style", "line"),
        *("--python-version", OLDEST, *(["--upgrade"] if upgrade else [])),
        *(source.name, "--output-file", target.name),
    )
    requires = next(li for li in source.read_text().splitlines() if "requires-python" in li)
    target.write_text(HEADER.format(name=name) + requires + "\n" + target.read_text())
    return Lock.read(target)


def check(lock: Lock, python: str) -> None:
    """Fail where a wheel is missing for this Python on Linux or macOS."""
    for platform in ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "macos"):
        with tempfile.TemporaryDirectory() as folder:
            run_uv(
                *("pip", "install", "--quiet", "--dry-run", "--require-hashes"),
                *("--python-version", python, "--python-platform", platform),
                *("--target", folder, "-r", str(lock.path)),
            )


def measure(lock: Lock) -> dict[str, object]:
    """Return what an environment of this lock costs, on this system and this Python."""
    with tempfile.TemporaryDirectory() as folder:
        fetched, place = Path(folder, "wheels"), Path(folder, "place")
        fetch(lock, fetched, tools=Path(folder, "tools"))
        wheels = [wheel.stat().st_size for wheel in fetched.iterdir()]
        run_uv("venv", "--quiet", "--no-python-downloads", "--python", sys.executable, str(place))
        run_uv(
            *("pip", "install", "--quiet", "--require-hashes", "--compile-bytecode"),
            *("--python", str(place / "bin/python"), "-r", str(lock.path)),
        )
        disk = sum(p.lstat().st_size for p in place.rglob("*") if not p.is_dir())
    return {
        "lock": lock.digest,
        "packages": len(wheels),
        "download_mb": round(sum(wheels) / MB, 1),
        "disk_mb": round(disk / MB, 1),
    }


def fetch(lock: Lock, folder: Path, *, tools: Path) -> None:
    """Download the wheels as files, which only pip can do; it gets an environment in ``tools``."""
    run_uv("venv", "--quiet", "--seed", "--python", sys.executable, str(tools))
    run(
        *(str(tools / "bin/python"), "-m", "pip", "download", "--quiet", "--no-deps"),
        *("--disable-pip-version-check", "--require-hashes"),
        *("--dest", str(folder), "-r", str(lock.path)),
    )


def write_size(name: str, size: dict[str, object]) -> None:
    """Put one measurement into ``sizes.json``."""
    sizes = json.loads(SIZES.read_text()) if SIZES.exists() else {}
    sizes[name] = size
    SIZES.write_text(json.dumps(sizes, indent=2, sort_keys=True) + "\n")
    print(f"{name}: {size}", flush=True)


def run_uv(*arguments: str) -> None:
    """Run uv."""
    run(uv.find_uv_bin(), *arguments)


def run(*command: str) -> None:
    """Run a command in the folder of the locks; its own words are shown where it fails."""
    system = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": OLDEST_MACOS}
    subprocess.run(command, cwd=LOCKS, check=True, env=system)  # noqa: S603 - all words are ours


if __name__ == "__main__":
    raise SystemExit(main())
