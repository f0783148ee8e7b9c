"""Frameworks in real kernels, to the end: stopped, killed, crowded, mixed, shut down.

The frameworks are real where their own conduct matters; elsewhere a class in a cell runs in a
worker, as one that nobody can cancel does.
"""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from naps import NAP

from tframex_nb.frameworks.environments import Environments, shipped_locks

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]

ALL = (
    "native",
    "langgraph",
    "crewai",
    "autogen",
    "agent_framework",
    "openai_agents",
    "pydantic_ai",
    "smolagents",
)
EXCLUSIVE = {"crewai", "smolagents"}  # one run per process, which dies with a stop
STOPPED = ["Stopped: the run was interrupted; the partial answer is kept."]
BOUND = 1.0  # seconds from a stop to an idle kernel; 0.1 is promised, on a machine of one's own
SOON = 1.0  # seconds in which nothing may be left

# What the framework is does not matter here: it does what the prompt says, in a worker.
ODD = '''
import asyncio, os, signal, time
from tframex_nb.frameworks.base import NATIVE, FrameworkIntegration
from tframex_nb.messages import TextDelta

class Odd(FrameworkIntegration):
    """Does what the prompt says."""

    name = "odd"
    capabilities = {"streaming": NATIVE, "tools": NATIVE}
    cancellable = False

    async def initialize(self):
        time.sleep(IMPORT)

    async def execute_agent_streaming(self, request):
        act, _, rest = request.prompt.partition(" ")
        yield TextDelta(f"{act} in {os.getpid()}. ")
        if act == "spin":
            while True:
                pass
        if act == "wait":
            await asyncio.sleep(60)
        if act == "die":
            os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(60)
        if act == "call":
            yield TextDelta(await request.tools[0]({}))
        yield TextDelta("done")
'''


def value(kernel, expression: str):
    """Return what an expression is in the kernel: a literal."""
    cell = kernel.run(expression)
    assert cell.status == "ok", cell.error
    return ast.literal_eval(cell.displays[-1]["text/plain"])


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


def until(holds, patience: float = SOON) -> float:
    """Wait until something holds; return the seconds that it took."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < patience, f"not after {patience} s"
        time.sleep(0.005)
    return time.monotonic() - begun


def states(kernel, name: str) -> dict[int, str]:
    """Return what each worker of a framework does, by its pid."""
    return value(
        kernel,
        "pools = get_ipython().magics_manager.registry['FrameworkMagics'].session"
        ".runtime.frameworks.placement.pools()\n"
        f"{{w.pid: w.state for w in pools[{name!r}].info()}} if {name!r} in pools else {{}}",
    )


def stop(kernel, cell, about: str) -> float:
    """Interrupt a cell, which ends at once, in one line; return when (monotonic seconds)."""
    sent = kernel.interrupt()
    kernel.wait(cell)
    print(f"{about}: idle {1000 * (cell.idle - sent):.0f} ms after the stop")
    assert cell.error == STOPPED
    assert cell.idle - sent < BOUND
    return sent


def limits(kernel, folder: Path, line: str, name: str = "odd") -> None:
    """Configure a framework."""
    path = folder / "runtime-config.yaml"
    path.write_text(f"frameworks:\n  framework_specific:\n    {name}:\n      {line}\n")
    cell = kernel.run(f"%frameworks reconfigure {path}")
    assert cell.status == "ok", cell.error


def beside(kernel, name: str, framework: str, prompt: str, model: str = "text-40") -> None:
    """Run an agent beside the cells, where no interrupt reaches it; wait for its first words."""
    cell = kernel.run(
        "import asyncio\nfrom tframex_nb import Agent\nfrom tframex_nb.runtime import RunRequest\n"
        "session = get_ipython().magics_manager.registry['FrameworkMagics'].session\n"
        "async def drain(agent, prompt):\n"
        "    async for _ in session.runtime.stream(RunRequest(agent, prompt)): pass\n"
        f"{name} = Agent({name!r}, model={model!r}, framework={framework!r})\n"
        "tasks = globals().get('tasks', {})\n"
        f"tasks[{name!r}] = asyncio.create_task(drain({name}, {prompt!r}))\n"
        f"while not ({name}.last and {name}.last.text): await asyncio.sleep(0.01)"
    )
    assert cell.status == "ok", cell.error


@pytest.fixture(scope="session")
def environments(root) -> Environments:
    return Environments(root / ".venvs" / "frameworks")


@pytest.fixture
def needs(environments, missing_part):
    """Miss the part where a framework has no environment in this checkout."""

    def check(*names: str) -> None:
        locks = shipped_locks()
        for name in names:
            if name in locks and environments.find(name, locks[name]) is None:
                missing_part(f"{name} is not installed: make frameworks")

    return check


@pytest.fixture(scope="session")
def start_kernel(new_kernel, clock_server, root):
    """Start a kernel that finds the frameworks' environments of this checkout."""

    def start(**env: str):
        kernel = new_kernel(
            TFRAMEX_API_URL=clock_server.url,
            TFRAMEX_MODEL="text-40",
            TFRAMEX_FRAMEWORKS_DIR=str(root / ".venvs" / "frameworks"),
            **env,
        )
        assert kernel.run("%load_ext tframex_nb").status == "ok"
        return kernel

    return start


