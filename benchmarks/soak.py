"""A thousand runs in one kernel: memory, file descriptors, tasks and threads stay flat.

    python benchmarks/soak.py [RUNS]

Every tenth run is interrupted, every seventh fails. Exit status 1 where something grew.
"""

from __future__ import annotations

import sys

from notebook import Bench, table

# Out[n] holds every run on purpose, up to IPython's own bound: it is emptied before the count.
PROBE = (
    "get_ipython().displayhook.flush()\n"
    "import os, gc, threading, asyncio, psutil\ngc.collect()\n"
    "print(psutil.Process().memory_info().rss >> 10, len(os.listdir('/proc/self/fd')),\n"
    "      len(asyncio.all_tasks()), threading.active_count())"
)


def main(runs: int) -> int:
    bench = Bench()
    kernel = bench.kernel()
    kernel.run("def f(x: int = 1) -> str:\n    'F.'\n    return 'ok'")
    rows = []
    try:
        for number in range(runs + 1):
            if number % max(1, runs // 5) == 0:
                probe = [int(word) for word in kernel.run(PROBE).stdout.split()]
                names = ("rss_kb", "fds", "tasks", "threads")
                rows.append({"runs": number, **dict(zip(names, probe, strict=True))})
                print(rows[-1], flush=True)
            one_run(kernel, number)
    finally:
        kernel.close()
        bench.close()
    print(table(rows))
    first, last = rows[1], rows[-1]
    grown = [name for name in ("fds", "tasks", "threads") if last[name] > first[name] + 1]
    per_run = (last["rss_kb"] - first["rss_kb"]) / (last["runs"] - first["runs"])
    print(f"{per_run:.2f} kB a run after the first fifth; grown: {grown or 'nothing'}")
    return int(bool(grown) or per_run > 20)


def one_run(kernel, number: int) -> None:
    if number % 10 == 9:
        cell = kernel.start("%%agent -m text-100000-r200\ngo", stop_on_error=False)
        cell.wait_for("ZQ0")
        kernel.interrupt()
        kernel.wait(cell)
    elif number % 7 == 6:
        kernel.run("%%agent -m err-400\ngo")
    elif number % 3 == 0:
        kernel.run("%%agent -m tool-f --tools f\ngo")
    else:
        kernel.run("%%agent -m text-2000\ngo")
    kernel.cells.clear()


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
