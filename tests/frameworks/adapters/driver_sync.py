"""Drive crewai, autogen or smolagents against the real framework: driver.py's checks, and these.

usage: python driver_sync.py ADAPTER BASE-URL TOKEN [CHECK ...]

CrewAI and smolagents write prompts of their own around what was asked, so what goes over the wire
is compared less strictly for them, and they are killed where AutoGen is cancelled.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from pathlib import Path

import driver
from driver import CHECKS, Bench, call, same, say, text_of

WIRE = {  # driver.py's checks that hold for each
    "autogen": (
        "answer increments no_system reasoning tool parallel_tools bad_arguments unknown_tool "
        "many_tool_turns history schema max_steps faults refused cancel leaks many_at_once "
        "wrong_subject configuration"
    ),
    "crewai": (
        "increments reasoning parallel_tools max_steps faults refused wrong_subject configuration"
    ),
    "smolagents": "faults refused wrong_subject configuration",
}


def own(function):
    CHECKS[function.__name__] = function
    return function


@own
async def second_turn(bench: Bench) -> dict:
    """What was said before is known, in the framework's own words for it."""
    m, c = bench.messages.Message, bench.messages.ToolCall
    earlier = (
        m("user", "My name is Ada."),
        m("assistant", "Let me see.", tool_calls=(c("call_1", "add", '{"a": 1}'),)),
        m("tool", "the sum is 3", tool_call_id="call_1"),
        m("assistant", "Hello Ada."),
    )
    bench.tap.script = [answered(bench, "Ada.")]
    same(await bench.run(bench.request("What is my name?", history=earlier)), "Ada.")
    sent = json.dumps(bench.tap.bodies[0]["messages"])
    for piece in ("My name is Ada.", "Let me see.", "the sum is 3", "Hello Ada.", "my name?"):
        assert sent.count(piece) == 1, (piece, sent)
    return {"roles": [message["role"] for message in bench.tap.bodies[0]["messages"]]}


@own
async def exact_text(bench: Bench) -> dict:
    """Line ends, quotes and signs of any script come out as they went in."""
    wanted = 'Ünï "quoted" \\ back\n\n```py\nx = "\\n"\n```\n\t😀 é 漢字 {braces} [a](b) end'
    bench.tap.script = [answered(bench, wanted)]
    same(await bench.run(bench.request("Say it.", system="Be {exact}.")), wanted)
    assert len(bench.deltas) > 5, bench.deltas
    assert "Be {exact}." in text_of(bench.tap.bodies[0]["messages"][0])
    same(bench.tap.bodies[0]["stream"], True)
    return {"deltas": len(bench.deltas), "sent": sorted(bench.tap.bodies[0])}