@pytest.fixture(scope="module")
def shared_kernel(start_kernel):
    kernel = start_kernel()
    yield kernel
    kernel.close()


@pytest.fixture
def own_kernel(start_kernel):
    """A kernel of this test alone, that it may kill."""
    kernel = start_kernel()
    yield kernel
    kernel.close()


def load_odd(kernel, import_seconds: float = 0) -> None:
    assert kernel.run(ODD.replace("IMPORT", str(import_seconds))).status == "ok"
    cell = kernel.run("%frameworks load Odd")
    assert cell.status == "ok", cell.error


@pytest.fixture
def odd(kernel):
    """A kernel with a framework of the user's own that runs in workers."""
    load_odd(kernel)
    yield kernel
    kernel.run("%frameworks unload odd")


@pytest.mark.frameworks
@pytest.mark.parametrize("name", ALL)
def test_an_interrupt_in_mid_answer_is_quick_and_leaves_nothing(kernel, clock, needs, name):
    """The partial text stays, the upstream is closed, no run goes on, the next cell works."""
    needs(name)
    warm = kernel.run(f"%%agent -f {name}\ngo")
    assert warm.status == "ok", warm.error
    workers = set(states(kernel, name))
    cell = kernel.start(f"%%agent -f {name} -m text-100000-r100 --out r\ngo")
    cell.wait_for("ZQ0 001")
    sent = stop(kernel, cell, name)
    until(lambda: all(run["closed"] or run["last"] for run in clock.runs()))
    print(f"{name}: upstream closed after {1000 * (clock.runs()[-1]['closed'] - sent):.0f} ms")
    assert "ZQ0 001" in cell.markdown
    assert value(kernel, "(r.status, r.text[:7], r.framework)") == ("interrupted", "ZQ0 001", name)
    if name in EXCLUSIVE:
        until(lambda: not alive(workers))
    else:
        until(lambda: set(states(kernel, name).values()) <= {"idle"})
        assert alive(workers) == workers
    cell = kernel.run(f"%%agent -f {name}\ngo")
    assert cell.status == "ok", cell.error
    assert "ZQ0" in cell.markdown


