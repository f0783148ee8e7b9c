"""Drive one adapter against its real framework, in the framework's own environment.

usage: python driver.py ADAPTER BASE-URL TOKEN [CHECK ...]

BASE-URL and TOKEN are those of a demo server. Standard library only: this runs with the Python of
the framework's environment, where nothing of ours is installed. Each check prints one JSON line
with its name, its figures and, where it failed, the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE))
import subjects  # noqa: E402 - beside this file, which no package holds
from tap import Tap, call, delta, say  # noqa: E402, F401 - likewise; delta is for driver_sync.py

PATIENCE = 20  # seconds that anything may take


def stage(name: str) -> Path:
    """Lay out what a worker gets: the vocabulary, the errors, the interface, one adapter."""
    folder = Path(tempfile.mkdtemp(prefix="stage-"))
    package = folder / "tframex_nb"
    (package / "frameworks" / "adapters").mkdir(parents=True)
    for made in (package, package / "frameworks", package / "frameworks" / "adapters"):
        (made / "__init__.py").touch()
    shared = "messages.py", "errors.py", "frameworks/base.py", "frameworks/requests.py"
    files = *shared, f"frameworks/adapters/{name}.py"
    for file in files:
        shutil.copy(ROOT / "tframex_nb" / file, package / file)
    return folder


class Bench:
    """One adapter, its tap, and the ways to run it."""

    def __init__(self, name: str, tap: Tap) -> None:
        base = importlib.import_module("tframex_nb.frameworks.base")
        module = importlib.import_module(f"tframex_nb.frameworks.adapters.{name}")
        self.name, self.tap, self.base = name, tap, base
        self.messages = importlib.import_module("tframex_nb.messages")
        self.errors = importlib.import_module("tframex_nb.errors")
        (cls,) = [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, base.FrameworkIntegration)
            and value.__module__ == module.__name__
        ]
        self.adapter = cls()
        self.deltas: list[tuple[float, str]] = []
        self.events: list = []

    def access(self, model: str = "demo:fast"):
        return self.base.ModelAccess(model, self.tap.url, "a-token")

    def request(self, prompt: str, model: str = "demo:fast", **fields):
        agent = self.base.AgentSpec(id="a", name=fields.pop("name", "helper"))
        return self.base.AgentExecutionRequest(agent, prompt, self.access(model), **fields)

    def tool(self, name, answer, **properties):
        async def run(arguments):
            return await answer(json.loads(arguments) if isinstance(arguments, str) else arguments)

        schema = {"type": "object", "properties": properties, "required": list(properties)}
        loop = asyncio.get_running_loop()
        return self.base.ToolHandle(name, f"Do {name}.", schema, run, loop)

    async def run(self, request) -> str:
        """Return the text of one run; its events and times are kept."""
        self.deltas, self.events = [], []
        async with contextlib.aclosing(self.adapter.execute_agent_streaming(request)) as events:
            async for event in events:
                self.events.append(event)
                if isinstance(event, self.messages.TextDelta):
                    self.deltas.append((time.perf_counter(), event.text))
        return "".join(text for _, text in self.deltas)


CHECKS = {}


LLAMA_CHECKS = {}  # against a real llama.cpp server


def check(function):
    CHECKS[function.__name__] = function
    return function


def same(got, wanted) -> None:
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"


@check
async def answer(bench: Bench) -> dict:
    """The text is exactly the model's, in many pieces; system and prompt reach the model."""
    text = await bench.run(bench.request("Hello there.", system="Be brief."))
    same(text, bench.tap.text)
    assert len(bench.deltas) > 5, bench.deltas
    (body,) = bench.tap.bodies
    same(text_of(body["messages"][0]), "Be brief.")
    same(text_of(body["messages"][-1]), "Hello there.")
    same(len(body["messages"]), 2)
    assert body["stream"] is True
    same(body["model"], "demo:fast")
    return {
        "deltas": len(bench.deltas),
        "sent": sorted(set(body) - {"messages", "stream", "model"}),
    }


@check
async def increments(bench: Bench) -> dict:
    """Text arrives while the model still writes."""
    seen = []
    stream = bench.adapter.execute_agent_streaming(bench.request("Hello.", "demo"))
    async with contextlib.aclosing(stream) as events:
        async for event in events:
            seen += [(time.perf_counter(), bench.tap.ended, event)]
    assert [e for _, ended, e in seen[:5] if not ended], "the answer came at its end"
    spread = seen[-1][0] - seen[0][0]
    assert spread > 0.3, spread
    return {"deltas": len(seen), "spread_s": round(spread, 2)}