@own
async def deep_tool(bench: Bench) -> dict:
    """Nested objects, arrays, enums and optional arguments arrive as the model wrote them."""
    got = []

    async def order(arguments):
        got.append(arguments)
        return "ordered 7"

    parts = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
    handle = bench.tool(
        "order",
        order,
        items={"type": "array", "items": {"$ref": "#/$defs/Part"}},
        speed={"type": "string", "enum": ["slow", "fast"]},
        note={"type": "string", "default": "none"},
        limit={"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        place={"$ref": "#/$defs/Part"},
    )
    handle.parameters["$defs"] = {"Part": parts}
    handle.parameters["required"][:] = ["items", "speed"]
    wanted = {"items": [{"id": 1}, {"id": 2}], "speed": "fast"}
    bench.tap.script = [call(("c1", "order", json.dumps(wanted))), answered(bench, "Done.")]
    same(await bench.run(bench.request("Order.", tools=(handle,))), "Done.")
    same(got, [wanted])
    assert "ordered 7" in json.dumps(bench.tap.bodies[1]["messages"])
    sent = next(t for t in bench.tap.bodies[0]["tools"] if t["function"]["name"] == "order")
    properties = sent["function"]["parameters"]["properties"]
    same(set(properties), {"items", "speed", "note", "limit", "place"})
    same(sent["function"]["parameters"]["required"], ["items", "speed"])
    same(properties["note"]["default"], "none")
    same(properties["speed"]["enum"], ["slow", "fast"])
    return {"sent": sent["function"]["parameters"]}


@own
async def tool_fails(bench: Bench) -> dict:
    """A tool's error text goes to the model, and the run goes on."""

    async def look(_):
        return "ToolError: the disk is gone"

    handle = bench.tool("look", look, x={"type": "string"})
    bench.tap.script = [call(("c1", "look", '{"x": "y"}')), answered(bench, "A pity.")]
    same(await bench.run(bench.request("Look.", tools=(handle,))), "A pity.")
    assert "the disk is gone" in json.dumps(bench.tap.bodies[1]["messages"])
    return {}


@own
async def many_steps(bench: Bench) -> dict:
    """As many model calls as max_steps allows are made, the last of them the answer."""

    async def add(arguments):
        return str(arguments["a"] + 1)

    handle = bench.tool("add", add, a={"type": "integer"})
    calls = [call((f"c{n}", "add", json.dumps({"a": n}))) for n in range(4)]
    bench.tap.script = [*calls, answered(bench, "End.")]
    same(await bench.run(bench.request("Add.", tools=(handle,), max_steps=5)), "End.")
    same(len(bench.tap.bodies), 5)
    bench.tap.reset()
    bench.tap.script = [*calls, answered(bench, "End.")]
    try:
        await bench.run(bench.request("Add.", tools=(handle,), max_steps=4))
    except bench.errors.StepLimitReached as exc:
        same(len(bench.tap.bodies), 4)
        return {"error": str(exc)}
    raise AssertionError("no StepLimitReached")


@own
async def documents(bench: Bench) -> dict:
    """With a schema the text is the JSON document; one that does not match fails the run."""
    wanted = {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "size": {"enum": ["small", "big"]},
            "schema": {"type": ["integer", "null"]},
            "parks": {"type": "array", "items": {"$ref": "#/$defs/Park"}},
        },
        "required": ["city", "size", "parks"],
        "$defs": {"Park": {"type": "object", "properties": {"name": {"type": "string"}}}},
    }
    document = {"city": "Oslo", "size": "big", "parks": [{"name": "Frogner"}]}
    bench.tap.script = [say(*json.dumps(document).split(" "))]
    text = await bench.run(bench.request("One city.", schema=wanted))
    same(json.loads(text), document)
    form = bench.tap.bodies[0]["response_format"]["json_schema"]["schema"]
    bench.tap.reset()
    bench.tap.script = [say('{"city": "Oslo", "size": "huge", "parks": []}') for _ in range(4)]
    try:
        await bench.run(bench.request("One city.", schema=wanted))
    except Exception as exc:
        return {"error": str(exc)[:200], "form": form, "requests": len(bench.tap.bodies)}
    raise AssertionError("a document that does not match was taken")


@own
async def whole_answer(bench: Bench) -> dict:
    """The demo model's answer comes whole, and in increments over time."""
    stream = bench.adapter.execute_agent_streaming(bench.request("Hello.", "demo"))
    clock = asyncio.get_running_loop().time
    seen = [(clock(), event.text) async for event in stream]
    text = "".join(piece for _, piece in seen)
    assert "Demo answer" in text, text
    assert seen[-1][0] - seen[0][0] > 0.3, seen
    return {"deltas": len(seen), "spread_s": round(seen[-1][0] - seen[0][0], 2)}


@own
async def subjects(bench: Bench) -> dict:
    """What a user built runs, is heard by name, and runs again from its beginning."""
    text, again = await SUBJECTS[bench.name](bench)
    same(text, again)
    return {"text": text[:300], "events": [type(e).__name__ for e in bench.events][:40]}


