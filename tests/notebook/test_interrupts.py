"""Stopping a run in a real kernel: at once, in one line, with nothing lost."""

from __future__ import annotations

import random
import time

import pytest
from naps import NAP

pytestmark = pytest.mark.kernel

PATIENCE = 5.0  # seconds; the figures themselves are measured in benchmarks/interrupt.py


def stop(kernel, cell, *, red: bool = True) -> None:
    """Interrupt the cell; it ends in one line of error."""
    kernel.interrupt()
    kernel.wait(cell, PATIENCE)
    assert cell.error == ["Stopped: the run was interrupted; the partial answer is kept."]
    assert cell.status == "error" or not red


def closed(clock) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if all(run["closed"] or run["last"] for run in clock.runs()):
            return
        time.sleep(0.01)
    raise AssertionError(f"a stream is still open: {clock.runs()}")


def test_interrupt_in_mid_answer_keeps_the_partial_text(kernel, clock):
    """One line of error, the partial answer marked as stopped, the stream closed."""
    cell = kernel.start("%%agent bob -m text-100000-r100 --out r\ngo")
    cell.wait_for("ZQ0 001")
    stop(kernel, cell)
    closed(clock)
    assert "stopped" in cell.markdown
    assert "ZQ0 001" in cell.markdown
    after = kernel.run("(r.status, r.text[:7], bob.last is r, _ is r)")
    assert after.displays[0]["text/plain"] == "('interrupted', 'ZQ0 001', True, True)"


def test_interrupt_before_the_first_byte(kernel, clock):
    cell = kernel.start("%%agent -m hang --out r\ngo")
    while not clock.runs():
        time.sleep(0.01)
    stop(kernel, cell)
    closed(clock)
    assert kernel.run("r.status").displays[0]["text/plain"] == "'interrupted'"


@pytest.mark.parametrize(
    "tool",
    ["def nap():\n    'Sleep.'\n    {}", "async def nap():\n    'Sleep.'\n    {}"],
    ids=["sync", "async"],
)
def test_interrupt_during_a_tool(kernel, clock, tool):
    """A sync tool holds the kernel's thread; it is interrupted inside, the kernel is not."""
    sleep = "await asyncio.sleep(30)" if "async" in tool else NAP
    kernel.run(tool.format(f"print('napping', flush=True); {sleep}"))
    cell = kernel.start("%%agent -m tool-nap --tools nap --out r\ngo")
    cell.wait_for("napping")
    stop(kernel, cell)
    assert kernel.run("r.status").displays[0]["text/plain"] == "'interrupted'"


def test_a_tool_that_swallows_the_interrupt_does_not_keep_the_run(kernel, clock):
    kernel.run(
        "def stubborn():\n"
        "    'Never give up.'\n"
        "    try:\n"
        "        print('working', flush=True)\n"
        f"        {NAP}\n"
        "    except BaseException: pass\n"
        "    return 'done'"
    )
    cell = kernel.start("%%agent -m tool-stubborn --tools stubborn\ngo")
    cell.wait_for("working")
    stop(kernel, cell)


def test_interrupt_while_an_expression_is_evaluated(kernel, clock):
    kernel.run(f"def slow():\n    print('busy', flush=True); {NAP}")
    cell = kernel.start("%%agent\n{{ slow() }}")
    cell.wait_for("busy")
    kernel.interrupt()
    kernel.wait(cell, PATIENCE)
    assert cell.status == "error"
    assert not clock.runs()


def test_the_next_cells_are_aborted_and_the_kernel_is_fine(kernel, clock):
    """Run All stops where the user stopped it; the next run works."""
    cell = kernel.start("%%agent -m text-100000-r100\ngo", stop_on_error=True)
    queued = kernel.start("print('never')", stop_on_error=True)
    cell.wait_for("ZQ0")
    stop(kernel, cell)
    kernel.wait(queued)
    assert queued.status == "aborted"
    # ipykernel 6 aborts for a moment longer
    while (after := kernel.run("%%agent\ngo")).status == "aborted":
        pass
    assert after.status == "ok"


@pytest.mark.parametrize(
    "code",
    [
        "%%time\nget_ipython().run_cell_magic('agent', '-m text-100000-r100 --out r', 'go')",
        "for i in range(3):\n"
        "    get_ipython().run_cell_magic('agent', '-m text-100000-r100 --out r', 'go')",
        "from tframex_nb import Agent\nbob = Agent('bob', model='text-100000-r100')\n"
        "print('ZQ0'); bob.run_sync('go')",
        "%%time\n%%agent -m text-100000-r100 --out r\ngo",
    ],
    ids=["time", "loop", "run_sync", "time above agent"],
)
def test_interrupt_on_the_synchronous_path(kernel, clock, code):
    """Under %%time, in a loop, in run_sync: nest-asyncio on the same loop, drained."""
    cell = kernel.start(code)
    cell.wait_for("ZQ0")
    while not clock.runs():
        time.sleep(0.01)
    # IPython before 9.6 shows the error of a %%time cell and calls the cell a success.
    stop(kernel, cell, red="%%time" not in code)
    closed(clock)
    assert len(clock.runs()) == 1
    assert kernel.run("%%agent\ngo").status == "ok"


