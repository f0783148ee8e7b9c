"""Runs behind their cells: at once a handle, output in one's own cell, nothing left at the end."""

from __future__ import annotations

import ast
import os
import time

import nbformat
import pytest
from naps import NAP
from nbclient import NotebookClient

from tframex_nb.frameworks.environments import Environments, shipped_locks

# named here too: older pytests do not look through a fixture of the same name for its scope
pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("shared_kernel")]

QUICK = 0.2  # seconds in which a kernel that is not held up answers; a first import takes longer
PATIENCE = 10.0  # seconds
LONG = "text-100000-r100"  # a model that talks for minutes

TOOLS = """
import asyncio, sys, threading, time
from IPython.display import clear_output, display
from tframex_nb import tool

def speak(mark):
    print(f'{mark} out')
    print(f'{mark} err', file=sys.stderr)
    display({'text/plain': f'{mark} shown'}, raw=True)
    clear_output(wait=True)
    display({'text/plain': f'{mark} again'}, raw=True)

def plain(mark: str):
    'Speak.'
    speak(mark)
    return 'ok'

gate = None

async def later(mark: str):
    'Speak when another cell runs.'
    await asyncio.sleep(0.3)
    speak(mark)
    return 'ok'

@tool(thread=True)
def aside(mark: str):
    'Speak from a thread.'
    time.sleep(0.3)
    speak(mark)
    return 'ok'

def nap():
    'Hold up the notebook.'
    print('napping', flush=True)
    [time.sleep(0.1) for _ in range(300)]

@tool(thread=True)
def doze():
    'Hold up a thread.'
    time.sleep(1)
    return 'rested'
"""


def value(kernel, expression: str):
    """Return what an expression is in the kernel: a literal."""
    cell = kernel.run(expression)
    assert cell.status == "ok", cell.error
    return ast.literal_eval(cell.displays[-1]["text/plain"])


