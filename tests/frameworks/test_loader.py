"""The loader: adapters from every place, each on its own, each failure with its reason."""

from __future__ import annotations

import asyncio
import inspect
import sys
from textwrap import dedent

import pytest

from tframex_nb.errors import FrameworkLoadError, UnknownFramework
from tframex_nb.frameworks._modules import PRIVATE
from tframex_nb.frameworks.base import FrameworkIntegration
from tframex_nb.frameworks.config import RuntimeConfig
from tframex_nb.frameworks.loader import FrameworkLoader
from tframex_nb.frameworks.registry import FrameworkRegistry

HEAD = "from tframex_nb.frameworks.base import FrameworkIntegration\n"
STREAM = "    async def execute_agent_streaming(self, request):\n        yield None\n"


def adapter(name, cls="Own"):
    return f"{HEAD}\nclass {cls}(FrameworkIntegration):\n    name = {name!r}\n{STREAM}"


class InAFile(FrameworkIntegration):
    """An adapter that a test hands over as a class."""

    name = "in-a-file"

    async def execute_agent_streaming(self, request):
        yield request


@pytest.fixture
def write(tmp_path):
    def write(where, text):
        path = tmp_path / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    return write


@pytest.fixture(autouse=True)
def _modules():
    """Forget what a test imported."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith((PRIVATE, "outside")):
            del sys.modules[name]


def configured(auto_scan=False, **fields):
    """Return a loader on a configuration, with an empty registry."""
    fields = {"discovery": {"auto_scan": auto_scan, **fields.pop("discovery", {})}, **fields}
    return FrameworkLoader(FrameworkRegistry(), RuntimeConfig.model_validate(fields))


def discover(loader):
    """Return the names of what is found."""
    return [each.name for each in asyncio.run(loader.discover_and_load_frameworks())]


def private_modules():
    return sorted(name for name in sys.modules if name.startswith(PRIVATE))


def test_the_adapters_that_come_with_the_package_are_found():
    loader = configured(auto_scan=True)
    assert "native" in discover(loader)
    assert loader.failures == []
    assert loader.origin("native") == "built-in"


def test_without_auto_scan_nothing_is_looked_for():
    assert discover(configured()) == []


def test_directories_hold_adapters_in_files_and_folders(tmp_path, write):
    write("here/framework.py", adapter("direct"))
    write("here/b/framework.py", adapter("second"))
    write("here/a/framework.py", adapter("first"))
    write("here/_hidden/framework.py", adapter("hidden"))
    write("here/.git/framework.py", adapter("git"))
    write("here/c/other.py", adapter("other"))
    loader = configured(discovery={"directories": [str(tmp_path / "here")]})
    assert discover(loader) == ["direct", "first", "second"]
    assert loader.failures == []
    assert loader.origin("first") == f"directory {tmp_path / 'here'}"


def test_two_directories_may_hold_files_of_the_same_name(tmp_path, write):
    write("x/own/framework.py", adapter("x") + "MARK = 'x'\n")
    write("y/own/framework.py", adapter("y") + "MARK = 'y'\n")
    loader = configured(discovery={"directories": [str(tmp_path / "x"), str(tmp_path / "y")]})
    assert discover(loader) == ["x", "y"]
    modules = [type(loader.registry.get_framework(n)).__module__ for n in ("x", "y")]
    assert [sys.modules[name].MARK for name in modules] == ["x", "y"]
    assert "framework" not in sys.modules


def test_a_class_from_a_file_knows_its_source(write):
    path = write("framework.py", adapter("own"))
    loader = configured()
    loaded = asyncio.run(loader.load(path))
    assert inspect.getfile(type(loaded)) == str(path)
    assert "name = 'own'" in inspect.getsource(type(loaded))
    assert not list(path.parent.rglob("*.pyc"))


@pytest.mark.parametrize(
    ("text", "reason", "hint"),
    [
        ("def f(:", "(line 1) is not valid Python", "mend that line"),
        ("import nothing_of_this_name", "No module named", "import 'nothing_of_this_name' inside"),
        ("from . import beside", "imports from a file beside it", "an adapter is one file"),
        ("raise RuntimeError('at import')", "fails at import: RuntimeError", "initialize()"),
        ("import sys; sys.exit(3)", "fails at import: SystemExit: 3", "initialize()"),
        ("x = 1", "defines no adapter", "subclasses FrameworkIntegration"),
        (adapter("a", "A") + adapter("b", "B"), "holds 2 adapters: A, B", ":A"),
        (
            HEAD + "class A(FrameworkIntegration):\n    name = 'a'",
            "A does not write execute_agent_streaming",
            "async def execute_agent_streaming",
        ),
        (
            "class A:\n    name = 'a'\n" + STREAM,
            "A in ",
            "write class A(FrameworkIntegration)",
        ),
        (
            adapter("a") + "    def initialize(self): pass",
            "Own.initialize cannot be awaited",
            "async def initialize",
        ),
        (adapter("a") + "    initialize = None", "Own.initialize cannot be awaited", "leave it"),
        (
            HEAD + "class A(FrameworkIntegration):\n    name = 'a'\n"
            "    async def execute_agent_streaming(self, request): return 1",
            "never yields",
            "yield TextDelta",
        ),
        (
            adapter("a") + "    def __init__(self, x): pass",
            "Own() fails: TypeError",
            "no arguments",
        ),
        (adapter("a") + "    def __init__(self): 1 / 0", "ZeroDivisionError", "initialize()"),
        (adapter(""), "has no name", "name ="),
        (adapter("a") + "    templates = 7", "cannot tell its templates", "mend Own"),
    ],
    ids=lambda value: value[-40:].strip().replace("\n", " "),
)
def test_a_broken_adapter_is_a_row_and_leaves_the_others(tmp_path, write, text, reason, hint):
    write("a/framework.py", text)
    write("b/framework.py", adapter("good"))
    loader = configured(discovery={"directories": [str(tmp_path)]})
    before = set(sys.modules)
    assert discover(loader) == ["good"]
    (failure,) = loader.failures
    assert failure.source == str(tmp_path / "a" / "framework.py")
    assert failure.name == ""
    assert reason in failure.reason
    assert hint in failure.hint
    assert len(set(sys.modules) - before) == 1  # the good one's; nothing is left half


def test_a_folder_that_is_not_there_is_a_row(tmp_path):
    loader = configured(discovery={"directories": [str(tmp_path / "none")]})
    assert discover(loader) == []
    (failure,) = loader.failures
    assert failure.source == str(tmp_path / "none")
    assert "No such file" in failure.reason
    assert "discovery.directories" in failure.hint


def test_a_name_that_is_taken_is_a_row_and_the_first_stays(tmp_path, write):
    write("a/framework.py", adapter("same"))
    write("b/framework.py", adapter("same"))
    loader = configured(discovery={"directories": [str(tmp_path)]})
    assert discover(loader) == ["same"]
    (failure,) = loader.failures
    assert failure.source == str(tmp_path / "b" / "framework.py")
    assert "'same' is taken" in failure.reason
    assert len(private_modules()) == 1


def test_additional_frameworks_come_by_class_by_path_and_under_another_name(
    tmp_path, write, monkeypatch
):
    write("lib/outside_one.py", adapter("one", "First") + adapter("two", "Second"))
    path = write("own.py", adapter("three", "Third") + adapter("four", "Fourth"))
    write("folder/framework.py", adapter("five"))
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    loader = configured(
        additional_frameworks=[
            "outside_one:First",
            {"class": "outside_one:Second", "name": "renamed"},
            f"{path}:Third",
            {"path": str(path), "class": "Fourth"},
            str(tmp_path / "folder"),
            "outside_one:Nobody",
            "outside_nothing:Own",
        ]
    )
    assert discover(loader) == ["one", "renamed", "three", "four", "five"]
    assert {loader.origin(name) for name in loader.registry.names()} == {"configuration"}
    told = {each.source: each.reason for each in loader.failures}
    assert "has no class Nobody" in told["outside_one:Nobody"]
    assert told["outside_nothing:Own"] == "there is no module 'outside_nothing' here"


def test_entry_points_of_installed_packages_are_found(tmp_path, write, monkeypatch):
    """A real distribution on the path: its metadata name two adapters, one of them broken."""
    write("site/outside_pkg.py", adapter("from-package"))
    write("site/outside_bad.py", "raise ValueError('broken')")
    write("site/own_pkg-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: own-pkg\n")
    write(
        "site/own_pkg-1.0.dist-info/entry_points.txt",
        "[tframex_nb.frameworks]\ngood = outside_pkg:Own\nbad = outside_bad\n",
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    loader = configured(auto_scan=True)
    assert "from-package" in discover(loader)
    assert loader.origin("from-package") == "entry point of own-pkg"
    (failure,) = loader.failures
    assert (failure.source, "ValueError: broken" in failure.reason) == ("outside_bad", True)


def test_a_class_is_loaded_and_a_cell_may_run_twice():
    loader = configured()

    def cell():
        class Own(InAFile):
            name = "own"

        return asyncio.run(loader.load(Own, origin="cell"))

    first, second = cell(), cell()
    assert loader.registry.get_framework("own") is second is not first
    assert loader.origin("own") == "cell"


def test_what_came_another_way_is_replaced_only_on_request(write):
    loader = configured()
    first = asyncio.run(loader.load(write("own.py", adapter("in-a-file"))))
    with pytest.raises(FrameworkLoadError, match="'in-a-file' is taken"):
        asyncio.run(loader.load(InAFile))
    assert loader.registry.get_framework("in-a-file") is first
    assert len(loader.failures) == 1
    second = asyncio.run(loader.load(InAFile(), replace=True))
    assert loader.registry.get_framework("in-a-file") is second
    assert loader.failures == []


@pytest.mark.parametrize("target", [7, int, "nothing", "a.b.c"], ids=str)
def test_what_is_no_adapter_is_refused(target):
    loader = configured()
    with pytest.raises(FrameworkLoadError, match="no adapter"):
        asyncio.run(loader.load(target))
    assert len(loader.failures) == 1


def test_adapters_of_a_plugin_come_and_go_together():
    class Broken(InAFile):
        name = "not a name"

    class Second(InAFile):
        name = "second"

    loader = configured()
    made = asyncio.run(loader.load_all([InAFile, Broken, Second], origin="plugin tools"))
    assert [each.name for each in made] == ["in-a-file", "second"]
    assert loader.origin("second") == "plugin tools"
    assert "its name may hold" in loader.failures[0].reason
    assert asyncio.run(loader.unload_all("plugin tools")) == ["in-a-file", "second"]
    assert loader.registry.names() == []


def test_unloading_forgets_it_and_an_unknown_name_is_told():
    loader = configured()
    asyncio.run(loader.load(InAFile))
    asyncio.run(loader.unload("in-a-file"))
    assert "in-a-file" not in loader.registry
    for ask in (loader.unload, loader.reload):
        with pytest.raises(UnknownFramework):
            asyncio.run(ask("in-a-file"))
    with pytest.raises(UnknownFramework):
        loader.origin("in-a-file")


def test_discovering_again_follows_the_configuration(tmp_path, write):
    """What is still named is left alone, what is no longer named goes, a cell's stays."""
    write("a/framework.py", adapter("a"))
    write("b/framework.py", adapter("b"))
    both = [str(tmp_path / "a"), str(tmp_path / "b")]
    loader = configured(discovery={"directories": both})
    assert discover(loader) == ["a", "b"]
    kept = loader.registry.get_framework("b")
    asyncio.run(loader.load(InAFile))
    loader.config = RuntimeConfig.model_validate(
        {"discovery": {"auto_scan": False, "directories": both[1:]}}
    )
    assert discover(loader) == ["b", "in-a-file"]
    assert loader.registry.get_framework("b") is kept


def test_a_users_own_keeps_the_place_of_a_found_one(tmp_path, write):
    write("a/framework.py", adapter("in-a-file"))
    loader = configured(discovery={"directories": [str(tmp_path / "a")]})
    discover(loader)
    own = asyncio.run(loader.load(InAFile, replace=True))
    assert discover(loader) == ["in-a-file"]
    assert loader.registry.get_framework("in-a-file") is own
    assert loader.failures == []
    asyncio.run(loader.unload("in-a-file"))
    assert discover(loader) == ["in-a-file"]
    assert loader.origin("in-a-file").startswith("directory ")
