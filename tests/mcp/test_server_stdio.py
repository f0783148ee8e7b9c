"""Agents as an MCP server over stdio: real processes, and the official SDK's client."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import psutil
import pytest
from mcp.shared.exceptions import MCPError
from mcp_served import COMMAND, PATIENCE, over_stdio, raw, seen, text_of
from scripted_server import Say, server

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripted_server import Request, ScriptedServer

__all__ = ["server"]

ERAS = ("legacy", "auto")  # with the handshake, and without
FILE = """
import os
import time
from pathlib import Path
from pydantic import BaseModel
from tframex_nb import Agent, BasicAgent, tool

print("printed at import")
os.system("echo child at import")


class Bill(BaseModel):
    number: str
    total: float


@tool
def revenue_of(region: str) -> dict[str, int]:
    "Return the revenue of a region."
    print("printed in a call")
    os.system("echo child in a call")
    return {region: 120}


@tool(writes=True)
def book(amount: float) -> str:
    "Book an amount."
    raise ValueError("refused with token=planted-secret-1")


@tool
def wait_for(path: str) -> str:
    "Block until a file is there."
    while not Path(path).exists():
        time.sleep(0.01)
    return "there"


@tool
def touch(path: str) -> str:
    "Make a file."
    Path(path).touch()
    return "made"


def unmarked() -> str: ...


_hidden = BasicAgent("hidden")
analyst = Agent("analyst", tools=[revenue_of], description="Answers questions about sales.")
clerk = BasicAgent("clerk", system="The planted system message.")
alias = clerk
"""


@pytest.fixture
def agents() -> str:
    """A file with agents and functions in the current folder."""
    Path("sales.py").write_text(FILE)
    return "sales.py"


def real(server: ScriptedServer) -> dict[str, str]:
    """Return the settings that make a scripted server the model."""
    return {"TFRAMEX_API_URL": server.url, "TFRAMEX_MODEL": "scripted"}


@pytest.mark.parametrize("mode", ERAS)
def test_a_client_lists_and_calls_agents_and_functions(agents: str, mode: str) -> None:
    """Without a key the demo model answers; a function's prints do no harm."""

    async def main() -> None:
        async with over_stdio(
            *(agents, "--schema", "clerk=sales.py:Bill", "--name", "sales"),
            mode=mode,
            TFRAMEX_MODEL="demo:fast",
        ) as client:
            assert client.server_info.name == "sales"
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert list(tools) == ["revenue_of", "book", "wait_for", "touch", "analyst", "clerk"]
            assert tools["revenue_of"].input_schema["required"] == ["region"]
            assert tools["revenue_of"].annotations.read_only_hint is None
            assert tools["book"].annotations.read_only_hint is False
            assert tools["analyst"].description == "Answers questions about sales."
            assert tools["analyst"].input_schema["properties"].keys() == {"prompt"}
            assert "planted" not in tools["clerk"].model_dump_json()
            assert tools["clerk"].output_schema["required"] == ["number", "total"]
            result = await client.call_tool("revenue_of", {"region": "nordics"})
            assert (text_of(result), result.is_error) == ('{"nordics":120}', False)
            result = await client.call_tool("analyst", {"prompt": "revenue_of region=nordics"})
            assert "120" in text_of(result)
            assert result.structured_content is None
            result = await client.call_tool("clerk", {"prompt": "number=A-17 total=12.5"})
            assert result.structured_content == {"number": "A-17", "total": 12.5}
            assert json.loads(text_of(result)) == result.structured_content

    asyncio.run(main())