def test_an_interrupt_while_the_worker_starts(kernel):
    """The worker goes on to be ready: the next run finds it warm."""
    load_odd(kernel, import_seconds=1.5)
    cell = kernel.start("%%agent -f odd --out r\nsay")
    cell.wait_for("starting odd")
    stop(kernel, cell, "while it starts")
    (pid,) = states(kernel, "odd")
    assert value(kernel, "(r.status, r.text)") == ("interrupted", "")
    cell = kernel.run("%%agent -f odd\nsay")
    assert f"say in {pid}. done" in cell.markdown


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_interrupt_while_a_worker_waits_for_a_tool_of_the_notebook(odd, kind):
    """The tool ends with the run, and so does the worker, which nobody could cancel."""
    nap = {"sync": NAP, "async": "await asyncio.sleep(30)"}[kind]
    function = {"sync": "def", "async": "async def"}[kind]
    odd.run(
        "left = []\n"
        f"{function} nap():\n    'Nap.'\n    try:\n        print('napping', flush=True)\n"
        f"        {nap}\n    finally: left.append('left')"
    )
    cell = odd.start("%%agent -f odd --tools nap --out r\ncall")
    cell.wait_for("napping")
    workers = children(odd.pid)
    stop(odd, cell, f"in a tool ({kind})")
    assert value(odd, "(r.status, r.text[:7], left)") == ("interrupted", "call in", ["left"])
    until(lambda: len(alive(workers)) < len(workers))
    assert "done" in odd.run("%%agent -f odd\nsay").markdown


def test_an_interrupt_while_a_run_waits_for_its_turn(odd, tmp_path):
    """Only the cell is stopped; the run that holds the one slot goes on."""
    limits(odd, tmp_path, "max_concurrent_executions: 1")
    beside(odd, "holds", "odd", "wait")
    cell = odd.start("%%agent -f odd --out r\nsay")
    cell.wait_for("waiting until odd is free")
    stop(odd, cell, "while it waits")
    assert value(odd, "(r.status, holds.last.status)") == ("interrupted", "running")
    odd.run("tasks['holds'].cancel()")
    assert "done" in odd.run("%%agent -f odd\nsay").markdown


@pytest.mark.frameworks
@pytest.mark.parametrize("name", ["langgraph", "crewai"])
def test_a_worker_that_is_killed_fails_its_run_and_no_other(kernel, clock, needs, name):
    """The error is short and typed, what came before it stays, the next run works."""
    needs(name)
    warm = kernel.run(f"%%agent -f {name}\ngo")
    assert warm.status == "ok", warm.error
    workers = set(states(kernel, name))
    cell = kernel.start(f"%%agent -f {name} -m text-100000-r100 --out r\ngo")
    cell.wait_for("ZQ0 001")
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    kernel.wait(cell)
    assert cell.error[0] == (
        f"WorkerCrashed: {name} crashed: its worker's process ended (signal SIGKILL)"
    )
    assert len(cell.error) <= 3
    assert "ZQ0 001" in cell.markdown
    assert value(kernel, "(r.status, r.text[:7])") == ("failed", "ZQ0 001")
    until(lambda: all(run["closed"] or run["last"] for run in clock.runs()))
    cell = kernel.run(f"%%agent -f {name}\ngo")
    assert cell.status == "ok", cell.error


def test_a_kernel_that_is_killed_takes_its_workers_along(own_kernel):
    """One that is busy in Python code, one that waits, one whose framework is being imported."""
    load_odd(own_kernel)
    for name, prompt in (("busy", "spin"), ("idle", "wait")):
        beside(own_kernel, name, "odd", prompt)
    own_kernel.run(ODD.replace("IMPORT", "60").replace("Odd", "Late").replace('"odd"', '"late"'))
    own_kernel.run("%frameworks load Late")
    own_kernel.start("%%agent -f late\nsay").wait_for("starting late")
    workers = children(own_kernel.pid)
    assert len(workers) == 3
    os.kill(own_kernel.pid, signal.SIGKILL)
    print(f"workers gone after {1000 * until(lambda: not alive(workers)):.0f} ms")


@pytest.mark.frameworks
def test_a_kernel_that_is_killed_takes_every_framework_along(own_kernel, clock, needs):
    needs(*ALL)
    cell = own_kernel.start(f"%%compare -f {','.join(ALL)} -m text-100000-r100\ngo")
    until(lambda: sum(run["chunks"] > 1 for run in clock.runs()) == len(ALL), 60)
    workers = children(own_kernel.pid)
    assert len(workers) >= len(ALL) - 1
    os.kill(own_kernel.pid, signal.SIGKILL)
    print(f"{len(workers)} processes gone: {1000 * until(lambda: not alive(workers)):.0f} ms")
    assert not cell.done.is_set()


