"""Twenty background runs at a time, stopped and interrupted at random: nobody's output strays."""

from __future__ import annotations

import contextlib
import random
import re
import time
from pathlib import Path

import pytest

from tframex_nb.frameworks.environments import Environments, shipped_locks

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(240)]

RUNS = 20
LIMIT = 20  # at the same time: a queue would spare the kernel
QUICK = 1.0  # seconds; twenty runs and a full machine take some of them
PATIENCE = 30.0  # seconds
SHOWN = {"stream", "display_data", "update_display_data", "execute_result", "error", "clear_output"}

TOOLS = """
import asyncio, gc, sys, threading, time
from IPython.display import display
from tframex_nb import tool

def speak(mark):
    print(f'{mark} out'); print(f'{mark} err', file=sys.stderr)
    display({'text/plain': f'{mark} shown'}, raw=True)

async def often(mark: str):
    'Speak often.'
    for _ in range(20):
        await asyncio.sleep(0.05)
        speak(mark)
    return mark

@tool(thread=True)
def aside(mark: str):
    'Speak from a thread.'
    for _ in range(20):
        time.sleep(0.05)
        speak(mark)
    return mark

def short(mark: str):
    'Speak.'
    time.sleep(0.01)
    speak(mark)
    return mark

handles = {}
"""


def model_of(number: int, dice: random.Random) -> str:
    """Return options for a run: it talks at length, calls a loud tool, hangs or fails."""
    kind = dice.choice(["talk", "talk", "often", "aside", "short", "hang", "fail"])
    mark = f'{{"mark":"M{number:02d}M"}}'
    return {
        "talk": "-m text-4000-r100",
        "hang": "-m hang",
        "fail": "-m err-401",
    }.get(kind, f"-m 'tool-{kind}-{mark}' --tools {kind}")


def counts(kernel) -> str:
    """What is alive in the kernel, apart from what it needs itself."""
    cell = kernel.run(
        "gc.collect()\n"
        "names = [t.name for t in threading.enumerate() if not t.name.startswith('asyncio_')]\n"
        "print(len(asyncio.all_tasks()), 'tasks', *sorted(names))"
    )
    assert cell.status == "ok", cell.error
    return cell.stdout


@pytest.mark.parametrize("seed", [1, 2])
def test_output_stays_in_its_cell_and_nothing_is_left(new_kernel, clock, seed):
    dice = random.Random(seed)
    kernel = new_kernel(
        TFRAMEX_API_URL=clock.url, TFRAMEX_MODEL="text-40", TFRAMEX_BACKGROUND_LIMIT=str(LIMIT)
    )
    try:
        assert kernel.run("%load_ext tframex_nb").status == "ok"
        assert kernel.run(TOOLS).status == "ok"
        # the first run starts what is kept: the pool of connections
        kernel.run("%%agent --background -m text-8 --out h\ngo")
        kernel.run("await h\ndel h, _\nOut.clear()")
        before = counts(kernel)
        kernel.strays.clear()
        cells = {}
        for number in range(RUNS):
            options = model_of(number, dice)
            cell = kernel.run(f"%%agent --background {options} --out h\nprompt M{number:02d}M")
            assert cell.status == "ok", cell.error
            kernel.run(f"handles[{number}] = h")
            cells[number] = cell
        others = disturb(kernel, dice)
        assert kernel.run("%runs stop all").status == "ok"
        ended = kernel.run(
            "states = []\n"
            "for n, h in handles.items():\n"
            "    await h.wait()\n"
            "    states.append(h.status)\n"
            "print(states)",
            timeout=PATIENCE,
        )
        assert ended.status == "ok", ended.error
        others.append(ended)
        until(lambda: not open_runs(clock), lambda: open_runs(clock))
        time.sleep(0.5)  # a message that strays, or a thread that still speaks, needs a moment
        check_homes(cells, others)
        assert not [m for m in kernel.strays if m.type in SHOWN]
        kernel.run("handles.clear()\ndel h, _, __, ___\nOut.clear()")
        until(lambda: counts(kernel) == before, lambda: f"{before} -> {counts(kernel)}")
    finally:
        kernel.close()


FRAMEWORKS = ("langgraph", "crewai")