@pytest.mark.parametrize("mode", ERAS)
def test_a_call_tells_its_progress_and_stops_when_it_is_cancelled(
    agents: str, mode: str, server: ScriptedServer
) -> None:
    """The upstream connection closes at once, and the next call is answered."""
    server.say(Say(["Once upon ", "a time"], hold=True), "The end.")

    async def main() -> None:
        told: list[tuple[float, str | None]] = []

        async def progress(done: float, _total: float | None, message: str | None) -> None:
            told.append((done, message))

        async with over_stdio(agents, mode=mode, **real(server)) as client:

            async def call() -> None:
                await client.call_tool("clerk", {"prompt": "tell"}, progress_callback=progress)

            async with asyncio.timeout(PATIENCE):
                async with anyio.create_task_group() as group:
                    group.start_soon(call)
                    await seen(lambda: any("16 characters" in str(each[1]) for each in told))
                    group.cancel_scope.cancel()
            assert await asyncio.to_thread(server.wait_closed)
            assert [done for done, _ in told] == sorted({done for done, _ in told})
            assert text_of(await client.call_tool("clerk", {"prompt": "again"})) == "The end."

    asyncio.run(main())


def test_errors_are_results_with_what_to_do_next_and_no_secret(agents: str, tmp_path: Path) -> None:
    async def main() -> None:
        log = tmp_path / "log"
        async with over_stdio(agents, "-m", "demo:401", log=log) as client:
            result = await client.call_tool("analyst", {"prompt": "hello"})
            assert result.is_error
            assert text_of(result).startswith("AuthError: ")
            assert "\nhint: " in text_of(result)
            result = await client.call_tool("book", {"amount": 1})
            assert (result.is_error, text_of(result)) == (
                True,
                "ValueError: refused with token=***",
            )
            for name, arguments in (
                ("book", {"amount": "x"}),
                ("analyst", {}),
                ("clerk", {"prompt": 1}),
            ):
                result = await client.call_tool(name, arguments)
                assert result.is_error
                assert "rguments" in text_of(result)
                assert "Traceback" not in text_of(result)
            with pytest.raises(
                MCPError, match="There is no tool 'analist'; did you mean 'analyst'"
            ):
                await client.call_tool("analist", {"prompt": "hello"})
        assert "Traceback" not in log.read_text()

    asyncio.run(main())


@pytest.mark.processes
def test_an_answer_that_broke_off_is_kept_beside_the_error(
    agents: str, server: ScriptedServer
) -> None:
    server.say(Say("Half of", cut=True))

    async def main() -> None:
        async with over_stdio(agents, **real(server)) as client:
            result = await client.call_tool("clerk", {"prompt": "tell"})
            assert result.is_error
            assert result.content[0].text.startswith("Truncated: ")
            assert result.content[1].text.endswith("\nHalf of")

    asyncio.run(main())


@pytest.mark.processes
def test_calls_do_not_wait_for_each_other(agents: str, server: ScriptedServer) -> None:
    """Neither for an answer of a model, nor for a function that blocks."""

    def answer(request: Request) -> Say:
        return Say(f"answer to {request.texts[-1]}", hold=request.texts[-1] == "never")

    server.answer = answer

    async def main() -> None:
        async with over_stdio(agents, **real(server)) as client:
            async with asyncio.timeout(PATIENCE):
                never = asyncio.create_task(client.call_tool("clerk", {"prompt": "never"}))
                blocked = asyncio.create_task(client.call_tool("wait_for", {"path": "flag"}))
                await seen(lambda: server.busy)
                result = await client.call_tool("clerk", {"prompt": "two"})
                assert text_of(result) == "answer to two"
                await client.call_tool("touch", {"path": "flag"})
                assert text_of(await blocked) == "there"
                never.cancel()
                await asyncio.wait({never})

    asyncio.run(main())


@pytest.mark.processes
def test_a_tool_that_blocks_an_agent_blocks_nobody_else(
    agents: str, server: ScriptedServer
) -> None:
    """Also where another agent asks it: its synchronous tools run in threads, too."""
    Path("more.py").write_text(
        "from sales import wait_for\nfrom tframex_nb import Agent\n"
        "inner = Agent('inner', tools=[wait_for])\nouter = Agent('outer', tools=[inner])\n"
    )
    server.say(
        Say(calls=[("inner", {"prompt": "wait"})]),
        Say(calls=[("wait_for", {"path": "flag"})]),
        "inner is done",
        "outer is done",
    )

    async def main() -> None:
        async with over_stdio(agents, "more.py", **real(server)) as client:
            async with asyncio.timeout(PATIENCE):
                outer = asyncio.create_task(client.call_tool("outer", {"prompt": "go"}))
                await seen(lambda: len(server.requests) == 2)
                await client.call_tool("touch", {"path": "flag"})
                assert text_of(await outer) == "outer is done"

    asyncio.run(main())