@own
async def plain_answer(bench: Bench) -> dict:
    """smolagents: an answer without final_answer is an answer, and one call is enough."""
    bench.tap.script = [say("Just ", "so", ".")]
    same(await bench.run(bench.request("Say it.")), "Just so.")
    same(len(bench.tap.bodies), 1)
    bench.tap.reset()
    bench.tap.script = [call(("c1", "final_answer", '{"answer": 42}'))]
    same(await bench.run(bench.request("Say it.")), "42")
    return {}


@own
async def tools_at_once(bench: Bench) -> dict:
    """smolagents: two calls of one message run at once, and both results are told."""
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
    same(await bench.run(bench.request("Both?", tools=tools)), "Both.")
    told = text_of(bench.tap.bodies[1]["messages"][-1])
    same(told, "Observation:\nthe left one\nthe right one")
    return {}


@own
async def plans(bench: Bench) -> dict:
    """smolagents: a plan is no part of the answer."""
    bench.tap.script = [say("1. ", "think"), answered(bench, "Done.")]
    request = bench.request("Plan.")
    agent = driver.replace(request.agent, configuration={"planning_interval": 2})
    same(await bench.run(driver.replace(request, agent=agent)), "Done.")
    same(len(bench.tap.bodies), 2)
    return {}


@own
async def long_answer(bench: Bench) -> dict:
    """The cost of a long answer grows with its length, not with its square."""
    costs = []
    for words in (500, 4000):
        bench.tap.reset()
        bench.tap.script = [answered(bench, "word " * words)]
        before = time.process_time()
        same(await bench.run(bench.request("Go on.")), "word " * words)
        costs.append(time.process_time() - before)
    assert costs[1] < 24 * costs[0], costs  # 8 times the length; a square would be 64
    return {"cpu_s": [round(cost, 2) for cost in costs]}


@own
async def code(bench: Bench) -> dict:
    """smolagents: an agent that writes Python runs it, and its result is the answer."""
    bench.tap.script = [say("Thought: sum.\n<code>\nfinal_answer(sum([1, 2, 3]))\n</code>")]
    request = bench.request("Sum.")
    agent = driver.replace(request.agent, configuration={"code": True})
    same(await bench.run(driver.replace(request, agent=agent)), "6")
    names = [type(e).__name__ for e in bench.events]
    same(names, ["ToolCallStarted", "ToolResult", "TextDelta"])
    return {"result": bench.events[1].content}


@own
async def home_is_left_alone(bench: Bench) -> dict:
    """CrewAI: nothing is written under the home folder, and what it needs goes in the end."""
    home = Path(os.environ["HOME"])
    same([str(path) for path in home.rglob("*")], [])
    folder = Path(os.environ["CREWAI_STORAGE_DIR"])
    assert folder.is_dir()
    await bench.adapter.aclose()
    assert not folder.exists()
    await bench.adapter.initialize()
    return {}


@own
async def no_schema(bench: Bench) -> dict:
    """smolagents: a schema is refused before anything is asked."""
    try:
        await bench.run(bench.request("One.", schema={"type": "object", "properties": {}}))
    except bench.errors.FrameworkFailed as exc:
        same(bench.tap.bodies, [])
        return {"error": str(exc)}
    raise AssertionError("no FrameworkFailed")


@own
async def runs_leave_nothing(bench: Bench) -> dict:
    """Twenty runs with a tool leave no file, thread or task behind."""

    async def add(_):
        return "1"

    handle = bench.tool("add", add, a={"type": "integer"})

    async def some(count):
        for _ in range(count):
            bench.tap.script = [call(("c1", "add", '{"a": 1}')), answered(bench, "One.")]
            same(await bench.run(bench.request("Add.", tools=(handle,))), "One.")

    await some(10)
    before = driver.possessions()
    await some(20)
    await asyncio.sleep(0.2)
    after = driver.possessions()
    same((after["fds"], after["tasks"]), (before["fds"], before["tasks"]))
    assert after["threads"] < before["threads"] + 10, (before, after)  # CrewAI's pools fill up
    return after


