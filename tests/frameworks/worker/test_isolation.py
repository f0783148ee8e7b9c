"""What a worker gets of the kernel: a stage, a clean environment, an adapter's text."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import tframex_nb
from tframex_nb.errors import FrameworkLoadError, WorkerUnavailable
from tframex_nb.frameworks.adapters.native import NativeFramework
from tframex_nb.frameworks.worker import AdapterSource
from tframex_nb.frameworks.worker.stage import Stage
from tframex_nb.frameworks.worker.surroundings import worker_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRETS = {
    "OPENAI_API_KEY": "sk-not-for-you",
    "TFRAMEX_API_KEY": "sk-not-for-you",
    "AWS_SECRET_ACCESS_KEY": "not-for-you",
    "HF_TOKEN": "not-for-you",
    "JPY_SESSION_NAME": "notebook",
    "PYTHONPATH": "/somewhere",
    "PYTHONSTARTUP": "/somewhere/else.py",
    "VIRTUAL_ENV": "/kernel",
    "MY_PASSWORD": "not-for-you",
}


def test_no_secret_and_no_path_of_the_kernel_reaches_a_worker(
    on_workers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)

    async def play(bench):
        pool = bench.pool(bench.spec(environment={"TELEMETRY": "off"}))
        facts = json.loads(await bench.ask(pool, "environment"))
        environ = facts["environ"]
        assert set(SECRETS).isdisjoint(environ)
        assert not any("not-for-you" in value for value in environ.values())
        assert environ["HOME"] == os.environ["HOME"]
        assert environ["TELEMETRY"] == "off"
        assert environ["PATH"].startswith(str(bench.python.parent))
        assert facts["session"]
        assert not any("not-for-you" in argument for argument in facts["argv"])

        own = {Path(path).resolve() for path in sys.path if "site-packages" in path}
        own.add(Path(tframex_nb.__file__).parents[1].resolve())
        assert own.isdisjoint(Path(path).resolve() for path in facts["path"])
        assert "tframex_nb.frameworks.worker.pool" not in facts["modules"]

    on_workers(play)


def test_an_adapter_may_use_the_package_where_its_environment_has_it(
    on_workers: Callable[..., Any],
) -> None:
    """A worker of the kernel's own environment: staged modules first, then the installed ones."""
    text = """
    from tframex_nb.frameworks.base import FrameworkIntegration
    from tframex_nb.messages import TextDelta
    import tframex_nb.messages

    class Uses(FrameworkIntegration):
        name = "uses"

        async def execute_agent_streaming(self, request):
            from tframex_nb.settings.urls import __all__ as names
            from . import _schema
            yield TextDelta(f"{bool(names)} {tframex_nb.messages.__file__}")
    """

    async def play(bench):
        source = AdapterSource("Uses", textwrap.dedent(text), "my framework.py")
        pool = bench.pool(bench.spec(python=Path(sys.executable), adapter=source))
        found, path = (await bench.ask(pool, "x")).split(" ", 1)
        assert found == "True"
        assert path.startswith(os.environ["XDG_CACHE_HOME"])

    on_workers(play)


def test_proxies_are_kept_and_loopback_is_not_sent_through_them() -> None:
    kernel = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "intern, 127.0.0.1", "LC_ALL": "C"}
    kept = worker_environment(kernel, Path("/env/bin/python"), {})
    assert kept["HTTPS_PROXY"] == "http://proxy:3128"
    assert kept["no_proxy"] == kept["NO_PROXY"] == "intern,127.0.0.1,localhost,::1"
    assert (kept["LC_ALL"], kept["PATH"]) == ("C", "/env/bin")
    assert "no_proxy" not in worker_environment({}, Path("/env/bin/python"), {})


def test_a_stage_is_named_by_its_content(tmp_path: Path) -> None:
    """The same adapter gets the same folder, a changed one another; a broken one is mended."""
    one = AdapterSource("A", "A = 1", "a.py")
    first, again = Stage.of(one, tmp_path), Stage.of(one, tmp_path)
    other = Stage.of(AdapterSource("A", "A = 2", "a.py"), tmp_path)
    assert first == again
    assert first.path != other.path
    assert first.module == "tframex_nb.frameworks.adapters.a"
    adapter = first.path / "tframex_nb/frameworks/adapters/a.py"
    adapter.write_text("broken")
    (first.path / "tframex_nb/messages.py").unlink()
    Stage.of(one, tmp_path)
    assert adapter.read_text() == "A = 1"
    assert (first.path / "tframex_nb/messages.py").is_file()
    assert [path for path in tmp_path.rglob(".*") if path.is_file()] == []


def test_a_stage_that_nobody_asks_for_is_removed(tmp_path: Path) -> None:
    old = Stage.of(AdapterSource("A", "A = 1", "a.py"), tmp_path).path
    os.utime(old, (time.time() - 40 * 24 * 3600,) * 2)
    new = Stage.of(AdapterSource("A", "A = 2", "a.py"), tmp_path).path
    assert list(tmp_path.iterdir()) == [new]


