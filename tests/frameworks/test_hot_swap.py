"""Adapters change, come and go while runs stream: a run ends on what it began with."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from scripted_server import until
from service_bench import on_bench

from tframex_nb.errors import FrameworkLoadError, UnknownFramework, WorkerCrashed
from tframex_nb.frameworks.base import FrameworkIntegration
from tframex_nb.frameworks.worker import WorkerPool
from tframex_nb.messages import TextDelta

FILE = """\
import asyncio
import os
from tframex_nb.frameworks.base import NATIVE, FrameworkIntegration
from tframex_nb.messages import TextDelta

class Own(FrameworkIntegration):
    name = "own"
    templates = ("tricky",)
    capabilities = {"streaming": NATIVE, "memory": NATIVE}
    cancellable = CANCELLABLE

    async def execute_agent_streaming(self, request):
        if request.subject is not None:
            yield TextDelta(f"WORD {request.subject}")
            return
        for number in range(int(request.prompt)):
            yield TextDelta(f"WORD {os.getpid()} ")
            await asyncio.sleep(0.01)
"""
LIMITS = {"shared": {"memory_limit_mb": 4000}}
KINDS = {"here": ("True", {}), "shared": ("True", LIMITS["shared"]), "exclusive": ("False", {})}
everywhere = pytest.mark.parametrize("kind", KINDS)
in_workers = pytest.mark.parametrize("kind", ["shared", "exclusive"])


class Folder:
    """A directory that the configuration names, with one adapter."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path / "adapters" / "own" / "framework.py"
        self.path.parent.mkdir(parents=True)
        self.cancellable, limits = KINDS[kind]
        self.config = {
            "discovery": {"auto_scan": False, "directories": [str(path / "adapters")]},
            "framework_specific": {"own": limits},
        }
        self.write("one")

    def write(self, word: str) -> None:
        text = FILE.replace("WORD", word).replace("CANCELLABLE", self.cancellable)
        self.path.write_text(text, encoding="utf-8")


def swapped(tmp_path, kind, play):
    folder = Folder(tmp_path, kind)
    on_bench(tmp_path, lambda bench: play(bench, folder), load=False, **folder.config)


def words(run):
    return set(run.text.split()[::2])


def pids(run):
    return {int(each) for each in run.text.split()[1::2]}


def gone(pid):
    return not Path(f"/proc/{pid}").exists()


async def streaming(bench, prompt="60"):
    """Begin a run and wait until it says something."""
    agent, task = bench.start(prompt, "own")
    await until(lambda: agent.last is not None and agent.last.text)
    return task


@everywhere
def test_a_reload_takes_the_next_run_and_leaves_the_one_that_goes_on(tmp_path, kind):
    async def play(bench, folder):
        task = await streaming(bench)
        folder.write("two")
        await bench.frameworks.reload("own")
        new = await bench.run("3", "own")
        assert words(new) == {"two"}
        old = await task
        assert (old.status, words(old), len(old.text.split())) == ("finished", {"one"}, 120)
        assert old.framework == new.framework == "own"
        if kind != "here":
            assert pids(old).isdisjoint(pids(new))
            await until(lambda: all(map(gone, pids(old))))
            assert not any(map(gone, pids(new)))
        assert words(await bench.run("1", "own")) == {"two"}

    swapped(tmp_path, kind, play)


@in_workers
def test_an_idle_worker_of_the_old_code_ends_without_a_new_run(tmp_path, kind):
    async def play(bench, folder):
        (old,) = pids(await bench.run("1", "own"))
        folder.write("two")
        await bench.frameworks.reload("own")
        await until(lambda: gone(old))

    swapped(tmp_path, kind, play)


@in_workers
def test_the_old_workers_end_with_their_last_run(tmp_path, kind):
    """Nobody asks the new code for anything; two runs of the old end one after the other."""

    async def play(bench, folder):
        short, long = await streaming(bench, "20"), await streaming(bench, "100")
        folder.write("two")
        await bench.frameworks.reload("own")
        await short
        assert not long.done()
        old = pids(await short) | pids(await long)
        await until(lambda: all(map(gone, old)))

    swapped(tmp_path, kind, play)


@everywhere
@pytest.mark.parametrize("text", ["class Own(", "1 / 0", "x = 1"])
def test_a_broken_version_keeps_the_old_one(tmp_path, kind, text):
    """Also where no worker has run the old one yet: what is loaded counts, not the file."""

    async def play(bench, folder):
        await bench.frameworks.start()
        folder.path.write_text(text, encoding="utf-8")
        with pytest.raises(FrameworkLoadError):
            await bench.frameworks.reload("own")
        assert words(await bench.run("1", "own")) == {"one"}
        rows = await bench.frameworks.rows()
        assert [row["state"] for row in rows] == ["ready", "failed"]
        folder.write("two")
        await bench.frameworks.reload("own")
        assert words(await bench.run("1", "own")) == {"two"}
        assert len(await bench.frameworks.rows()) == 1

    swapped(tmp_path, kind, play)


@everywhere
def test_a_change_that_nobody_loaded_changes_nothing(tmp_path, kind):
    async def play(bench, folder):
        await bench.frameworks.start()
        folder.write("two")
        assert words(await bench.run("1", "own")) == {"one"}
        await bench.frameworks.reload("own")
        assert words(await bench.run("1", "own")) == {"two"}

    swapped(tmp_path, kind, play)