def until(holds, patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end, f"not after {patience} s"
        time.sleep(0.01)


def behind(kernel, options: str = "", prompt: str = "go", **how):
    """Run a cell with ``--background``; return it."""
    cell = kernel.run(f"%%agent --background {options}\n{prompt}", **how)
    assert cell.status == "ok", cell.error
    return cell


def closed(clock) -> bool:
    return all(run["closed"] or run["last"] for run in clock.runs())


@pytest.fixture
def kernel(kernel):
    """A kernel with loud tools, in which nothing runs when the test begins and ends."""
    assert kernel.run(TOOLS).status == "ok"
    yield kernel
    assert kernel.run("%runs stop all").status == "ok"
    until(lambda: "stop ID" not in kernel.run("%runs").displays[0]["text/plain"])


def test_the_cell_returns_at_once_with_a_handle_that_is_bound_like_a_run(kernel, clock):
    cell = behind(kernel, "bob -m text-200-r50 --out h")
    assert clock.runs() == [] or not clock.runs()[0]["last"]
    assert "finished" not in cell.markdown
    bound = "(h is _, Out[len(In) - 2] is h, h.status, h.done, type(h).__name__)"
    assert value(kernel, bound) == (True, True, "running", False, "BackgroundRun")
    assert value(
        kernel, "run = await h; (run is h.run, run is bob.last, run.status, h.status)"
    ) == (
        True,
        True,
        "finished",
        "finished",
    )
    assert value(kernel, "run.text[:7], h.done, h.error") == ("ZQ0 001", True, None)


def test_the_final_answer_stands_in_the_cell_that_asked(kernel, clock):
    """One display, updated from later cells, that ends as that of a cell which waits."""
    cell = behind(kernel, "-m text-400-r100 --out h")
    others = [kernel.run("1 + 1")]
    until(lambda: "ZQ0 001" in cell.markdown)
    assert "background" in cell.markdown  # while it lasts, the number that stops it
    others.append(kernel.run("await h; None"))
    kinds = [m.type for m in cell.visible()]
    assert kinds[0] == "display_data"
    assert set(kinds[1:]) == {"update_display_data"}
    (shown,) = cell.displays
    assert shown["text/markdown"].startswith("ZQ0 001")
    assert shown["text/markdown"].rstrip("*").endswith("tokens/s")
    assert set(shown) == {"text/markdown", "text/plain"}
    assert [m.type for other in others for m in other.visible()] == ["execute_result"]


def test_the_handle_shows_its_state(kernel, clock):
    behind(kernel, "bob -m hang --out h")
    until(clock.runs)
    shown = kernel.run("h").displays[0]["text/plain"]
    number = value(kernel, "h.id")
    assert shown.startswith(f"<BackgroundRun {number} running: <Run running: bob on hang")
    assert shown.endswith(f"; %runs stop {number}>")
    assert value(kernel, "h.stop(); (h.status, h.done)") == ("stopping", False)
    kernel.run("await h")
    shown = kernel.run("print(h)").stdout
    assert shown.startswith(f"<BackgroundRun {number} interrupted: <Run interrupted: bob")
    assert "%runs" not in shown


@pytest.mark.parametrize("tool", ["plain", "later", "aside"])
def test_what_a_tool_prints_and_shows_is_in_the_cell_that_asked(kernel, clock, tool):
    """Synchronous, asynchronous and in a thread, while other cells run and print."""
    name = f"tool-{tool}" + '-{"mark":"M1"}'
    cell = behind(kernel, f"-m '{name}' --tools {tool} --out h")
    other = kernel.run("print('other out')\nawait h\nprint('other end')")
    assert other.status == "ok"
    assert other.stdout == "other out\nother end\n"
    assert not any("M1" in str(m.content) for m in other.visible())
    until(lambda: "M1 out" in cell.stdout and "M1 err" in cell.stderr)
    shown = [d.get("text/plain", "") for d in cell.displays]
    assert "M1 shown" in shown
    assert "M1 again" in shown
    assert "clear_output" in [m.type for m in cell.messages]
    assert not any("other" in str(m.content) for m in cell.visible())


def test_an_error_is_red_in_its_own_cell_and_kept_for_who_waits(kernel, clock):
    cell = behind(kernel, "-m err-401 --out h")
    until(lambda: cell.error)
    assert cell.error[0].startswith("AuthError: ")
    assert cell.error[0].endswith("refused the API key (401): on purpose")
    assert cell.error[1].startswith("hint: ")
    assert len(cell.error) <= 3
    assert "failed: AuthError" in cell.markdown
    other = kernel.run("await h")
    assert other.error == cell.error
    assert other.status == "error"
    assert value(kernel, "(h.status, h.run.status, type(h.error).__name__)") == (
        "failed",
        "failed",
        "AuthError",
    )


def test_a_foreign_error_is_three_lines_and_whole_for_who_waits(kernel, clock):
    kernel.run(
        "from tframex_nb.agents import BaseAgent\n"
        "class Bad(BaseAgent):\n"
        "    async def steps(self, messages, *, model, **params):\n"
        "        raise ValueError('one\\ntwo\\nthree\\nfour\\nfive')\n"
        "        yield\n"
        "bad = Bad('bad')"
    )
    cell = behind(kernel, "bad --out h")
    until(lambda: cell.error)
    assert cell.error == ["ValueError: one", "two", "three"]
    assert "raise ValueError(" in "\n".join(kernel.run("await h").error)


def test_nobody_waits_for_an_error_and_nothing_complains(new_kernel, clock, tmp_path):
    """No "Task exception was never retrieved", not even at the end."""
    with (tmp_path / "log").open("w") as log:
        kernel = new_kernel(log=log, TFRAMEX_API_URL=clock.url, TFRAMEX_MODEL="text-40")
        kernel.run("%load_ext tframex_nb")
        cell = behind(kernel, "-m err-401")
        until(lambda: cell.error)
        kernel.run("del _\nOut.clear()\nimport gc; gc.collect()")
        behind(kernel, "-m hang")
        kernel.close()
    said = (tmp_path / "log").read_text()
    assert "never retrieved" not in said
    assert "destroyed" not in said
    assert "AuthError" not in said


def test_only_so_many_run_and_the_queue_shows_its_place(new_kernel, clock):
    kernel = new_kernel(
        TFRAMEX_API_URL=clock.url, TFRAMEX_MODEL="hang", TFRAMEX_BACKGROUND_LIMIT="2"
    )
    try:
        kernel.run("%load_ext tframex_nb\nimport asyncio\nhandles = []")
        cells = []
        for _ in range(4):
            cells.append(behind(kernel))
            kernel.run("handles.append(_)")
        until(lambda: len(clock.runs()) == 2)
        states = "[(h.status, h.place) for h in handles]"
        assert value(kernel, states) == [
            ("running", 0),
            ("running", 0),
            ("queued", 1),
            ("queued", 2),
        ]
        assert "in the queue at place 2 while 2 others run" in cells[3].markdown
        compared = kernel.run("%%compare --background -f native\ngo")
        assert "in the queue at place 3 while 2 others run" in compared.markdown
        assert "*waiting" not in compared.markdown
        kernel.run("_.stop()")
        assert "queued, place 2" in kernel.run("handles[3]").displays[0]["text/plain"]
        rows = kernel.run("%runs").displays[0]["text/plain"].splitlines()
        assert [row[:1] for row in rows[1:5]] == ["1", "2", "3", "4"]
        assert "queued, place 1" in rows[3]
        kernel.run("handles[0].stop(); await handles[0]")
        until(lambda: len(clock.runs()) == 3)
        assert value(kernel, states)[2:] == [("running", 0), ("queued", 1)]
        until(lambda: "in the queue at place 1" in cells[3].markdown)
        # one that waits is stopped without having run
        assert value(kernel, "handles[3].stop(); r = await handles[3]; (r.status, r.text)") == (
            "interrupted",
            "",
        )
        assert "stopped" in cells[3].markdown
        assert len(clock.runs()) == 3
        kernel.run("%runs stop all\nfor h in handles: await h")
        until(lambda: closed(clock))
        assert value(kernel, "[h.status for h in handles]") == ["interrupted"] * 4
    finally:
        kernel.close()


@pytest.mark.parametrize("way", ["h.stop()", "%runs stop {id}", "%runs stop all"])
def test_a_stop_keeps_the_partial_answer_and_closes_the_connection(kernel, clock, way):
    cell = behind(kernel, f"-m {LONG} --out h")
    until(lambda: "ZQ0 001" in cell.markdown)
    number = value(kernel, "h.id")
    assert kernel.run(way.format(id=number)).status == "ok"
    assert value(kernel, "r = await h; (r.status, r.text[:7], h.status)") == (
        "interrupted",
        "ZQ0 001",
        "interrupted",
    )
    until(lambda: closed(clock))
    assert "ZQ0 001" in cell.markdown
    assert "stopped" in cell.markdown
    assert cell.error == []
    assert value(kernel, "h.stop(); h.status") == "interrupted"


def test_a_run_that_is_not_there_cannot_be_stopped(kernel, clock):
    behind(kernel, "-m hang --out h")
    number = value(kernel, "h.id")
    cell = kernel.run("%runs stop 777")
    assert f"no such run in the background; known: {number}" in cell.stdout + cell.stderr
    assert value(kernel, "h.status") == "running"
    assert "no such verb" in (cell := kernel.run("%runs sotp 1")).stdout + cell.stderr


@pytest.mark.parametrize(
    "other",
    [
        f"%%agent -m {LONG}\ngo",
        "await asyncio.sleep(30)",
        NAP,
        "await h",
        f"%%time\n%%agent -m {LONG}\ngo",
        "await asyncio.gather(h, asyncio.sleep(30))",
    ],
    ids=["agent", "await", "blocking", "the handle", "time", "gather"],
)
def test_an_interrupt_of_another_cell_leaves_it_running(kernel, clock, other):
    cell = behind(kernel, f"-m {LONG} --out h")
    until(lambda: "ZQ0 001" in cell.markdown)
    running = kernel.start(other)
    time.sleep(0.5)
    kernel.interrupt()
    kernel.wait(running, 10)
    assert running.error or "KeyboardInterrupt" in running.stdout + running.stderr
    length = value(kernel, "(h.status, len(h.run.text))")
    assert length[0] == "running"
    until(lambda: value(kernel, "len(h.run.text)") > length[1])


def test_an_interrupt_of_a_cell_that_waits_for_it_says_how_to_end_it(kernel, clock):
    behind(kernel, "-m hang --out h")
    number = value(kernel, "h.id")
    cell = kernel.start("await h")
    time.sleep(0.3)
    kernel.interrupt()
    kernel.wait(cell, 5)
    assert cell.error == [f"Stopped waiting: the run goes on; %runs stop {number} ends it."]


def test_an_interrupt_between_two_cells_leaves_it_running(kernel, clock):
    cell = behind(kernel, f"-m {LONG} --out h")
    until(lambda: "ZQ0 001" in cell.markdown)
    for _ in range(20):
        kernel.interrupt()
        time.sleep(0.02)
    assert value(kernel, "h.status") == "running"


@pytest.mark.parametrize("other", ["", "await asyncio.sleep(30)"], ids=["idle", "awaiting"])
def test_an_interrupt_frees_the_kernel_of_a_tool_that_blocks_it(kernel, clock, other):
    """The tool is interrupted, the model is told, the run goes on."""
    if other:  # it waits in the queue until the other cell runs
        for _ in range(4):
            behind(kernel, "-m hang --out first")
    cell = behind(kernel, "-m tool-nap --tools nap --out h")
    running = kernel.start(f"first.stop()\n{other}", stop_on_error=False) if other else None
    until(lambda: "napping" in cell.stdout)
    kernel.interrupt()
    assert kernel.run("1 + 1", timeout=5).status == "ok"
    assert running is None or running.status == "error"
    ended = kernel.run("r = await h")
    assert ended.status == "ok", ended.error
    assert value(kernel, "(r.status, r.text)") == ("finished", "done ")
    told = clock.runs()[-1]["messages"][-1]
    assert "the user interrupted it" in told["content"]


def test_a_tool_in_a_thread_does_not_hold_up_the_kernel(kernel, clock):
    behind(kernel, "-m tool-doze --tools doze --out h")
    until(clock.runs)
    for _ in range(5):
        cell = kernel.run("1 + 1")
        assert cell.idle - cell.sent < QUICK
    assert value(kernel, "h.status") == "running"
    assert value(kernel, "(await h).text") == "done "


def test_two_runs_of_one_agent_never_see_half_of_each_other(kernel, clock):
    """Each sees the turns that were whole when it began; all are kept, in the order they began."""
    kernel.run("%%agent bob -m text-8\nfirst")
    behind(kernel, "bob -m text-400-r100 --out a", "second", cell_id="cell-a")
    behind(kernel, "bob -m text-40-r100 --out b", "third", cell_id="cell-b")
    kernel.run("await a; await b")
    kernel.run("%%agent bob -m text-8\nfourth")
    asked = {run["messages"][-1]["content"]: run["messages"] for run in clock.runs()}
    for prompt in ("second", "third"):
        said = [(m["role"], m["content"][:6]) for m in asked[prompt]]
        assert said == [("user", "first"), ("assistant", "ZQ0 00"), ("user", prompt[:6])]
    users = [m["content"] for m in asked["fourth"] if m["role"] == "user"]
    assert users == ["first", "second", "third", "fourth"]
    assert value(kernel, "[len(t.messages) for t in bob.conversation.turns]") == [2] * 4


def test_a_run_in_the_queue_keeps_the_tools_that_its_cell_named(kernel, clock):
    """A later cell may give the agent others before its turn comes."""
    for _ in range(4):
        behind(kernel, "-m hang")
    marked = "tool-plain" + '-{"mark":"first"}'
    cell = behind(kernel, f"bob -m '{marked}' --tools plain --out h")
    assert value(kernel, "h.status") == "queued"
    kernel.run("%%agent bob --tools doze -m text-8\nhi")
    kernel.run("%runs stop 1")
    kernel.run("for n in range(99): get_ipython().run_line_magic('runs', f'stop {n}')")
    session = "get_ipython().magics_manager.registry['AgentMagics'].session"
    kernel.run(f"for each in {session}.background.active:\n    if each is not h: each.stop()")
    kernel.run("await h")
    until(lambda: "first out" in cell.stdout)


def test_running_the_cell_again_ends_what_it_left_going(kernel, clock):
    behind(kernel, f"bob -m {LONG} --out old", cell_id="the-cell")
    until(lambda: clock.runs() and clock.runs()[0]["first"])
    behind(kernel, "bob -m text-8 --out new", cell_id="the-cell")
    assert value(kernel, "await old; await new; (old.status, new.status)") == (
        "interrupted",
        "finished",
    )
    assert value(kernel, "[t.status for t in bob.conversation.turns]") == ["finished"]
    until(lambda: closed(clock))


def test_several_of_one_cell_go_on_beside_each_other(kernel, clock):
    """In a loop, too, where the kernel's loop is nested or need not be."""
    cell = kernel.run(
        "handles = []\n"
        "for n in range(3):\n"
        "    get_ipython().run_cell_magic('agent', '--background -m text-40-r50', f'go {n}')\n"
        "    handles.append(_)",
        cell_id="loop",
    )
    assert cell.status == "ok", cell.error
    assert value(kernel, "[h.status for h in handles]") == ["running"] * 3
    assert value(kernel, "[(await h).prompt for h in handles]") == ["go 0", "go 1", "go 2"]
    assert [d["text/markdown"][:7] for d in cell.displays] == ["ZQ0 001"] * 3


def test_a_system_runs_behind_its_cell(kernel, clock, tmp_path):
    """Its calls are one run, and take one place."""
    kernel.run("from tframex_nb import MultiCallSystem\ncalls = MultiCallSystem('calls')")
    cell = behind(kernel, f"calls -p num_calls=5 -p output_dir={tmp_path} --out h")
    assert value(kernel, "r = await h; (r.status, r is calls.last, r.text.count('call_'))") == (
        "finished",
        True,
        10,
    )
    assert len(list(tmp_path.glob("call_*.txt"))) == 5
    assert "call_5" in cell.markdown


def test_a_comparison_runs_behind_its_cell(kernel, clock):
    cell = kernel.run("%%compare --background -f native -m text-400-r100 --out c\ngo")
    assert cell.status == "ok", cell.error
    assert value(kernel, "(c.status, type(c.run).__name__)") == ("running", "Comparison")
    other = kernel.run("made = await c")
    assert other.visible() == []
    assert value(kernel, "(made is c.run, list(made.runs), c.status)") == (
        True,
        ["native"],
        "finished",
    )
    assert "ZQ0 001" in cell.markdown
    assert "| framework | answer |" in cell.markdown


def test_a_comparison_in_which_nobody_answered_is_red(kernel, clock):
    cell = kernel.run("%%compare --background -f native -m err-401 --out c\ngo")
    until(lambda: cell.error)
    assert cell.error[0] == "FrameworkError: no framework answered: native"
    assert kernel.run("await c").status == "error"


def test_a_name_that_means_nothing_is_told_by_the_cell(kernel, clock):
    """What can be known at once fails at once, and nothing is left going."""
    kernel.run("h = None")
    assert kernel.run("%%agent --background --out h\n{{ nothing }}").status == "error"
    assert kernel.run("%%agent --background -f nothing --out h\ngo").status == "error"
    assert value(kernel, "h is None")
    cell = behind(kernel, "--api-url ftp://nowhere --out h")
    until(lambda: cell.error)
    assert cell.error[0].startswith("SettingsError: ")
    assert "SettingsError" in kernel.run("await h").error[0]


def test_completion_knows_the_option_the_verb_and_the_ids(kernel, clock):
    assert "--background" in kernel.complete("%%agent --ba")
    assert "--background" in kernel.complete("%%compare --ba")
    assert "stop" in kernel.complete("%runs s")
    behind(kernel, "-m hang --out h")
    number = value(kernel, "h.id")
    assert {"all", number} <= set(kernel.complete("%runs stop "))


@pytest.mark.parametrize("how", ["unload_ext", "reload_ext"])
def test_unloading_ends_all_and_takes_everything_back(new_kernel, clock, how):
    kernel = new_kernel(TFRAMEX_API_URL=clock.url, TFRAMEX_MODEL="hang")
    try:
        kernel.run("%load_ext tframex_nb\nimport asyncio")
        own = value(kernel, "len(asyncio.all_tasks())")
        cells = [behind(kernel, f"-m {LONG} --out h")]
        until(lambda: "ZQ0 001" in cells[0].markdown)
        cells += [behind(kernel) for _ in range(6)]
        assert kernel.run(f"%{how} tframex_nb").status == "ok"
        until(lambda: value(kernel, "len(asyncio.all_tasks())") == own)
        assert value(kernel, "(h.status, h.run.text[:7])") == ("interrupted", "ZQ0 001")
        assert all("stopped" in cell.markdown for cell in cells)
        until(lambda: closed(clock))
        put = "[n for n in ('publish', 'clear_output') if n in vars(get_ipython().display_pub)]"
        assert value(kernel, put) == []
        if how == "reload_ext":
            cell = behind(kernel, "-m text-8 --out h")
            kernel.run("await h")
            until(lambda: "ZQ0" in cell.markdown)
    finally:
        kernel.close()


@pytest.mark.parametrize("way", ["shutdown", "restart"])
def test_a_kernel_that_ends_leaves_no_connection_and_says_stopped(new_kernel, clock, way):
    kernel = new_kernel(TFRAMEX_API_URL=clock.url, TFRAMEX_MODEL="hang")
    try:
        kernel.run("%load_ext tframex_nb")
        cells = [behind(kernel, f"-m {LONG}"), *(behind(kernel) for _ in range(5))]
        until(lambda: "ZQ0 001" in cells[0].markdown)
        if way == "shutdown":
            kernel.client.shutdown()
        else:
            kernel.manager.restart_kernel()
        until(lambda: closed(clock))
        until(lambda: all("stopped" in cell.markdown for cell in cells))
        assert "ZQ0 001" in cells[0].markdown
        if way == "restart":
            kernel._wait_ready()
    finally:
        kernel.close()


def test_a_kernel_that_is_killed_leaves_no_connection(new_kernel, clock):
    kernel = new_kernel(TFRAMEX_API_URL=clock.url, TFRAMEX_MODEL=LONG)
    kernel.run("%load_ext tframex_nb")
    behind(kernel)
    until(lambda: clock.runs() and clock.runs()[0]["first"])
    os.kill(kernel.pid, 9)
    until(lambda: closed(clock))
    kernel.close()


def test_a_headless_cell_waits_and_leaves_one_display(clock, monkeypatch):
    """A client keeps only what comes while the cell runs; the handle is there all the same."""
    monkeypatch.setenv("TFRAMEX_API_URL", clock.url)
    sources = (
        "%load_ext tframex_nb",
        "%%agent --background -m text-400-r200 --out h\ngo",
        "%%agent --background -m err-401 --out bad\ngo",
        "(h.status, (await h).text[:7], bad.status)",
    )
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    book = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(book, kernel_name="python3").execute()
    _, good, bad, seen = (cell.outputs for cell in book.cells)
    assert [output.output_type for output in good] == ["display_data"]
    assert good[0].data["text/markdown"].startswith("ZQ0 001")
    assert [output.output_type for output in bad] == ["display_data", "error"]
    assert bad[1].ename == "AuthError"
    assert seen[0].data["text/plain"] == "('finished', 'ZQ0 001', 'failed')"


def test_a_headless_cell_that_is_interrupted_ends_its_run(kernel, clock):
    cell = kernel.start(f"%%agent --background -m {LONG} --out h\ngo", allow_stdin=False)
    until(lambda: clock.runs() and clock.runs()[0]["first"])
    kernel.interrupt()
    kernel.wait(cell, 5)
    assert cell.status == "error"
    assert value(kernel, "await h; h.status") == "interrupted"
    until(lambda: closed(clock))
    assert "stopped" in cell.markdown


# On frameworks, in workers.


@pytest.fixture
def framework_kernel(new_kernel, clock, root):
    kernel = new_kernel(
        TFRAMEX_API_URL=clock.url,
        TFRAMEX_MODEL="text-40",
        TFRAMEX_FRAMEWORKS_DIR=str(root / ".venvs" / "frameworks"),
    )
    assert kernel.run("%load_ext tframex_nb").status == "ok"
    assert kernel.run(TOOLS).status == "ok"
    yield kernel
    kernel.close()


@pytest.mark.frameworks
@pytest.mark.parametrize("name", ["langgraph", "crewai", "openai_agents", "pydantic_ai"])
def test_frameworks_run_behind_their_cells(framework_kernel, clock, root, missing_part, name):
    """With tools of the notebook, whose output is in the cell; a stop ends what is upstream."""
    kernel = framework_kernel
    if Environments(root / ".venvs" / "frameworks").find(name, shipped_locks()[name]) is None:
        missing_part(f"{name} is not installed: make frameworks")
    marked = "tool-later" + '-{"mark":"M1"}'
    cell = behind(kernel, f"-f {name} -m '{marked}' --tools later --out h")
    other = kernel.run("r = await h")
    assert other.status == "ok", other.error
    assert other.visible() == []
    assert value(kernel, "(r.status, r.text, r.framework)") == ("finished", "done ", name)
    until(lambda: "M1 out" in cell.stdout and "M1 err" in cell.stderr)
    assert any(d.get("text/plain") == "M1 shown" for d in cell.displays)
    first = behind(kernel, f"-f {name} -m {LONG} --out a")
    second = behind(kernel, f"-f {name} -m text-400-r100 --out b")
    until(lambda: "ZQ0 001" in first.markdown, 60)
    assert value(kernel, "a.stop(); r = await a; (r.status, r.text[:7])") == (
        "interrupted",
        "ZQ0 001",
    )
    assert value(kernel, "r = await b; (r.status, r.text[:7])") == ("finished", "ZQ0 001")
    until(lambda: closed(clock))
    assert "stopped" in first.markdown
    assert "ZQ0 001" in second.markdown
    assert "stopped" not in second.markdown