@check
async def no_system(bench: Bench) -> dict:
    """Where no system message was written, none is sent."""
    await bench.run(bench.request("Hello."))
    same([m["role"] for m in bench.tap.bodies[0]["messages"]], ["user"])
    return {}


@check
async def reasoning(bench: Bench) -> dict:
    """Reasoning is no part of the text."""
    text = await bench.run(bench.request("Hello.", "demo:think"))
    same(text, bench.tap.text)
    assert "thoughts" not in text
    return {}


@check
async def tool(bench: Bench) -> dict:
    """A tool gets its arguments, also nested and optional ones, and its result goes back."""
    got = []

    async def weather(arguments):
        got.append(arguments)
        return "sleet, -3 °C"

    place = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    handle = bench.tool("weather", weather, place=place, days={"type": "integer"})
    handle.parameters["required"].remove("days")
    script = [
        call(("call_x", "weather", '{"place": {"city": "Oslo"}}'), before="Let me look. "),
        say("It is ", "cold."),
    ]
    bench.tap.script = script
    text = await bench.run(bench.request("Weather?", tools=(handle,)))
    same(got, [{"place": {"city": "Oslo"}}])
    same(text, "Let me look. It is cold.")
    sent = bench.tap.bodies[0]["tools"][0]["function"]
    same(sent["name"], "weather")
    same(sent["description"], "Do weather.")
    same(sent["parameters"]["required"], ["place"])
    same(sent["parameters"]["properties"]["days"], {"type": "integer"})
    *_, asked, answered = bench.tap.bodies[1]["messages"]
    same((asked["role"], asked["tool_calls"][0]["id"]), ("assistant", "call_x"))
    same((answered["role"], answered["tool_call_id"]), ("tool", "call_x"))
    same(text_of(answered), "sleet, -3 °C")
    same([type(e).__name__ for e in bench.events if "Tool" in type(e).__name__], [])
    return {"keys": sorted(sent)}


@check
async def parallel_tools(bench: Bench) -> dict:
    """Two calls of one message run at once; the answers go back to their own calls."""
    started = {name: asyncio.Event() for name in ("left", "right")}

    async def side(name, other):
        started[name].set()
        await asyncio.wait_for(started[other].wait(), 5)
        return f"the {name} one"

    tools = (
        bench.tool("left", lambda _: side("left", "right")),
        bench.tool("right", lambda _: side("right", "left")),
    )
    bench.tap.script = [call(("c1", "left", "{}"), ("c2", "right", "{}")), say("Both.")]
    same(await bench.run(bench.request("Both sides?", tools=tools)), "Both.")
    back = {m["tool_call_id"]: text_of(m) for m in bench.tap.bodies[1]["messages"][-2:]}
    same(back, {"c1": "the left one", "c2": "the right one"})
    return {}


@check
async def bad_arguments(bench: Bench) -> dict:
    """Arguments that are no JSON do not end the run: the tool, or the framework, says so."""
    got = []

    async def echo(arguments):
        got.append(arguments)
        return "fine"

    handle = replace(bench.tool("echo", echo, x={"type": "string"}), call=as_is(got))
    seen = []
    for wrong in ('{"x": oops', "oops", "[1]"):
        bench.tap.reset()
        bench.tap.script = [call(("c1", "echo", wrong)), say("I see.")]
        same((wrong, await bench.run(bench.request("Echo!", tools=(handle,)))), (wrong, "I see."))
        seen.append(text_of(bench.tap.bodies[1]["messages"][-1])[:60])
    return {"tool_saw": got, "model_saw": seen}


@check
async def unknown_tool(bench: Bench) -> dict:
    """A call of a tool that is not there does not end the run."""

    async def echo(_):
        return "fine"

    handle = bench.tool("echo", echo, x={"type": "string"})
    bench.tap.script = [call(("c1", "nope", "{}")), say("I see.")]
    same(await bench.run(bench.request("Echo!", tools=(handle,))), "I see.")
    return {"model_saw": text_of(bench.tap.bodies[1]["messages"][-1])[:100]}