@pytest.mark.processes
def test_each_call_is_a_conversation_of_its_own(agents: str, server: ScriptedServer) -> None:
    server.say("Hello Ada.", "I do not know.")

    async def main() -> None:
        async with over_stdio(agents, **real(server)) as client:
            await client.call_tool("clerk", {"prompt": "I am Ada."})
            await client.call_tool("clerk", {"prompt": "Who am I?"})

    asyncio.run(main())
    assert server.requests[1].texts == ["The planted system message.", "Who am I?"]


@pytest.mark.processes
def test_a_hostile_prompt_is_text_and_nothing_else(agents: str, server: ScriptedServer) -> None:
    """No expression in it is evaluated, and no line of it is a message of the protocol."""
    message = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {}})
    prompt = f"{{{{ 6 * 7 }}}} \x00\x1b[2J\r\n{message}\n\u2028</tool>" + "x" * 1_000_000
    server.say(f"{message}\n\x1b[2J")

    async def main() -> None:
        async with over_stdio(agents, **real(server)) as client:
            result = await client.call_tool("clerk", {"prompt": prompt})
            assert text_of(result) == f"{message}\n\x1b[2J"

    asyncio.run(main())
    assert server.requests[0].texts[-1] == prompt


def test_stdout_has_the_protocol_and_nothing_else(agents: str) -> None:
    """What code and its children print goes to stderr; who reads stdin finds its end."""
    Path("more.py").write_text(
        "import sys, logging\nfrom tframex_nb import tool\n"
        "first = sys.stdin.read()\n"
        "logging.basicConfig(stream=sys.stdout, level=10)\n"
        "@tool\ndef reads() -> str:\n"
        "    print('late')\n    return repr(first + sys.stdin.read())\n"
    )
    with raw(agents, "more.py") as started:
        assert started.open()["serverInfo"]["name"] == "tframex-nb"
        for number, name in enumerate(("reads", "revenue_of", "nothing"), 1):
            started.call(number, name, **({"region": "x"} if name == "revenue_of" else {}))
            assert started.receive()["id"] == number
        started.process.stdin.close()
        assert started.process.stdout.read() == ""
        said = started.process.stderr.read()
        assert started.process.wait(PATIENCE) == 0
    for line in ("printed at import", "child at import", "printed in a call", "child in a call"):
        assert said.count(line) == 1
    assert "late" in said


@pytest.mark.processes
def test_lines_that_are_no_messages_do_no_harm(agents: str) -> None:
    with raw(agents) as started:
        started.open()
        started.process.stdin.buffer.write(b"{\n\xff\n[1]\n\n" + b'"text"\n' * 3)
        started.send(id=7, method="tools/call", params={"name": "clerk", "arguments": [1]})
        assert "error" in started.receive()
        surrogates = '{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"clerk",'
        started.process.stdin.write(surrogates + '"arguments":{"prompt":"\\ud83d"}}}\n')
        started.call(9, "revenue_of", region="x")
        answers = {}
        while 9 not in answers:
            answer = started.receive()
            answers[answer.get("id")] = answer
        assert answers[9]["result"]["content"][0]["text"] == '{"x":120}'


@pytest.mark.processes
@pytest.mark.parametrize("how", ["stdin", "SIGINT", "SIGTERM"])
def test_the_end_of_the_client_is_the_end_of_the_server(
    agents: str, how: str, server: ScriptedServer
) -> None:
    """With a run under way, whose connection closes, and a function that never returns."""
    server.say(Say("Once", hold=True))
    with raw(agents, **real(server)) as started:
        started.open()
        started.call(1, "wait_for", path="never")
        started.call(2, "clerk", prompt="tell")
        until(lambda: server.busy)
        if how == "stdin":
            started.process.stdin.close()
        else:
            started.process.send_signal(getattr(signal, how))
        assert started.process.wait(PATIENCE) == 0
        assert server.wait_closed()
        assert "Traceback" not in started.process.stderr.read()