def test_a_cache_that_cannot_be_written(
    on_workers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    async def play(bench):
        with pytest.raises(WorkerUnavailable, match="its files could not be written"):
            await bench.ask(bench.pool(), "echo")

    on_workers(play)


def test_the_source_of_a_class_in_a_file_is_its_file() -> None:
    found = AdapterSource.of(NativeFramework)
    path = Path(tframex_nb.__file__).parent / "frameworks/adapters/native.py"
    assert found == AdapterSource("NativeFramework", path.read_text(), "native.py")


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    quiet = Config({"HistoryManager": {"enabled": False}})  # older ones keep its database open
    shell = InteractiveShell(config=quiet)
    main = sys.modules["__main__"]
    sys.modules["__main__"] = shell.user_module
    yield shell
    sys.modules["__main__"] = main
    shell.atexit_operations()
    InteractiveShell.clear_instance()


CELLS = [
    "import json as j, asyncio\n"
    "from tframex_nb.frameworks.base import NATIVE, FrameworkIntegration\n"
    "from tframex_nb.messages import TextDelta\n"
    "raise_here = 1\n",
    "GREETING = {'a': ['hello']}\n"
    "def shout(text): return polite(text.upper())\n"
    "def polite(text): return text + '!' if text else shout('x')\n",
    "class Base(FrameworkIntegration):\n"
    "    capabilities = {'streaming': NATIVE}\n"
    "    def greet(self): return shout(GREETING['a'][0])\n",
    "print('this cell does more')\n"
    "class Mine(Base):\n"
    "    name = 'mine'\n"
    "    async def execute_agent_streaming(self, request: 'Nothing'):\n"
    "        await asyncio.sleep(0)\n"
    "        yield TextDelta(j.dumps([self.greet(), request.prompt]))\n"
    "undefined_thing if False else None\n",
]


def test_the_source_of_a_class_in_a_cell_is_what_it_needs(
    on_workers: Callable[..., Any], shell: InteractiveShell
) -> None:
    """From whichever cells that comes; the cells' other statements stay at home."""
    for cell in CELLS:
        shell.run_cell(cell, store_history=True).raise_error()
    source = AdapterSource.of(shell.user_ns["Mine"])
    assert "this cell does more" not in source.source
    assert "raise_here" not in source.source
    assert "Nothing" in source.source

    async def play(bench):
        pool = bench.pool(bench.spec(adapter=source))
        assert await bench.ask(pool, "you") == '["HELLO!", "you"]'

    on_workers(play)


def test_local_names_are_no_names_of_the_notebook(shell: InteractiveShell) -> None:
    """IPython binds ``_``, and people bind ``text`` and ``data``; a method has its own."""
    for cell in (
        "import threading\n_ = text = data = found = threading.Lock()",
        "class Own:\n"
        "    found = 1\n"
        "    again = found\n"
        "    def f(self, text, **data):\n"
        "        head, _, tail = text.partition(' ')\n"
        "        return [found for found in (head, tail, *data)]",
    ):
        shell.run_cell(cell, store_history=True).raise_error()
    assert "Lock" not in AdapterSource.of(shell.user_ns["Own"]).source


def test_a_module_inside_a_package_is_imported_too(
    on_workers: Callable[..., Any], shell: InteractiveShell
) -> None:
    """``import xml.dom.minidom`` binds ``xml``, and ``import xml`` alone brings nothing of it."""
    for cell in (
        CELLS[0],
        "import xml.dom.minidom, wsgiref.util, wsgiref.headers as heads",
        "class Deep(FrameworkIntegration):\n"
        "    name = 'deep'\n"
        "    async def execute_agent_streaming(self, request):\n"
        "        page = xml.dom.minidom.parseString(request.prompt)\n"
        "        yield TextDelta(page.firstChild.tagName)\n"
        "        yield TextDelta(wsgiref.util.__name__ + heads.Headers.__name__)",
    ):
        shell.run_cell(cell, store_history=True).raise_error()
    source = AdapterSource.of(shell.user_ns["Deep"])

    async def play(bench):
        pool = bench.pool(bench.spec("Deep", adapter=source))
        assert await bench.ask(pool, "<a/>") == "awsgiref.utilHeaders"

    on_workers(play)


def test_a_class_whose_source_is_lost(shell: InteractiveShell) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("class Lost:\n    def f(self): pass", namespace)
    with pytest.raises(FrameworkLoadError, match="the source of 'Lost' cannot be found"):
        AdapterSource.of(namespace["Lost"])


def test_a_class_that_needs_what_cannot_be_sent(shell: InteractiveShell) -> None:
    """A lock, an open file, a client: told by its name, before any worker starts."""
    for cell in (
        "import threading\nlock = threading.Lock()",
        "class Needs:\n    def f(self): lock",
    ):
        shell.run_cell(cell, store_history=True).raise_error()
    with pytest.raises(FrameworkLoadError, match="'lock', a lock, cannot be sent") as caught:
        AdapterSource.of(shell.user_ns["Needs"])
    assert caught.value.hint == "make it inside the class, or put the adapter into a file"
