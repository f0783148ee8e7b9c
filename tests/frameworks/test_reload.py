"""Hot reload: a changed file takes effect, and runs that go on finish on the old one."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys

import pytest

from tframex_nb.errors import FrameworkLoadError
from tframex_nb.frameworks._modules import PRIVATE
from tframex_nb.frameworks.base import FrameworkIntegration
from tframex_nb.frameworks.config import RuntimeConfig
from tframex_nb.frameworks.loader import FrameworkLoader
from tframex_nb.frameworks.registry import FrameworkRegistry

TEXT = """\
from tframex_nb.frameworks.base import FrameworkIntegration
from tframex_nb.messages import TextDelta

class Own(FrameworkIntegration):
    name = "own"
    open = True

    async def execute_agent_streaming(self, request):
        for _ in range(3):
            assert self.open
            yield TextDelta("WORD")

    async def aclose(self):
        self.open = False
"""


class Folder:
    """A directory with one adapter, and a loader that has found it."""

    def __init__(self, path):
        self.path = path / "framework.py"
        self.write("one")
        self.registry = FrameworkRegistry()
        config = {"discovery": {"auto_scan": False, "directories": [str(path)]}}
        self.loader = FrameworkLoader(self.registry, RuntimeConfig.model_validate(config))
        asyncio.run(self.loader.discover_and_load_frameworks())

    def write(self, word):
        self.path.write_text(TEXT.replace("WORD", word))

    def reload(self):
        return asyncio.run(self.loader.reload("own"))

    def said(self):
        """What the adapter says now."""
        return asyncio.run(self.registry.get_framework("own").execute_agent(None)).text


@pytest.fixture
def folder(tmp_path):
    before = set(sys.modules)
    folder = Folder(tmp_path)
    yield folder
    asyncio.run(folder.registry.aclose())
    for name in set(sys.modules) - before:
        if name.startswith(PRIVATE):
            del sys.modules[name]


def test_a_changed_file_takes_effect(folder):
    assert folder.said() == "one" * 3
    folder.write("two")
    folder.reload()
    assert folder.said() == "two" * 3


def test_the_source_counts_and_no_stale_bytecode(folder):
    """An edit of the same size within one tick of the clock looks unchanged to Python's cache."""
    stat = folder.path.stat()
    folder.write("two")
    os.utime(folder.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert folder.loader.changed() == ["own"]
    folder.reload()
    assert folder.said() == "two" * 3


def test_a_run_that_goes_on_finishes_on_the_old_one(folder):
    async def scene():
        registry = folder.registry
        words = []
        with registry.pin("own") as old:
            stream = old.execute_agent_streaming(None)
            words.append((await anext(stream)).text)
            folder.write("two")
            new = await folder.loader.reload("own")
            words += [event.text async for event in stream]
            assert old.open
        await asyncio.sleep(0.01)
        assert words == ["one"] * 3
        assert not old.open
        assert new.open
        assert registry.get_framework("own") is new

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("class Own(", "not valid Python"),
        ("1 / 0", "ZeroDivisionError"),
        ("x = 1", "defines no adapter"),
        (TEXT.replace('"own"', '"other"'), "holds 'other' now, no longer 'own'"),
        (TEXT.replace("open = True", "def __init__(self): raise OSError('x')"), "Own() fails"),
        (TEXT.replace("open = True", "templates = (1,)"), "its templates must"),
        (None, "is no file"),
    ],
)
def test_a_reload_that_fails_keeps_the_old_one(folder, text, reason):
    old = folder.registry.get_framework("own")
    loaded = set(sys.modules)
    if text is None:
        folder.path.unlink()
    else:
        folder.path.write_text(text)
    with pytest.raises(FrameworkLoadError) as caught:
        folder.reload()
    assert reason in caught.value.message
    (failure,) = folder.loader.failures
    assert (failure.name, failure.source) == ("own", str(folder.path))
    assert failure.reason == caught.value.message
    assert failure.hint
    assert folder.registry.get_framework("own") is old
    assert folder.said() == "one" * 3
    assert set(sys.modules) == loaded
    assert folder.loader.changed() == []  # told already
    folder.write("two")
    assert folder.loader.changed() == ["own"]
    folder.reload()
    assert folder.loader.failures == []
    assert folder.said() == "two" * 3