@check
async def many_tool_turns(bench: Bench) -> dict:
    """Steps up to the bound work, and the demo's own calls by name do too."""
    got = []

    async def add(arguments):
        got.append(arguments)
        return str(arguments["a"] + arguments["b"])

    handle = bench.tool("add", add, a={"type": "integer"}, b={"type": "integer"})
    text = await bench.run(bench.request("Use add(2, 3) please.", tools=(handle,)))
    same(got, [{"a": 2, "b": 3}])
    assert "`5`" in text, text
    bench.tap.reset()
    bench.tap.script = [call((f"c{n}", "add", '{"a": 1, "b": 1}')) for n in range(11)] + [
        say("End.")
    ]
    same(await bench.run(bench.request("Add on.", tools=(handle,))), "End.")
    same(len(bench.tap.bodies), 12)
    return {}


@check
async def history(bench: Bench) -> dict:
    """What was said, calls and results too, comes to the model as it was."""
    m, c = bench.messages.Message, bench.messages.ToolCall
    calls = (c("call_1", "add", '{"a": 1, "b": 2}'), c("call_2", "add", '{"a": 3, "b": 4}'))
    earlier = (
        m("user", "My name is Ada."),
        m("assistant", "Hello Ada."),
        m("user", "Add."),
        m("assistant", "", tool_calls=calls),
        m("tool", "3", tool_call_id="call_1", name="add"),
        m("tool", "7", tool_call_id="call_2", name="add"),
        m("assistant", "3 and 7."),
    )
    request = bench.request("What is my name?", history=earlier, system="Be kind.")
    text = await bench.run(request)
    assert "Ada" in text, text
    got = [shape(x) for x in bench.tap.bodies[0]["messages"]]
    same(got, [shape(x.to_dict()) for x in request.messages])
    return {}


@check
async def schema(bench: Bench) -> dict:
    """The answer is the JSON document that the schema asks for."""
    wanted = {
        "title": "City",
        "type": "object",
        "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
        "required": ["city", "people"],
        "additionalProperties": False,
    }
    text = await bench.run(bench.request("One with city=Oslo people=700000", schema=wanted))
    same(json.loads(text), {"city": "Oslo", "people": 700000})
    form = bench.tap.bodies[0]["response_format"]
    same(form["json_schema"]["schema"]["properties"].keys(), wanted["properties"].keys())
    figures = {"requests": len(bench.tap.bodies), "deltas": len(bench.deltas)}

    async def look(_):
        return "Oslo has 700000 people"

    bench.tap.reset()
    bench.tap.script = [call(("c1", "look", "{}")), say('{"city":', ' "Oslo",', ' "people": 7}')]
    handle = bench.tool("look", look, where={"type": "string"})
    handle.parameters["required"].clear()
    text = await bench.run(bench.request("Look.", schema=wanted, tools=(handle,)))
    same(json.loads(text), {"city": "Oslo", "people": 7})
    inner = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}
    untitled = {"type": "object", "properties": {"p": {"$ref": "#/$defs/P"}}, "$defs": {"P": inner}}
    text = await bench.run(bench.request("One more.", schema=untitled))
    assert json.loads(text)["p"]["a"], text
    figures["tool"] = bench.tap.bodies[0]["tools"][0]["function"]
    return figures


@check
async def max_steps(bench: Bench) -> dict:
    """The bound on model calls holds and has its own error."""

    async def add(_):
        return "1"

    handle = bench.tool("add", add, a={"type": "integer"})
    try:
        await bench.run(bench.request("add(1)", "demo:loop", tools=(handle,), max_steps=3))
    except bench.errors.StepLimitReached as exc:
        same(len(bench.tap.bodies), 3)
        return {"error": str(exc)}
    raise AssertionError("no StepLimitReached")


@check
async def faults(bench: Bench) -> dict:
    """Each fault of the model raises, after exactly one request."""
    figures = {}
    for model in ("401", "429", "500", "503", "quota", "cut", "garbage"):
        bench.tap.reset()
        try:
            await bench.run(bench.request("Hello.", f"demo:{model}"))
        except Exception as exc:
            figures[model] = type(exc).__name__
        else:
            raise AssertionError(f"{model} raised nothing")
        same((model, len(bench.tap.bodies)), (model, 1))
    return figures


@check
async def refused(bench: Bench) -> dict:
    """Nothing listens there: an error, at once."""
    request = bench.request("Hello.")
    request = replace(request, model=replace(request.model, base_url="http://127.0.0.1:9/v1"))
    begun = time.perf_counter()
    try:
        await bench.run(request)
    except Exception as exc:
        return {"error": type(exc).__name__, "s": round(time.perf_counter() - begun, 2)}
    raise AssertionError("nothing was raised")