@everywhere
def test_a_watched_file_is_loaded_by_the_next_run(tmp_path, kind):
    async def play(bench, folder):
        assert words(await bench.run("1", "own")) == {"one"}
        folder.write("two")
        assert words(await bench.run("1", "own")) == {"two"}
        folder.path.write_text("broken(", encoding="utf-8")
        assert words(await bench.run("1", "own")) == {"two"}

    folder = Folder(tmp_path, kind)
    folder.config["discovery"]["watch"] = True
    on_bench(tmp_path, lambda bench: play(bench, folder), load=False, **folder.config)


@everywhere
@pytest.mark.parametrize("way", ["unload", "registry", "configuration"])
def test_one_that_goes_lets_its_runs_end(tmp_path, kind, way):
    """Unloaded by hand, taken out of the registry by a plugin, or no longer configured."""

    async def play(bench, folder):
        service = bench.frameworks
        task = await streaming(bench)
        if way == "unload":
            await service.unload("own")
        elif way == "registry":
            service.registry.unregister("own")
        else:
            bench.configure({})
            await service.reconfigure()
        with pytest.raises(UnknownFramework):
            await bench.run("1", "own")
        run = await task
        assert (run.status, len(run.text.split())) == ("finished", 120)
        if kind != "here":
            await until(lambda: all(map(gone, pids(run))))
            assert service.placement.pools() == {}
        await service.load(folder.path)
        assert words(await bench.run("1", "own")) == {"one"}

    swapped(tmp_path, kind, play)


@everywhere
def test_closing_the_service_ends_runs_on_old_and_new_code(tmp_path, kind):
    """A run that nobody stops does not hold the end up."""

    async def play(bench, folder):
        tasks = [await streaming(bench, "6000")]
        folder.write("two")
        await bench.frameworks.reload("own")
        tasks.append(await streaming(bench, "6000"))
        await bench.frameworks.unload("own")
        async with asyncio.timeout(10):
            await bench.frameworks.aclose()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    swapped(tmp_path, kind, play)


class Cell(FrameworkIntegration):
    """As it stands in a cell that is run twice."""

    name = "cell"

    async def execute_agent_streaming(self, request):
        for _ in range(int(request.prompt)):
            yield TextDelta("first ")
            await asyncio.sleep(0.01)


class CellAgain(Cell):
    async def execute_agent_streaming(self, request):
        yield TextDelta("second ")


def test_a_class_that_is_loaded_again_takes_the_next_run(tmp_path):
    async def play(bench):
        await bench.frameworks.load(Cell)
        agent, task = bench.start("50", "cell")
        await until(lambda: agent.last is not None and agent.last.text)
        bench.frameworks.registry.register_framework(CellAgain(), replace=True)
        assert (await bench.run("1", "cell")).text == "second "
        assert (await task).text == "first " * 50

    on_bench(tmp_path, play)


@in_workers
def test_what_a_cell_made_survives_a_reload_and_a_crash(tmp_path, kind):
    """The cells are run again in the workers of the new code, and in those after a crash."""

    async def play(bench, folder):
        service = bench.frameworks
        await service.run_cell("own", "x = 20", log=print)
        await service.run_cell("own", "def build():\n    return x + 1", log=print)
        assert (await bench.run("1", "own", subject="build")).text == "one 21"
        folder.write("two")
        await service.reload("own")
        assert (await bench.run("1", "own", subject="build")).text == "two 21"
        for worker in service.placement.pools()["own"].info():
            os.kill(worker.pid, 9)
        await asyncio.sleep(0.1)
        assert (await bench.run("1", "own", subject="build")).text == "two 21"
        await service.run_cell("own", "x = 1", log=print)
        bench.configure({**folder.config, "framework_specific": {"own": {"memory_limit_mb": 999}}})
        await service.reconfigure()
        assert (await bench.run("1", "own", subject="build")).text == "two 2"

    swapped(tmp_path, kind, play)


def test_a_hundred_reloads_under_load_lose_no_run_and_leave_no_worker(tmp_path):
    """Runs begin all the time; each is whole, and of one version."""

    async def play(bench, folder):
        runs = []

        async def busy():
            while len(runs) < 150:
                runs.append(await bench.run("3", "own"))

        workers = [asyncio.create_task(busy()) for _ in range(4)]
        for number in range(100):
            folder.write(f"v{number}")
            await bench.frameworks.reload("own")
            await asyncio.sleep(0.002)
        await asyncio.gather(*workers)
        assert {run.error for run in runs} == {None}
        assert all(len(words(run)) == 1 and len(run.text.split()) == 6 for run in runs)
        assert words(await bench.run("1", "own")) == {"v99"}

    swapped(tmp_path, "here", play)


def test_pools_follow_their_adapter_and_are_no_more_than_one(tmp_path):
    async def play(bench, folder):
        service = bench.frameworks
        await bench.run("1", "own")
        (pool,) = service.placement.pools().values()
        assert isinstance(pool, WorkerPool)
        assert (await bench.run("1", "own")).status == "finished"
        assert service.placement.pools() == {"own": pool}
        task = await streaming(bench, "6000")
        (pid,) = [worker.pid for worker in pool.info()]
        os.kill(pid, 9)
        assert type((await task).error) is WorkerCrashed
        assert service.placement.pools() == {"own": pool}

    swapped(tmp_path, "shared", play)
