"""The registry: found by name, template and capability; changed while runs are in flight."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tframex_nb.errors import FrameworkLoadError, UnknownFramework
from tframex_nb.frameworks.base import ABSENT, NATIVE, PARTIAL, FrameworkIntegration
from tframex_nb.frameworks.registry import (
    Closed,
    FrameworkRegistry,
    Registered,
    Replaced,
    Unregistered,
)


class Adapter(FrameworkIntegration):
    """A valid adapter whose fields a test sets; it counts how often it was closed."""

    name = "one"

    def __init__(self, **fields):
        super().__init__()
        self.closed = 0
        vars(self).update(fields)

    async def execute_agent_streaming(self, request):
        yield request

    async def aclose(self):
        self.closed += 1


def test_a_framework_is_found_by_name_template_and_capability():
    registry = FrameworkRegistry()
    capabilities = {"tools": NATIVE, "memory": PARTIAL("short"), "cancel": ABSENT("never")}
    one = Adapter(templates=("chat", "task"), capabilities=capabilities)
    registry.register_framework(one)
    registry.register_framework(Adapter(name="two", templates=("chat",)))
    assert registry.get_framework("one") is one
    assert registry.get_frameworks_for_template("chat") == ["one", "two"]
    assert registry.get_frameworks_for_template("task") == ["one"]
    assert registry.get_frameworks_for_template("nothing") == []
    assert registry.get_frameworks_with_capability("memory") == ["one"]
    assert registry.get_frameworks_with_capability("cancel") == []
    assert registry.names() == ["one", "two"]


def test_unregistering_takes_it_out_of_every_index():
    registry = FrameworkRegistry()
    one = Adapter(templates=("chat",), capabilities={"tools": NATIVE})
    registry.register_framework(one)
    assert registry.unregister("one") is one
    assert registry.get_frameworks_for_template("chat") == []
    assert registry.get_frameworks_with_capability("tools") == []
    assert (registry.templates(), registry.capabilities(), len(registry)) == ([], [], 0)
    with pytest.raises(UnknownFramework):
        registry.unregister("one")


def test_replacing_indexes_the_new_one_only():
    registry = FrameworkRegistry()
    registry.register_framework(Adapter(templates=("chat",), capabilities={"tools": NATIVE}))
    registry.register_framework(Adapter(templates=("task",)), replace=True)
    assert registry.get_frameworks_for_template("chat") == []
    assert registry.get_frameworks_for_template("task") == ["one"]
    assert registry.get_frameworks_with_capability("tools") == []


def test_a_name_is_taken_once_and_the_error_names_both():
    registry = FrameworkRegistry()
    first = Adapter()
    registry.register_framework(first)

    class Other(Adapter):
        pass

    with pytest.raises(FrameworkLoadError, match=r"'one' is taken by .*Adapter, so .*Other") as err:
        registry.register_framework(Other())
    assert "replace=True" in err.value.hint
    assert registry.get_framework("one") is first


def test_an_unknown_name_gets_the_nearest():
    registry = FrameworkRegistry()
    registry.register_framework(Adapter(name="langgraph"))
    with pytest.raises(UnknownFramework, match="no framework 'langgrph'") as caught:
        registry.get_framework("langgrph")
    assert "did you mean 'langgraph'?" in caught.value.hint
    assert caught.value.framework == "langgrph"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": ""}, "has no name"),
        ({"name": 7}, "has no name"),
        ({"name": "a b"}, "its name may hold"),
        ({"name": "auto"}, "its name is reserved"),
        ({"templates": "chat"}, None),
        ({"templates": (7,)}, "its templates must"),
        ({"templates": 7}, "cannot tell its templates"),
        ({"capabilities": ["tools"]}, "cannot tell its capabilities"),
        ({"capabilities": {"tools": True}}, r"its capabilities\['tools'\] must be NATIVE"),
        ({"module": None}, "its module must be a text"),
        ({"versions": "newest"}, "its versions must be like"),
        ({"environment": {"A": 1}}, "its environment must map"),
        ({"configuration": {"a": None}}, "its configuration must map"),
        ({"cancellable": "yes"}, "its cancellable must be True"),
        ({"lock": 7}, "its lock must be a text"),
    ],
    ids=str,
)
def test_what_is_not_valid_is_refused_with_its_field(fields, told):
    registry = FrameworkRegistry()
    if told is None:
        adapter = Adapter()
        adapter.get_supported_templates = lambda: fields["templates"]
        told = "its templates must"
    else:
        adapter = Adapter(**fields)
    with pytest.raises(FrameworkLoadError, match=told) as caught:
        registry.register_framework(adapter)
    assert caught.value.hint
    assert len(registry) == 0


def test_a_class_or_anything_else_is_no_framework():
    registry = FrameworkRegistry()
    with pytest.raises(FrameworkLoadError, match="Adapter is a class") as caught:
        registry.register_framework(Adapter)
    assert caught.value.hint == "register Adapter()"
    with pytest.raises(FrameworkLoadError, match="a str is no framework"):
        registry.register_framework("langgraph")


def test_capabilities_may_be_told_the_short_way():
    """An adapter that only writes ``get_capabilities`` has them natively."""
    registry = FrameworkRegistry()

    class Short(Adapter):
        def get_capabilities(self):
            return {"planning"}

    registry.register_framework(Short())
    assert registry.get_frameworks_with_capability("planning") == ["one"]


def test_templates_may_carry_the_versions_that_are_supported():
    registry = FrameworkRegistry()
    registry.register_framework(Adapter(templates=("chat>=2,<3", "task")))
    assert registry.get_frameworks_for_template("chat") == ["one"]
    assert registry.template_range("one", "chat") == ">=2,<3"
    assert registry.template_range("one", "task") == ""


def test_listeners_hear_each_change_until_they_leave():
    registry = FrameworkRegistry()
    heard = []
    leave = registry.subscribe(heard.append)
    registry.register_framework(Adapter())
    registry.register_framework(Adapter(), replace=True)
    registry.unregister("one")
    leave()
    leave()
    registry.register_framework(Adapter())
    assert heard == [Registered("one", 1), Replaced("one", 2), Unregistered("one", 3)]
    assert registry.generation == 4


def test_a_listener_that_fails_hurts_nobody(caplog):
    registry = FrameworkRegistry()
    heard = []
    registry.subscribe(lambda _: 1 / 0)
    registry.subscribe(heard.append)
    registry.register_framework(Adapter())
    assert heard == [Registered("one", 1)]
    assert "a listener of the framework registry failed" in caplog.text


def test_a_run_holds_what_it_began_with():
    """A replaced one is closed when its last run ends, and not before."""

    async def scene():
        registry = FrameworkRegistry()
        old, new = Adapter(), Adapter()
        registry.register_framework(old)
        with registry.pin("one") as first:
            with registry.pin("one") as second:
                registry.register_framework(new, replace=True)
                await asyncio.sleep(0)
                assert first is second is old
                assert registry.running("one") == 2
            await asyncio.sleep(0)
            assert old.closed == 0
            with registry.pin("one") as third:
                assert third is new
        await asyncio.sleep(0.01)
        assert (old.closed, new.closed, registry.running("one")) == (1, 0, 0)
        await registry.aclose()
        assert (old.closed, new.closed) == (1, 1)

    asyncio.run(scene())


def test_an_unregistered_one_is_closed_at_once_where_nothing_runs():
    async def scene():
        registry = FrameworkRegistry()
        heard = []
        registry.subscribe(heard.append)
        one = Adapter()
        registry.register_framework(one)
        registry.unregister("one")
        await asyncio.sleep(0.01)
        assert one.closed == 1
        assert heard[-1] == Closed("one", 2, one)

    asyncio.run(scene())


def test_a_close_that_fails_is_told():
    class Sticky(Adapter):
        async def aclose(self):
            raise OSError("stuck")

    async def scene():
        registry = FrameworkRegistry()
        heard = []
        registry.subscribe(heard.append)
        registry.register_framework(Sticky())
        registry.unregister("one")
        await asyncio.sleep(0.01)
        assert heard[-1].error == "OSError: stuck"

    asyncio.run(scene())


def test_what_went_without_a_loop_is_closed_with_the_registry():
    registry = FrameworkRegistry()
    one = Adapter()
    registry.register_framework(one)
    registry.unregister("one")
    assert one.closed == 0
    asyncio.run(registry.aclose())
    assert one.closed == 1


def test_a_run_that_ends_on_another_thread_closes_on_the_loop_of_the_run():
    seen = []

    class Here(Adapter):
        async def aclose(self):
            seen.append(threading.get_ident())

    async def scene():
        registry = FrameworkRegistry()
        registry.register_framework(Here())
        with registry.pin("one"):
            pass
        await asyncio.to_thread(registry.unregister, "one")
        await asyncio.sleep(0.01)
        assert seen == [threading.get_ident()]
        await asyncio.get_running_loop().shutdown_default_executor()

    asyncio.run(scene())


def test_refresh_asks_again_what_a_framework_can_do():
    registry = FrameworkRegistry()
    one = Adapter(capabilities={})
    registry.register_framework(one)
    vars(one)["capabilities"] = {"tools": NATIVE}
    assert registry.get_frameworks_with_capability("tools") == []
    registry.refresh("one")
    assert registry.get_frameworks_with_capability("tools") == ["one"]
    assert one.closed == 0


def write(registry, number):
    """Register, replace and unregister one name, many times; it is gone at the end."""
    for round_ in range(60):
        adapter = Adapter(name=f"n{number}", templates=("chat", f"t{round_ % 3}"))
        registry.register_framework(adapter, replace=True)
        if round_ % 2:
            registry.unregister(f"n{number}")


def read(registry, stop, faults):
    """Pin whatever is there, until the others are done."""
    while not stop.is_set():
        for name in registry.get_frameworks_for_template("chat"):
            try:
                with registry.pin(name) as held:
                    faults += [held] if held.name != name else []
            except UnknownFramework:
                continue
            except Exception as exc:
                faults.append(exc)


def test_threads_register_and_read_at_the_same_time():
    """The indices stay whole: nothing is left in them at the end, and no reader saw a half."""
    registry, stop, faults = FrameworkRegistry(), threading.Event(), []
    readers = [threading.Thread(target=read, args=(registry, stop, faults)) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(registry, n)) for n in range(4)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert faults == []
    assert registry.names() == registry.templates() == []
    assert registry.generation == 4 * 90
    assert [registry.running(f"n{n}") for n in range(4)] == [0] * 4