@pytest.mark.parametrize("way", ["shutdown", "restart"])
def test_a_kernel_that_ends_in_order_leaves_no_worker(own_kernel, way):
    """Idle workers end with it, and so does one that is in the midst of a run."""
    load_odd(own_kernel)
    assert own_kernel.run("%%agent -f odd\nsay").status == "ok"
    beside(own_kernel, "busy", "odd", "wait")
    old, workers = own_kernel.pid, children(own_kernel.pid)
    assert workers
    if way == "shutdown":
        own_kernel.client.shutdown()
        until(lambda: not alive({old}), 10)
    else:
        own_kernel.manager.restart_kernel()
    print(f"{way}: workers gone after {1000 * until(lambda: not alive(workers)):.0f} ms")
    if way == "restart":
        own_kernel._wait_ready()
        assert own_kernel.run("%load_ext tframex_nb").status == "ok"
        load_odd(own_kernel)
        assert "done" in own_kernel.run("%%agent -f odd\nsay").markdown


MIXED = ("crewai", "openai_agents", "pydantic_ai", "langgraph")
WEATHER = '''
asked = []
def weather(city: str) -> str:
    """Return the weather in a city."""
    asked.append(city)
    return f"sunny in {city}"
'''


@pytest.fixture
def mixed(kernel, needs):
    """A kernel with a tool defined in a cell, for frameworks that no one environment holds."""
    needs(*MIXED)
    assert kernel.run(WEATHER).status == "ok"
    return kernel


@pytest.mark.frameworks
def test_one_kernel_uses_what_cannot_live_together_one_after_the_other(mixed):
    for name in MIXED:
        cell = mixed.run(
            f"%%agent -f {name} -m demo:fast --tools weather --out r\nWhat is the weather in Rome?"
        )
        assert cell.status == "ok", cell.error
        assert "sunny in Rome" in cell.markdown
        assert value(mixed, "(r.framework, r.usage.total_tokens > 0)") == (name, True)
    assert value(mixed, "asked") == ["Rome"] * len(MIXED)


@pytest.mark.frameworks
def test_one_kernel_uses_what_cannot_live_together_at_the_same_time(mixed, clock):
    """Side by side in a comparison, each with the cell's tool; all four stream at once."""
    cell = mixed.run(
        f"%%compare -f {','.join(MIXED)} -m demo:fast --tools weather --out c\n"
        "What is the weather in Rome?"
    )
    assert cell.status == "ok", cell.error
    assert value(mixed, "list(c.runs)") == list(MIXED)
    assert value(mixed, "all('sunny in Rome' in r.text for r in c.runs.values())")
    assert value(mixed, "asked") == ["Rome"] * len(MIXED)
    cell = mixed.run(f"%%compare -f {','.join(MIXED)} -m text-200-r50\ngo")
    assert cell.status == "ok", cell.error
    runs = clock.runs()
    assert len(runs) == len(MIXED)
    assert max(run["first"] for run in runs) < min(run["last"] for run in runs)


@pytest.mark.frameworks
def test_a_conversation_is_changed_kept_and_taken_up_on_each_framework(mixed, tmp_path):
    """Edit, save and load a turn; the next one, on that framework again, sees what was changed."""
    for name in MIXED:
        agent = f"on_{name}"
        mixed.run(f"%%agent {agent} -f {name} -m demo:fast --define")
        assert mixed.run(f"%%agent {agent}\nMy town is Rome.").status == "ok"
        edited = mixed.run(f"%agents edit {agent} 1 My town is Oslo.")
        assert edited.status == "ok", edited.error
        assert value(mixed, f"{agent}.last.framework") == name
        assert mixed.run(f"%agents save {agent} {tmp_path}/{name}.json").status == "ok"
        assert mixed.run(f"%agents load {tmp_path}/{name}.json again_{name}").status == "ok"
        asked = mixed.run(f"%%agent again_{name}\nWhat is my town?")
        assert "Your town is Oslo." in asked.markdown, asked.markdown
        assert value(mixed, f"again_{name}.last.framework") == name


