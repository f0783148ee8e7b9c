"""What a cell costs: loading, first text, bytes on the wire, interrupts, in a real kernel.

    python benchmarks/notebook.py [load] [wire] [interrupt] [--json FILE]

Every figure is measured beside a naive cell (``update_display`` for each chunk at 20 Hz) or a
plain await in the same run. Times depend on the machine, bytes and messages do not.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"


def _load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


kernels = _load(TESTS / "notebook" / "kernels.py")

NAIVE = """
import json, httpx, time, asyncio
from IPython.display import Markdown, display, update_display
async def naive(model, hz=20):
    text, painted = "", 0.0
    display(Markdown(""), display_id="n" + model)
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "go"}]}
    async with httpx.AsyncClient(timeout=60) as client:
        async with client.stream("POST", "URL/chat/completions", json=body) as response:
            async for line in response.aiter_lines():
                if not line.startswith("data: {"): continue
                choices = json.loads(line[6:])["choices"]
                text += choices[0]["delta"].get("content", "") if choices else ""
                if time.monotonic() - painted > 1 / hz:
                    painted = time.monotonic()
                    update_display(Markdown(text), display_id="n" + model)
    update_display(Markdown(text), display_id="n" + model)
"""


class Bench:
    def __init__(self) -> None:
        command = [sys.executable, str(TESTS / "servers" / "clock_server.py")]
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.server.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.folder = tempfile.TemporaryDirectory()

    def kernel(self, *, load: bool = True):
        env = {"TFRAMEX_API_URL": self.url, "TFRAMEX_MODEL": "text-40"}
        kernel = kernels.Kernel(env=env, cwd=self.folder.name)
        if load:
            kernel.run("%load_ext tframex_nb")
            kernel.run(NAIVE.replace("URL", self.url))
            kernel.run("%%agent\nwarm up")
        return kernel

    def get(self, path: str):
        url = f"http://127.0.0.1:{self.port}/{path}"
        with urllib.request.urlopen(url, timeout=5) as reply:
            return json.load(reply)

    def close(self) -> None:
        self.server.terminate()
        self.server.wait()
        self.folder.cleanup()


def load(bench: Bench) -> list[dict]:
    """Modules, CPU and output of ``%load_ext``, in a fresh kernel."""
    rows = []
    for _ in range(3):
        kernel = bench.kernel(load=False)
        code = (
            "import sys, time\n_m, _t = set(sys.modules), time.process_time()\n"
            "get_ipython().run_line_magic('load_ext', 'tframex_nb')\n"
            "_t = time.process_time() - _t; print(len(set(sys.modules) - _m), _t)"
        )
        modules, cpu = kernel.run(code).stdout.split()
        quiet = not kernel.run("%reload_ext tframex_nb").visible()
        rows.append({"modules": int(modules), "cpu_s": float(cpu), "silent": quiet})
        kernel.close()
    best = min(rows, key=lambda row: row["cpu_s"])
    return [{"what": "%load_ext tframex_nb", **best}]


def wire(bench: Bench) -> list[dict]:
    """Bytes, messages and first text of a live answer, ours beside the naive cell."""
    kernel = bench.kernel()
    rows = []
    for size, rate, chunk in ((10_000, 500, 4), (100_000, 5000, 4), (1_000_000, 5000, 16)):
        model = f"text-{size}-r{rate}-c{chunk}"
        naive = size <= 100_000
        for name, code in (
            ("%%agent", f"%%agent -m {model}\ngo"),
            ("update_display 20 Hz", f"await naive({model!r})"),
        ):
            if name != "%%agent" and not naive:
                continue
            bench.get("reset")
            cell = kernel.run(code, timeout=120)
            run = bench.get("stats")[-1]
            shown = next(m.time for m in cell.visible() if "ZQ0" in json.dumps(m.content))
            wire_bytes = sum(m.size for m in cell.messages)
            seconds = cell.idle - cell.sent
            row = {"what": name, "answer_bytes": size, "wire_bytes": wire_bytes}
            row |= {"ratio": round(wire_bytes / size, 1), "messages": len(cell.messages)}
            row |= {"messages_per_s": round(len(cell.messages) / seconds, 1)}
            row |= {"first_text_ms": round((shown - run["first"]) * 1000, 1)}
            row |= {"after_last_chunk_ms": round((cell.idle - run["last"]) * 1000, 1)}
            rows.append(row)
    kernel.close()
    return rows


INTERRUPTS = {
    "cell, mid-answer": "%%agent -m text-1000000-r200\ngo",
    "cell, before the first byte": "%%agent -m hang\ngo",
    "cell, sync tool": "%%agent -m tool-nap --tools nap\ngo",
    "cell, async tool": "%%agent -m tool-anap --tools anap\ngo",
    "top-level await agent.run": "await bob.run('go')",
    "%%time (nest-asyncio)": "%%time\n%%agent -m text-1000000-r200\ngo",
    "run_cell_magic loop (nest-asyncio)": (
        "for _ in range(2): get_ipython().run_cell_magic('agent', '-m text-1000000-r200', 'go')"
    ),
    "run_sync (nest-asyncio)": "bob.run_sync('go')",
    "plain await, no handler of ours": "await naive('text-1000000-r200')",
}


def interrupt(bench: Bench, rounds: int = 8) -> list[dict]:
    """Interrupt to idle, and to the upstream connection closed, in milliseconds."""
    kernel = bench.kernel()
    kernel.run(
        "import time, asyncio\nfrom tframex_nb import Agent\n"
        "bob = Agent('bob', model='text-1000000-r200')\n"
        "def nap():\n    'Sleep.'\n    print('napping', flush=True); time.sleep(30)\n"
        "async def anap():\n    'Sleep.'\n    print('napping', flush=True); await asyncio.sleep(30)"
    )
    rows = []
    for name, code in INTERRUPTS.items():
        idle, closed = [], []
        for _ in range(rounds):
            bench.get("reset")
            kernel.run("bob.conversation.reset()")
            cell = kernel.start(code)
            if "nap" in code:
                cell.wait_for("napping")
            else:
                wanted = "received" if "hang" in code else "first"
                while not any(run[wanted] for run in bench.get("stats")):
                    time.sleep(0.01)
                time.sleep(0.2)
            at = kernel.interrupt()
            kernel.wait(cell)
            idle.append((cell.idle - at) * 1000)
            time.sleep(0.1)
            gone = bench.get("stats")[-1]["closed"]
            if gone:
                closed.append((gone - at) * 1000)
        row = {"what": name, "idle_ms": round(statistics.median(idle), 1)}
        row |= {"idle_max_ms": round(max(idle), 1)}
        row |= {"closed_ms": round(statistics.median(closed), 1) if closed else None}
        row |= {"closed_max_ms": round(max(closed), 1) if closed else None}
        rows.append(row)
    kernel.close()
    return rows


def table(rows: list[dict]) -> str:
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(row.get(c, "")) for c in columns) + " |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["load", "wire", "interrupt"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    bench = Bench()
    results = {}
    try:
        for part in options.parts:
            results[part] = {"load": load, "wire": wire, "interrupt": interrupt}[part](bench)
            print(f"\n## {part}\n\n{table(results[part])}", flush=True)
    finally:
        bench.close()
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
