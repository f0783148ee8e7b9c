"""``%%framework``: a cell that runs in a framework's worker, with the notebook's tools there."""

from __future__ import annotations

import asyncio

import pytest
from IPython.core.error import UsageError

from tframex_nb.notebook.framework_cells import tools_of


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