@check
async def cancel(bench: Bench) -> dict:
    """Cancelling closes the connection to the model at once and leaves no task."""
    figures = {}
    for model, way in (("slow", "task"), ("slow", "aclose"), ("hang", "task"), ("tool", "task")):
        bench.tap.reset()
        before = asyncio.all_tasks()
        seconds = await stopped(bench, model, way)
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - before
        if left:
            await asyncio.sleep(0.05)
            left = {t for t in left if not t.done()}
        assert not left, f"{model} {way}: left {left}"
        figures[f"{model} {way}"] = f"{seconds * 1e3:.1f} ms"
    return figures


async def stopped(bench: Bench, model: str, way: str) -> float:
    """Start a run, stop it in the middle, and return the seconds until the tap saw its end."""
    begun, tool_ended = asyncio.Event(), asyncio.Event()

    async def wait(_):
        begun.set()
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            tool_ended.set()

    tools = (bench.tool("wait", wait),) if model == "tool" else ()
    if model == "tool":
        bench.tap.script = [call(("c1", "wait", "{}"))]
    name = "demo:fast" if model == "tool" else f"demo:{model}"
    stream = bench.adapter.execute_agent_streaming(bench.request("Hello.", name, tools=tools))
    if way == "aclose":
        await anext(stream)
        stop = time.perf_counter()
        await stream.aclose()
    else:

        async def read():
            async with contextlib.aclosing(stream):
                async for _ in stream:
                    begun.set()

        task = asyncio.create_task(read())
        if model == "hang":
            while not bench.tap.bodies:
                await asyncio.sleep(0.01)
        else:
            await begun.wait()
        await asyncio.sleep(0.05)
        stop = time.perf_counter()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    ended = time.perf_counter()
    if model == "tool":
        await asyncio.wait_for(tool_ended.wait(), 1)
        return time.perf_counter() - stop
    assert await asyncio.to_thread(bench.tap.gone.wait, 2), f"{model}: still connected"
    return max(bench.tap.gone_at, ended) - stop


@check
async def leaks(bench: Bench) -> dict:
    """Twenty runs, tools and faults among them, leave no file, thread or task behind."""

    async def add(_):
        return "1"

    handle = bench.tool("add", add, a={"type": "integer"})

    async def some(count):
        for n in range(count):
            with contextlib.suppress(Exception):
                model = "demo:500" if n % 5 == 4 else "demo:fast"
                await bench.run(bench.request("add(1)", model, tools=(handle,)))

    await some(5)
    await asyncio.sleep(0.1)  # what is being closed may still count
    before = possessions()
    begun = time.process_time()
    await some(20)
    cpu = time.process_time() - begun
    await asyncio.sleep(0.1)
    after = possessions()
    assert all(after[what] <= before[what] for what in after), f"{after}, before {before}"
    return {**after, "cpu_ms_per_run": round(cpu / 20 * 1e3, 1)}


@check
async def many_at_once(bench: Bench) -> dict:
    """Runs side by side do not mix, and stopping one leaves the others alone."""
    texts = [f"Hello number {n}." for n in range(8)]

    async def one(prompt):
        stream = bench.adapter.execute_agent_streaming(bench.request(prompt))
        return "".join([e.text async for e in stream])

    victim = asyncio.create_task(one_slow(bench))
    answers = asyncio.gather(*(one(text) for text in texts))
    await asyncio.sleep(0.05)
    victim.cancel()
    for text, got in zip(texts, await answers, strict=True):
        assert text in got
    with contextlib.suppress(asyncio.CancelledError):
        await victim
    return {}


async def one_slow(bench: Bench) -> None:
    async for _ in bench.adapter.execute_agent_streaming(bench.request("Slowly.", "demo:slow")):
        pass


@check
async def wrong_subject(bench: Bench) -> dict:
    """What the framework did not build is refused with what is expected."""
    try:
        await bench.run(bench.request("Hello.", subject=object()))
    except bench.errors.InvalidInput as exc:
        same(bench.tap.bodies, [])
        return {"error": str(exc), "hint": getattr(exc, "hint", "")}
    raise AssertionError("no InvalidInput")