@pytest.mark.parametrize(
    "code",
    [
        "await bob.run('go')",
        "await asyncio.gather(bob.run('go'), ann.run('go'))",
    ],
    ids=["alone", "gathered"],
)
def test_interrupt_of_a_top_level_await(kernel, clock, code):
    """The awaitable carries the same handler as a cell."""
    kernel.run(
        "from tframex_nb import Agent\n"
        "bob = Agent('bob', model='text-100000-r100')\n"
        "ann = Agent('ann', model='text-100000-r100')"
    )
    cell = kernel.start(code)
    while not any(run["first"] for run in clock.runs()):
        time.sleep(0.01)
    kernel.interrupt()
    kernel.wait(cell, PATIENCE)
    closed(clock)
    assert cell.status == "error"
    assert kernel.run("bob.last.status").displays[0]["text/plain"] == "'interrupted'"


def test_objects_bound_to_the_kernels_loop_work_inside_tools(kernel, clock):
    """A pooled httpx client, a contended Lock, a Queue fed by a task of an earlier cell."""
    kernel.run(
        "import httpx\n"
        f"client = httpx.AsyncClient(base_url='http://127.0.0.1:{clock.port}')\n"
        "await client.get('/stats')\n"
        "lock, queue = asyncio.Lock(), asyncio.Queue()\n"
        "await lock.acquire()\n"
        "async def feed():\n"
        "    while True:\n"
        "        await queue.put('fed'); await asyncio.sleep(0.01)\n"
        "feeder = asyncio.create_task(feed())\n"
        "asyncio.get_running_loop().call_later(0.05, lock.release)\n"
        "async def probe():\n"
        "    'Use them all.'\n"
        "    async with lock:\n"
        "        got = await queue.get()\n"
        "    return f'{(await client.get(\"/stats\")).status_code} {got}'"
    )
    for code in (
        "%%agent -m tool-probe --tools probe --out r\ngo",
        "r = get_ipython().run_cell_magic('agent', '-m tool-probe --tools probe', 'go')",
    ):
        assert kernel.run(code).status == "ok"
        shown = kernel.run("[m.text for m in r.messages if m.role == 'tool']")
        assert shown.displays[0]["text/plain"] == "['200 fed']"
    kernel.run("feeder.cancel(); await client.aclose()")


def test_a_thousand_interrupts_at_random_instants_leave_the_kernel_alive(kernel, clock):
    """Before, during and after runs of every kind; the kernel goes on as if nothing was."""
    kernel.run(
        "from tframex_nb import Agent\n"
        "bob = Agent('bob', model='text-2000-r500')\n"
        "def nap():\n    'Nap.'\n    time.sleep(0.02)"
    )
    codes = (
        "%%agent -m text-2000-r500\ngo",
        "%%agent -m tool-nap --tools nap\ngo",
        "%%agent -m hang\ngo",
        "%%time\n%%agent -m text-2000-r500\ngo",
        "await bob.run('go')",
        "bob.run_sync('go')",
    )
    dice = random.Random(7)
    for _ in range(200):
        cell = kernel.start(dice.choice(codes), stop_on_error=False)
        for _ in range(5):
            time.sleep(dice.random() * 0.02)
            kernel.interrupt()
        for _ in range(5):  # ipykernel may drop a request that it was interrupted in reading
            if cell.done.wait(0.5):
                break
            kernel.interrupt()
        assert kernel.manager.is_alive()
    assert kernel.run("%%agent --out r\ngo").status == "ok"
    assert kernel.run("r.status").displays[0]["text/plain"] == "'finished'"
    assert kernel.run("len(asyncio.all_tasks()) < 10").displays[0]["text/plain"] == "True"


def test_a_run_left_going_does_not_shield_the_cells_own_code(kernel, clock):
    """SIGINT is ours while a run lasts, also for code beside it that only an exception ends."""
    cell = kernel.start(
        "from tframex_nb import Agent\n"
        "left = asyncio.create_task(Agent('a', model='text-100000-r100').run('go'))\n"
        "await asyncio.sleep(0.2)\n"
        "print('busy', flush=True)\n" + NAP
    )
    cell.wait_for("busy\\n")
    kernel.interrupt()
    kernel.wait(cell, PATIENCE)
    assert cell.error[-1].strip() == "KeyboardInterrupt:"
    closed(clock)
    assert kernel.run("await asyncio.wait([left])").status == "ok"
    assert kernel.run("left.cancelled()").displays[-1]["text/plain"] == "True"