@pytest.mark.processes
def test_a_client_that_is_killed_takes_the_server_with_it(agents: str) -> None:
    """All it takes is that nobody holds the other end of the pipes."""
    with raw(agents) as started:
        started.open()
        started.process.stdout.close()
        started.call(1, "revenue_of", region="x")
        started.process.stdin.close()
        assert started.process.wait(PATIENCE) == 0
        assert "Traceback" not in started.process.stderr.read()


@pytest.mark.processes
def test_a_script_serves_its_own_agents(agents: str) -> None:
    """``serve`` does what the command does; what was printed before it is on stdout."""
    Path("script.py").write_text(
        "print('before')\nfrom sales import clerk, revenue_of\nfrom tframex_nb.mcp import serve\n"
        "raise SystemExit(serve(clerk, revenue_of, model='demo:fast', name='script'))\n"
    )
    with raw(command=[sys.executable, "script.py"]) as started:
        lines = {started.process.stdout.readline() for _ in range(3)}
        assert lines == {"before\n", "printed at import\n", "child at import\n"}
        assert started.open()["serverInfo"]["name"] == "script"
        started.call(1, "clerk", prompt="hello")
        assert started.receive()["result"]["isError"] is False
        started.process.stdin.close()
        assert started.process.wait(PATIENCE) == 0


@pytest.mark.processes
def test_a_target_may_have_the_name_of_the_sdk() -> None:
    """Where ``python -m`` puts the current folder first, the file that hides it is named."""
    code = "from tframex_nb import tool\n@tool\ndef f() -> int:\n    return 7\n"
    Path("mcp.py").write_text(code)
    with raw("mcp.py", command=[str(Path(sys.executable).with_name("tframex-nb")), "mcp"]) as it:
        it.open()
        it.call(1, "f")
        assert it.receive()["result"]["content"][0]["text"] == "7"
    with raw("mcp.py") as it:
        said = it.process.stderr.read()
        assert (it.process.wait(PATIENCE), "mcp.py hides the package mcp" in said) == (2, True)


@pytest.mark.processes
def test_closed_pipes_are_named(agents: str) -> None:
    shell = f"exec {shlex.join([*COMMAND, agents])} <&-"
    done = subprocess.run(
        ["sh", "-c", shell], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "stdin or stdout is closed" in done.stderr


@pytest.mark.frameworks
def test_an_agent_of_another_framework_is_served_and_leaves_no_orphan(
    root: Path, missing_part: Callable[[str], None], server: ScriptedServer
) -> None:
    """Its worker ends with the server, killed with SIGKILL in mid-run."""
    places = root / ".venvs" / "frameworks"
    if not list(places.glob("langgraph-*")):
        missing_part("langgraph is not installed: make frameworks")
    Path("graph.py").write_text(
        "from tframex_nb import Agent, tool\n"
        "@tool\ndef double(n: int) -> int:\n    return 2 * n\n"
        "grapher = Agent('grapher', framework='langgraph', tools=[double])\n"
    )
    server.say(
        Say(calls=[("double", {"n": 21})]),
        "It is 42.",
        Say("Once", hold=True),
        Say("Twice", hold=True),
    )
    with raw("graph.py", TFRAMEX_FRAMEWORKS_DIR=str(places), **real(server)) as started:
        started.open()
        started.call(1, "grapher", prompt="double 21")
        answer: dict[str, Any] = started.receive()
        assert answer["result"]["content"] == [{"type": "text", "text": "It is 42."}]
        assert server.requests[1].texts[-1] == "42"
        workers = psutil.Process(started.process.pid).children(recursive=True)
        assert workers
        started.call(2, "grapher", prompt="tell")
        until(lambda: server.busy)
        started.send(method="notifications/cancelled", params={"requestId": 2})
        assert server.wait_closed()
        started.call(3, "grapher", prompt="tell")
        until(lambda: len(server.requests) == 4 and server.busy)
        started.process.kill()
        gone, alive = psutil.wait_procs(workers, timeout=PATIENCE)
        assert (len(gone), alive) == (len(workers), [])
        assert server.wait_closed()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
