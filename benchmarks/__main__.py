"""Run the benchmarks one after the other: ``python -m benchmarks [NAME …]``.

Each measures side by side with what people use instead, in one run, and prints a table.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NAMES = (
    "model_stream",
    "gateway",
    "cassette",
    "resolve",
    "worker",
    "frameworks",
    "notebook",
    "defang",
    "install",
    "soak",
)


def main(names: list[str]) -> int:
    unknown = set(names) - set(NAMES)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}")
        return 2
    failed = 0
    for name in names or NAMES:
        print(f"\n# {name}", flush=True)
        script = Path(__file__).with_name(f"{name}.py")
        failed |= subprocess.run([sys.executable, str(script)], check=False).returncode
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