def answered(bench: Bench, text: str) -> list[dict]:
    """Return the chunks of an answer in small pieces, as this framework wants to have it."""
    if bench.name != "smolagents":
        return say(*(text[i : i + 3] for i in range(0, len(text), 3)))
    written = json.dumps({"answer": text})
    chunks = call(("f1", "final_answer", ""))[:2]
    for i in range(0, len(written), 3):
        piece = {"index": 0, "function": {"arguments": written[i : i + 3]}}
        chunks.append(driver.delta(tool_calls=[piece]))
    return [*chunks, driver.delta("tool_calls")]


async def crew(bench: Bench) -> tuple[str, str]:
    from crewai import LLM, Agent, Crew, Flow, Task
    from crewai.flow.flow import start

    def build(model):
        llm = LLM(
            model=model.name,
            base_url=model.base_url,
            api_key=model.api_key,
            custom_openai=True,
            max_retries=0,
        )
        agents = [
            Agent(role=role, goal="write", backstory="old", llm=llm)
            for role in ("Writer", "Critic")
        ]
        tasks = [
            Task(description=what, expected_output="text", agent=agent)
            for what, agent in zip(("On {topic}.", "Judge it."), agents, strict=True)
        ]
        return Crew(agents=agents, tasks=tasks)

    texts = []
    for _ in range(2):
        bench.tap.script = [say("A ", "poem."), say("Good.")]
        request = bench.request("the sea", subject=build(bench.access()))
        texts.append(await bench.run(request))
        assert "On the sea." in json.dumps(bench.tap.bodies[-2]["messages"])
    same(texts[0], "**Writer**\n\nA poem.\n\n**Critic**\n\nGood.")

    two = build(bench.access())
    two.tasks[1].description = "Judge it by {measure}."
    try:
        await bench.run(bench.request("the sea", subject=two))
    except bench.errors.InvalidInput as exc:
        same(str(exc).split(",")[:2], ["the crew reads measure", " topic"])
    bench.tap.script = [say("A."), say("B.")]
    asked = json.dumps({"topic": "land", "measure": "ear"})
    same(await bench.run(bench.request(asked, subject=two)), "**Writer**\n\nA.\n\n**Critic**\n\nB.")
    assert "by ear" in json.dumps(bench.tap.bodies[-1]["messages"])
    bench.tap.script = [say("A ", "poem.")]
    poet = build(bench.access()).agents[0]
    same(await bench.run(bench.request("the sea", subject=poet)), "A poem.")
    same(len(bench.deltas), 2)

    class Shout(Flow):
        @start()
        def say(self):
            return self.state["prompt"].upper()

    same(await bench.run(bench.request("sea", subject=Shout())), "SEA")
    return texts[0], texts[1]


async def team(bench: Bench) -> tuple[str, str]:
    from autogen_agentchat.agents import AssistantAgent
    from autogen_agentchat.teams import RoundRobinGroupChat, Swarm
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    model = bench.access()
    client = OpenAIChatCompletionClient(
        model=model.name,
        base_url=model.base_url,
        api_key=model.api_key,
        max_retries=0,
        model_info=dict.fromkeys(
            ("vision", "function_calling", "json_output", "structured_output"), True
        )
        | {"family": "unknown"},
    )
    writer = AssistantAgent("writer", client, model_client_stream=True)
    critic = AssistantAgent("critic", client)  # does not stream: its message comes whole
    group = RoundRobinGroupChat([writer, critic], max_turns=2)
    texts = [await bench.run(bench.request("the sea", subject=group)) for _ in range(2)]
    assert texts[0].startswith("**writer**\n\n# Demo answer"), texts[0]
    assert "\n\n**critic**\n\n" in texts[0]
    bench.tap.reset()
    endless = RoundRobinGroupChat([AssistantAgent("one", client, model_client_stream=True)])
    try:
        await bench.run(bench.request("on", subject=endless, max_steps=3))
    except bench.errors.StepLimitReached:
        same(len(bench.tap.bodies) in (3, 4), True)
    else:
        raise AssertionError("no StepLimitReached")
    bench.tap.reset()
    first = AssistantAgent("first", client, handoffs=["second"], model_client_stream=True)
    second = AssistantAgent("second", client, model_client_stream=True)
    bench.tap.script = [call(("h1", "transfer_to_second", "{}")), say("Mine.")]
    same(
        await bench.run(bench.request("go", subject=Swarm([first, second], max_turns=2))),
        "**second**\n\nMine.",
    )
    same(
        [type(e).__name__ for e in bench.events],
        ["ToolCallStarted", "ToolResult", "TextDelta", "TextDelta"],
    )
    bench.tap.reset()
    stream = bench.adapter.execute_agent_streaming(
        bench.request("on", "demo:slow", subject=slow_team(bench))
    )
    await anext(stream)
    await stream.aclose()
    assert await asyncio.to_thread(bench.tap.gone.wait, 2), "the team goes on"
    await client.close()
    return texts[0], texts[1]


