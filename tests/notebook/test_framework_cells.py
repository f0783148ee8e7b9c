"""``%%framework``: a cell that runs in a framework's worker, with the notebook's tools there."""

from __future__ import annotations

import asyncio

import pytest
from IPython.core.error import UsageError

from tframex_nb.notebook.framework_cells import tools_of


@pytest.fixture(scope="module")
def shared_kernel(bare_kernel):
    """A kernel on whose host no framework is installed."""
    return bare_kernel


def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"sunny in {city}"


def offered(source: str, **namespace) -> dict[str, str]:
    async def scene():
        handles = tools_of(namespace, source)
        return {handle.name: await handle({"city": "Rome"}) for handle in handles}

    return asyncio.run(scene())


@pytest.mark.parametrize(
    "source",
    [
        "from notebook import weather",
        "def build():\n    from notebook import weather as w\n    return w",
        "import os\nfrom notebook import (\n    weather,\n)",
    ],
    ids=["at the top", "inside a builder", "over lines"],
)
def test_a_tool_that_the_source_imports_goes_along(source):
    assert offered(source, weather=weather, other=weather) == {"weather": "sunny in Rome"}


@pytest.mark.parametrize("source", ["x = 1", "from .notebook import weather", "def broken("])
def test_nothing_goes_along_that_the_source_does_not_ask_for(source):
    assert offered(source, weather=weather) == {}


def test_a_whole_import_offers_what_a_model_could_call(monkeypatch):
    """A function of the notebook that no model could call is left out, unasked for."""

    def rome(city: str) -> str:
        return city.upper()

    def impossible(what: object, /, *rest: object) -> None: ...

    for each in (rome, impossible):
        monkeypatch.setattr(each, "__module__", "__main__")
    assert offered("import notebook", rome=rome, impossible=impossible) == {"rome": "ROME"}


def test_a_redefined_tool_is_called_as_it_is_now():
    namespace = {"weather": weather}

    def changed(city: str) -> str:
        return f"rain in {city}"

    async def scene():
        (handle,) = tools_of(namespace, "from notebook import weather")
        namespace["weather"] = changed
        return await handle('{"city": "Rome"}')

    assert asyncio.run(scene()) == "rain in Rome"


def test_a_tool_that_does_not_exist_is_refused_with_the_nearest_name(monkeypatch):
    monkeypatch.setattr(weather, "__module__", "__main__")
    with pytest.raises(UsageError, match=r"wether: no such tool .* did you mean 'weather'"):
        offered("from notebook import wether", weather=weather)


TEAM = """
from notebook import weather
import alpha, os

print("alpha", alpha.__version__)

def team(model, tools):
    return f"{weather(city='Rome')}, says {model.name}"

place = "Rome"
"""


@pytest.mark.kernel
def test_a_cell_defines_in_the_worker_what_agents_name(tiny, installed):
    """The worker has its own packages; the notebook's tools and its kernel are elsewhere."""
    tiny.run("def weather(city: str) -> str:\n    'Weather.'\n    return f'sunny in {city}'")
    cell = tiny.run(f"%%framework tiny\n{TEAM}")
    assert cell.status == "ok", cell.error
    assert cell.stdout == "alpha 1.0\n"
    assert value(tiny, "'alpha' in globals(), 'team' in globals()") == "(False, False)"
    run = tiny.run("%%agent -f tiny --object team\ngo")
    assert run.status == "ok", run.error
    assert run.markdown.startswith("alpha 1.0 has sunny in Rome, says text-40")
    assert "has Rome" in tiny.run("%%agent -f tiny --object place\ngo").markdown
    assert "team" in tiny.complete("%%agent -f tiny --object te")


@pytest.mark.kernel
def test_a_cell_that_runs_again_replaces_what_it_defined(tiny, installed):
    for word in ("first", "second"):
        cell = tiny.run(f"%%framework tiny\nplace = {word!r}", cell_id="the-cell")
        assert cell.status == "ok", cell.error
    assert "has second" in tiny.run("%%agent -f tiny --object place\ngo").markdown
    counted = (
        "session = get_ipython().magics_manager.registry['FrameworkMagics'].session\n"
        "len(session.runtime.frameworks.placement.pools()['tiny']._cells)"
    )
    assert value(tiny, counted) == "1"


@pytest.mark.kernel
def test_a_builder_of_the_notebook_is_sent_as_source(tiny, installed):
    tiny.run("def build(model):\n    import alpha\n    return 'built with ' + alpha.__version__")
    assert "has built with 1.0" in tiny.run("%%agent -f tiny --object build\ngo").markdown
    tiny.run("live = object()")
    refused = tiny.run("%%agent -f tiny --object live\ngo")
    assert refused.error[0].startswith("CannotTravel: ")
    assert "%%framework tiny" in refused.error[1]


@pytest.mark.kernel
def test_an_error_of_the_cell_is_red_once_with_its_line(tiny, installed):
    cell = tiny.run("%%framework tiny\nprint('before')\n1 / 0  # here")
    assert cell.stdout == "before\n"
    text = "\n".join(cell.error)
    assert text.count("ZeroDivisionError") == 1
    assert "line 2: 1 / 0" in text
    assert "tframex_nb" not in text
    assert len([m for m in cell.messages if m.type == "error"]) == 1


@pytest.mark.kernel
def test_an_interrupt_ends_the_cell(tiny, installed):
    cell = tiny.start("%%framework tiny\nprint('on')\nimport time\ntime.sleep(60)")
    cell.wait_for("on")
    sent = tiny.interrupt()
    tiny.wait(cell)
    assert cell.idle - sent < 5
    assert cell.error == ["Stopped: the cell was interrupted in its worker."]
    assert tiny.run("%%framework tiny\nprint('alive')").stdout == "alive\n"


@pytest.mark.kernel
def test_hostile_prints_cannot_move_the_cursor(tiny, installed):
    cell = tiny.run("%%framework tiny\nprint('a\\x1b[2Jb\\u202ec')")
    assert cell.status == "ok", cell.error
    raw = [m.content["text"] for m in cell.messages if m.type == "stream"]
    assert "".join(raw) == "abc\n"


@pytest.mark.kernel
def test_what_a_framework_prints_in_a_run_is_one_short_line_of_the_cell(tiny, installed):
    """Every line is an event; the cell shows the last, harmless and cut."""
    tiny.run(
        "%%framework tiny\n"
        "def loud(model):\n"
        "    for n in range(50):\n"
        "        print(n, '<img src=x onerror=alert()> ![](http://evil/x) ' + 'long ' * 500)\n"
        "    return 'peace'"
    )
    cell = tiny.run("%%agent -f tiny --object loud --out r\ngo")
    assert cell.status == "ok", cell.error
    assert "has peace" in cell.markdown
    assert "<img" not in cell.markdown
    assert "![" not in cell.markdown
    assert cell.markdown.count("printed") == 1
    assert len(cell.markdown) < 1500
    printed = "len([e for e in r.events if e.type == 'framework_log'])"
    assert int(value(tiny, printed)) == 50


@pytest.mark.kernel
def test_a_worker_that_starts_is_seen_in_the_cell(tiny, installed):
    cell = tiny.run("%%agent -f tiny\ngo")
    assert cell.status == "ok", cell.error
    shown = [m.content["data"].get("text/markdown", "") for m in cell.visible()]
    assert any("starting tiny" in text for text in shown) or cell.idle - cell.sent < 1
    assert "starting tiny" not in cell.markdown


def value(kernel, expression: str) -> str:
    cell = kernel.run(expression)
    assert cell.status == "ok", cell.error
    return cell.displays[-1]["text/plain"]