@check
async def subject(bench: Bench) -> dict:
    """What the user built with the framework runs, with the conversation, on the run's model."""
    m = bench.messages.Message
    earlier = (m("user", "My name is Ada."), m("assistant", "Hello Ada."))
    build = getattr(subjects, f"{bench.name}_agent")
    request = bench.request("What is my name?", history=earlier, subject=build(bench.access()))
    text = await bench.run(request)
    same(text, bench.tap.text)
    assert "Ada" in text, text
    (body,) = bench.tap.bodies
    roles = [shape(x)[0] for x in body["messages"]]
    same(roles, ["system", "user", "assistant", "user"])
    same(text_of(body["messages"][0]), "You are built by hand.")
    return {"sent": sorted(set(body) - {"messages", "stream", "model"})}


@check
async def team(bench: Bench) -> dict:
    """Several agents answer one after the other; each text comes once, in order."""
    build = getattr(subjects, f"{bench.name}_team", None)
    if build is None:
        same(bench.adapter.capabilities["multi_agent"].level, "absent")
        return {"skipped": "no team"}
    script, wanted, calls = subjects.TEAMS[bench.name]
    bench.tap.script = [say(*x) if isinstance(x, tuple) else call(*x) for x in script]
    m = bench.messages.Message
    earlier = (m("user", "Good morning."), m("assistant", "Good morning to you."))
    request = bench.request("Begin.", history=earlier, subject=build(bench.access()))
    same(await bench.run(request), wanted)
    same(len(bench.tap.bodies), len(script))
    own = [e for e in bench.events if "Tool" in type(e).__name__]
    same([e.name for e in own], calls)
    first = [[shape(x) for x in body["messages"]] for body in bench.tap.bodies]
    bench.tap.reset()
    bench.tap.script = [say(*x) if isinstance(x, tuple) else call(*x) for x in script]
    same(await bench.run(request), wanted)
    again = [[shape(x) for x in body["messages"]] for body in bench.tap.bodies]
    same(again, first)  # the conversation is the kernel's: a team remembers nothing by itself
    return {"own": [e.to_dict() for e in own]}


@check
async def team_stopped(bench: Bench) -> dict:
    """A team that is stopped lets go of the model at once and leaves no task; a next run works."""
    build = getattr(subjects, f"{bench.name}_team", None)
    if build is None:
        return {"skipped": "no team"}
    team = build(bench.access("demo:slow"))
    request = bench.request("Begin.", "demo:slow", subject=team)
    before = asyncio.all_tasks()
    stream = bench.adapter.execute_agent_streaming(request)
    await anext(stream)
    begun = time.perf_counter()
    await stream.aclose()
    assert await asyncio.to_thread(bench.tap.gone.wait, 2), "still connected"
    seconds = bench.tap.gone_at - begun
    await asyncio.sleep(0.05)
    assert not {task for task in asyncio.all_tasks() - before if not task.done()}
    bench.tap.reset()
    if bench.name == "agent_framework":  # its workflows do not survive a stop
        with contextlib.suppress(bench.errors.FrameworkFailed):
            await bench.run(request)
            raise AssertionError("it ran again")
        request = replace(request, subject=build(bench.access()))
    bench.tap.script = [say("One. "), say("Two.")]
    text = await bench.run(request)
    same(text, bench.tap.text)
    return {"closed": f"{seconds * 1e3:.1f} ms"}


@check
async def nested(bench: Bench) -> dict:
    """An agent inside a tool answers its caller, not the reader; both use the run's model."""
    build = getattr(subjects, f"{bench.name}_nested", None)
    if build is None:
        return {"skipped": "agents are called from tools of the user's own"}
    bench.tap.script = [call(("c1", "ask", '{"input": "x"}')), say("inner"), say("outer")]
    request = bench.request("Go.", subject=build(bench.access()))
    same(await bench.run(request), "outer")
    same(text_of(bench.tap.bodies[2]["messages"][-1]), "inner")
    odd = [set(body) & {"reasoning_effort", "verbosity"} for body in bench.tap.bodies]
    same(odd, [set()] * 3)
    return {}


@check
async def asks_a_person(bench: Bench) -> dict:
    """What stops to ask a person fails the run, and says so; the capability says so too."""
    same(bench.adapter.capabilities["human_in_loop"].level, "absent")
    build = getattr(subjects, f"{bench.name}_asking")
    bench.tap.script = [call(("c1", "launch", "{}"))]
    try:
        await bench.run(bench.request("Launch.", subject=build(bench.access())))
    except bench.errors.FrameworkFailed as exc:
        return {"error": str(exc)}
    raise AssertionError("no FrameworkFailed")