def slow_team(bench: Bench):
    from autogen_agentchat.agents import AssistantAgent
    from autogen_agentchat.teams import RoundRobinGroupChat
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    model = bench.access("demo:slow")
    info = dict.fromkeys(("vision", "function_calling", "json_output", "structured_output"), True)
    client = OpenAIChatCompletionClient(
        model=model.name,
        base_url=model.base_url,
        api_key=model.api_key,
        model_info=info | {"family": "unknown"},
    )
    members = [AssistantAgent(n, client, model_client_stream=True) for n in ("one", "two")]
    return RoundRobinGroupChat(members, max_turns=2)


async def managed(bench: Bench) -> tuple[str, str]:
    from smolagents import OpenAIModel, ToolCallingAgent, tool

    @tool
    def shout(text: str) -> str:
        """Shout.

        Args:
            text: what to shout
        """
        return text.upper()

    model = bench.access()
    llm = OpenAIModel(
        model.name,
        api_base=model.base_url,
        api_key=model.api_key,
        retry=False,
        client_kwargs={"max_retries": 0},
    )
    agent = ToolCallingAgent(tools=[shout], model=llm)
    texts = []
    for _ in range(2):
        bench.tap.reset()
        bench.tap.script = [call(("s1", "shout", '{"text": "sea"}')), answered(bench, "It is SEA.")]
        texts.append(await bench.run(bench.request("a zebra", subject=agent)))
        same(json.dumps(bench.tap.bodies[0]["messages"]).count("a zebra"), 1)
    same(texts[0], "It is SEA.")
    same([type(e).__name__ for e in bench.events][:2], ["ToolCallStarted", "ToolResult"])
    llm.client.close()
    return texts[0], texts[1]


SUBJECTS = {"crewai": crew, "autogen": team, "smolagents": managed}
OWN = {
    "autogen": "exact_text second_turn deep_tool tool_fails many_steps documents subjects",
    "crewai": (
        "exact_text second_turn deep_tool tool_fails many_steps documents whole_answer subjects "
        "runs_leave_nothing home_is_left_alone"
    ),
    "smolagents": (
        "exact_text second_turn deep_tool tool_fails many_steps plain_answer plans code "
        "tools_at_once "
        "no_schema long_answer subjects runs_leave_nothing"
    ),
}


def main(adapter: str, url: str, token: str, *names: str) -> int:
    lay_out = driver.stage

    def stage(name: str) -> Path:
        folder = lay_out(name)
        file = "frameworks/adapters/_schema.py"
        shutil.copy(driver.ROOT / "tframex_nb" / file, folder / "tframex_nb" / file)
        return folder

    driver.stage = stage
    if adapter == "crewai":  # it has a process of its own, and does as it likes there
        driver.world = dict
    wanted = names or (WIRE[adapter] + " " + OWN[adapter]).split()
    return driver.main(adapter, url, token, *wanted)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