@pytest.mark.frameworks
@pytest.mark.parametrize("end", ["stop", "shutdown"])
def test_runs_in_workers_keep_to_their_cells_and_leave_no_process(
    new_kernel, clock, root, missing_part, end
):
    """Two frameworks, one of which must be killed to be stopped; tools of the notebook."""
    places = root / ".venvs" / "frameworks"
    for name in FRAMEWORKS:
        if Environments(places).find(name, shipped_locks()[name]) is None:
            missing_part(f"{name} is not installed: make frameworks")
    dice = random.Random(3)
    kernel = new_kernel(
        TFRAMEX_API_URL=clock.url, TFRAMEX_MODEL="text-40", TFRAMEX_FRAMEWORKS_DIR=str(places)
    )
    try:
        assert kernel.run("%load_ext tframex_nb").status == "ok"
        assert kernel.run(TOOLS).status == "ok"
        kernel.strays.clear()
        cells = {}
        for number in range(10):
            mark = f'{{"mark":"M{number:02d}M"}}'
            kinds = [f"-m 'tool-often-{mark}' --tools often", "-m text-4000-r100", "-m hang"]
            options = f"-f {FRAMEWORKS[number % 2]} {dice.choice(kinds)}"
            cells[number] = kernel.run(f"%%agent --background {options} --out h\nprompt")
            assert cells[number].status == "ok", cells[number].error
            kernel.run(f"handles[{number}] = h")
        until(lambda: sum(bool(run["received"]) for run in clock.runs()) >= 2)
        workers = children(kernel.pid)
        assert workers
        for number in dice.sample(range(10), 4):
            time.sleep(dice.uniform(0.1, 0.5))
            kernel.run(f"handles[{number}].stop()")
            cell = kernel.start("await asyncio.sleep(30)")
            interrupted(kernel, cell, dice)
            kernel.run("None")
        if end == "shutdown":
            workers |= children(kernel.pid)
            kernel.client.shutdown()
        else:
            kernel.run("%runs stop all")
            ended = kernel.run("for h in handles.values(): await h.wait()", timeout=PATIENCE)
            assert ended.status == "ok", ended.error
            workers = children(kernel.pid)
            assert kernel.run("%unload_ext tframex_nb").status == "ok"
        until(lambda: not alive(workers), lambda: f"{alive(workers)} live")
        until(lambda: not open_runs(clock), lambda: open_runs(clock))
        check_homes(cells, [])
        assert not [m for m in kernel.strays if m.type in SHOWN]
    finally:
        kernel.close()


def children(pid: int) -> set[int]:
    """Return the processes that a process started, and theirs."""
    found: set[int] = set()
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found |= {int(child) for child in listing.read_text().split()}
    return found.union(*(children(child) for child in found))


def alive(pids: set[int]) -> set[int]:
    """Return those that still run; one that is dead and waited for by nobody does not."""
    out = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            out |= set() if state == "Z" else {pid}
    return out


def disturb(kernel, dice: random.Random) -> list:
    """Stop some, interrupt other cells, and see that the kernel answers all the while."""
    others = []
    for _ in range(12):
        match dice.randrange(4):
            case 0:
                number = dice.randrange(RUNS)
                others.append(kernel.run(f"handles[{number}].stop()"))
            case 1:
                cell = kernel.start("%%agent -m text-100000-r100\ngo")
                others.append(interrupted(kernel, cell, dice))
            case 2:
                cell = kernel.start("await asyncio.sleep(30)")
                others.append(interrupted(kernel, cell, dice))
            case 3:
                cell = kernel.start(f"await handles[{dice.randrange(RUNS)}].wait()")
                others.append(interrupted(kernel, cell, dice))
        kernel.run("None")  # ipykernel may abort what follows an error at once
        asked = kernel.run("1 + 1")
        assert asked.status == "ok"
        assert asked.idle - asked.sent < QUICK
        others.append(asked)
    return others


def interrupted(kernel, cell, dice: random.Random):
    """Interrupt a cell once it runs: an interrupt before that is for nobody."""
    until(lambda: any(m.type == "execute_input" for m in cell.messages))
    time.sleep(dice.uniform(0.05, 0.4))
    kernel.interrupt()
    return kernel.wait(cell, 10)


def check_homes(cells: dict, others: list) -> None:
    """Every run has spoken in its own cell, to the end, and nowhere else."""
    for number, cell in cells.items():
        mine = f"M{number:02d}M"
        shown = [m for m in cell.messages if m.type in SHOWN]
        assert shown, f"cell {number} shows nothing"
        for message in shown:
            said = str(message.content)
            strange = [f"M{n:02d}M" for n in cells if f"M{n:02d}M" in said and n != number]
            assert not strange, f"{strange} in cell {mine}: {said}"
        last = [d for d in cell.displays if "text/markdown" in d][-1]["text/markdown"]
        assert "background" not in last, f"cell {number} still says that it runs: {last}"
        assert last.rstrip("*").endswith(("s", "tokens/s"))
    for cell in others:
        strange = [m for m in cell.visible() if re.search(r"M\d\dM", str(m.content))]
        assert not strange, f"in another cell: {strange}"


def until(holds, told=str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"not after {PATIENCE} s: {told()}"
        time.sleep(0.05)


def open_runs(clock) -> list[str]:
    """The models that still answer a run which has gone away."""
    runs = clock.runs()
    refused = {n for n, run in enumerate(runs) if run["model"].startswith("err-")}
    return [
        run["model"]
        for n, run in enumerate(runs)
        if n not in refused and not (run["closed"] or run["last"])
    ]