@check
async def configuration(bench: Bench) -> dict:
    """Unknown keys warn, wrong types are errors, and each names its field."""
    spec = bench.base.AgentSpec
    found = await bench.adapter.validate_configuration(spec("a", configuration={"nonsense": 1}))
    assert found.is_valid
    same([f.field for f in found.warnings], ["configuration.nonsense"])
    wrong = {key: object() for key in bench.adapter.configuration}
    found = await bench.adapter.validate_configuration(spec("a", configuration=wrong))
    same({f.field for f in found.errors}, {f"configuration.{key}" for key in wrong})
    return {"keys": sorted(wrong)}


async def llama(bench: Bench) -> dict:
    """A real server's answers, text before two tool calls and Unicode come through as they are."""
    dialogues = json.loads((ROOT / "tests" / "llama" / "canned.json").read_text("utf-8"))
    *_, last = dialogues
    bench.tap.extra = {
        "temperature": 0,
        "max_tokens": 400,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    got = []

    def answering(name, text):
        async def run(arguments):
            got.append((name, json.loads(arguments) if isinstance(arguments, str) else arguments))
            return text

        return run

    results = {"get_weather": '{"temp": 4, "sky": "rain"}', "add": "5"}
    tools = tuple(
        bench.base.ToolHandle(
            each["function"]["name"],
            each["function"]["description"],
            each["function"]["parameters"],
            answering(each["function"]["name"], results[each["function"]["name"]]),
            asyncio.get_running_loop(),
        )
        for each in last["tools"]
    )
    text = await bench.run(bench.request("Unicode please.", "tiny"))
    assert "naïve café ½ ∑ ✓" in text, text
    text = await bench.run(bench.request(last["messages"][0]["content"], "tiny", tools=tools))
    same(text, "I will do both.\nIt is 4 C with rain in Oslo, and 2 + 3 = 5.")
    same([name for name, _ in got], ["get_weather", "add"])
    same(got[1][1], {"a": 2, "b": 3})
    return {"tools": got}


LLAMA_CHECKS["llama"] = llama


def as_is(got: list):
    async def run(arguments):
        got.append(arguments if isinstance(arguments, str) else dict(arguments))
        return "error: the arguments are no JSON" if isinstance(arguments, str) else "fine"

    return run


def text_of(message: dict) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def shape(message: dict) -> tuple:
    """Return what matters of a message: frameworks write it in slightly different ways."""
    calls = tuple(
        (c["id"], c["function"]["name"], json.dumps(json.loads(c["function"]["arguments"])))
        for c in message.get("tool_calls") or ()
    )
    role = {"developer": "system"}.get(message["role"], message["role"])
    return role, text_of(message), calls, message.get("tool_call_id") or ""


def possessions() -> dict:
    return {
        "fds": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
    }


def world() -> dict:
    """Return what a framework in the kernel's process must not change."""
    import logging

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return {
        "signals": [signal.getsignal(getattr(signal, name)) for name in names],
        "log": [list(logging.getLogger().handlers), logging.getLogger().level],
        "hooks": [sys.excepthook, threading.excepthook, sys.unraisablehook],
        "environment": dict(os.environ),
    }


async def play(bench: Bench, names: list[str]) -> bool:
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, c: complaints.append(str(c)))
    good = True
    for name in names:
        bench.tap.reset()
        line = {"check": name}
        try:
            async with asyncio.timeout(60):
                line |= await (CHECKS | LLAMA_CHECKS)[name](bench)
        except BaseException as exc:
            line["failed"] = f"{type(exc).__name__}: {exc}"
            line["where"] = traceback.format_exc()[-3000:]
        if complaints:
            line.setdefault("failed", f"asyncio said: {complaints}")
            complaints.clear()
        good &= "failed" not in line
        where = line.pop("where", "")
        print(json.dumps(line, ensure_ascii=False), flush=True)
        if where and os.environ.get("WHERE"):
            print(where, flush=True)
    return good


def main(adapter: str, url: str, token: str, *names: str) -> int:
    folder = stage(adapter)
    sys.path.insert(0, str(folder))
    tap = Tap(url, token)
    before = world()
    try:
        bench = Bench(adapter, tap)
        asyncio.run(bench.adapter.initialize())
        good = asyncio.run(play(bench, list(names or CHECKS)))
    finally:
        tap.close()
        shutil.rmtree(folder)
    changed = [key for key, value in world().items() if value != before[key]]
    blocked = getattr(sys.modules.get("sitecustomize"), "blocked", [])
    print(json.dumps({"check": "world", "changed": changed, "blocked": blocked}))
    return 0 if good and not changed and not blocked else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