def test_changed_tells_of_text_and_not_of_time(folder):
    assert folder.loader.changed() == []
    os.utime(folder.path)
    assert folder.loader.changed() == []
    folder.write("two")
    assert folder.loader.changed() == ["own"]
    folder.reload()
    assert folder.loader.changed() == []


def test_refresh_applies_what_changed_came_or_was_mended(folder, tmp_path):
    folder.write("two")
    new = tmp_path / "new" / "framework.py"
    new.parent.mkdir()
    new.write_text("broken(")
    assert sorted(asyncio.run(folder.loader.refresh())) == sorted(["own", str(new)])
    assert folder.said() == "two" * 3
    assert [each.source for each in folder.loader.failures] == [str(new)]
    assert asyncio.run(folder.loader.refresh()) == []
    new.write_text(TEXT.replace('"own"', '"new"'))
    assert asyncio.run(folder.loader.refresh()) == [str(new)]
    assert folder.registry.names() == ["own", "new"]
    assert folder.loader.failures == []
    folder.write("a(")
    folder.path.write_text("broken(")
    assert asyncio.run(folder.loader.refresh()) == ["own"]
    assert folder.said() == "two" * 3


def test_the_module_of_the_old_one_goes_when_it_is_closed(folder):
    def modules():
        return [name for name in sys.modules if name.startswith(PRIVATE)]

    async def scene():
        with folder.registry.pin("own") as old:
            folder.write("two")
            new = await folder.loader.reload("own")
            assert len(modules()) == 2
            assert inspect.getfile(type(old)) == str(folder.path)
        await asyncio.sleep(0.01)
        assert modules() == [type(new).__module__]

    asyncio.run(scene())


def test_a_module_with_a_name_is_read_again_under_its_name(tmp_path, monkeypatch):
    """An installed adapter keeps its module's name, also where the new text is broken."""
    path = tmp_path / "reloaded_by_name.py"
    path.write_text(TEXT)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "reloaded_by_name", raising=False)
    registry = FrameworkRegistry()
    loader = FrameworkLoader(registry)
    old = asyncio.run(loader.load("reloaded_by_name:Own"))
    path.write_text(TEXT.replace("WORD", "new"))
    new = asyncio.run(loader.reload("own"))
    assert sys.modules["reloaded_by_name"].Own is type(new) is not type(old)
    for broken in ("1 / 0", "x = 1"):
        path.write_text(broken)
        with pytest.raises(FrameworkLoadError):
            asyncio.run(loader.reload("own"))
        assert sys.modules["reloaded_by_name"].Own is type(new)
    monkeypatch.delitem(sys.modules, "reloaded_by_name")
    asyncio.run(registry.aclose())


def test_a_class_of_a_cell_cannot_be_read_again():
    class Celled(FrameworkIntegration):
        name = "celled"

        async def execute_agent_streaming(self, request):
            yield request

    loader = FrameworkLoader(FrameworkRegistry())
    asyncio.run(loader.load(Celled))
    with pytest.raises(FrameworkLoadError, match="no file to read again") as caught:
        asyncio.run(loader.reload("celled"))
    assert caught.value.hint == "run the cell again, and load its class again"
    assert "celled" in loader.registry


def test_a_built_in_adapter_can_be_reloaded():
    registry = FrameworkRegistry()
    loader = FrameworkLoader(registry)
    asyncio.run(loader.discover_and_load_frameworks())
    old = registry.get_framework("native")
    module = sys.modules[type(old).__module__]
    new = asyncio.run(loader.reload("native"))
    assert type(new).__module__ == type(old).__module__
    assert new is registry.get_framework("native") is not old
    sys.modules[module.__name__] = module  # as the other tests know it
    setattr(sys.modules["tframex_nb.frameworks.adapters"], "native", module)  # noqa: B010 - a module
    asyncio.run(registry.aclose())