@pytest.mark.frameworks
def test_agents_on_different_frameworks_are_gathered(mixed):
    for name in MIXED:
        beside(mixed, f"on_{name}", name, "What is the weather in Rome?", model="demo:fast")
    cell = mixed.run("for task in tasks.values(): await task")
    assert cell.status == "ok", cell.error
    for name in MIXED:
        last = value(mixed, f"(on_{name}.last.framework, on_{name}.last.status)")
        assert last == (name, "finished")


# What a user writes in a cell: a client that blocks, so it runs in a worker, which is killed.
SHOUT = '''
import asyncio, http.client, json
from urllib.parse import urlsplit
from tframex_nb.frameworks.base import NATIVE, FrameworkIntegration
from tframex_nb.messages import TextDelta

class Shout(FrameworkIntegration):
    """Says what the model says, louder."""

    name = "shout"
    templates = ("customer-service-bot",)
    capabilities = {"streaming": NATIVE, "memory": NATIVE, "tools": NATIVE}
    cancellable = False

    async def execute_agent_streaming(self, request):
        answer = await asyncio.to_thread(self.ask, request)
        while row := await asyncio.to_thread(answer.readline):
            if row.startswith(b"data: {"):
                for choice in json.loads(row[6:])["choices"]:
                    if text := choice["delta"].get("content"):
                        yield TextDelta(text.replace("ZQ", "LOUD"))

    def ask(self, request):
        url = urlsplit(request.model.base_url)
        line = http.client.HTTPConnection(url.netloc)
        said = [message.to_dict() for message in request.messages]
        body = {"model": request.model.name, "stream": True, "messages": said}
        head = {"authorization": f"Bearer {request.model.api_key}"}
        line.request("POST", f"{url.path}/chat/completions", json.dumps(body), head)
        return line.getresponse()
'''


@pytest.mark.frameworks
def test_an_adapter_of_the_users_own_is_listed_chosen_and_swapped_in_mid_run(
    kernel, needs, tmp_path
):
    """Beside real frameworks: chosen once its weight says so, and replaced while it streams."""
    needs("langgraph")
    assert len(SHOUT.strip().splitlines()) <= 40
    auto = "%%agent -f auto -t customer-service-bot --out r\ngo"
    cell = kernel.run(SHOUT)
    assert cell.status == "ok", cell.error
    assert kernel.run("%frameworks load Shout").status == "ok"
    shown = kernel.run("%frameworks").displays[0]["text/plain"]
    row = next(line for line in shown.splitlines() if line.startswith("shout"))
    assert "ready" in row
    assert "worker" in row
    kernel.run(auto)
    assert value(kernel, "r.framework") == "langgraph"
    limits(kernel, tmp_path, "weight: 20", name="shout")
    cell = kernel.run(auto)
    assert cell.status == "ok", cell.error
    assert value(kernel, "(r.framework, r.resolution.chosen)") == ("shout", "shout")
    assert cell.markdown.count("LOUD0") == 1
    beside(kernel, "old", "shout", "go", model="text-2000-r100")
    assert kernel.run(SHOUT.replace("LOUD", "LOUDER")).status == "ok"
    cell = kernel.run("%frameworks load Shout")
    assert cell.status == "ok", cell.error
    assert "LOUDER0" in kernel.run("%%agent -f shout\ngo").markdown
    assert value(kernel, "old.last.status") == "running"
    assert kernel.run("await tasks['old']").status == "ok"
    assert value(kernel, "(old.last.status, old.last.text[:6])") == ("finished", "LOUD0 ")
    until(lambda: len(states(kernel, "shout")) == 1)
    kernel.run("%frameworks unload shout")
