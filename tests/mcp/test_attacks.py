"""What a hostile server, a stranger's folder and a server's own secrets come to."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp_site import answer

from tframex_nb import Agent, BaseAgent, tool
from tframex_nb.errors import McpError
from tframex_nb.mcp import (
    McpCallFailed,
    McpServer,
    McpServers,
    McpStartFailed,
    McpUntrusted,
)
from tframex_nb.mcp.definition import PROXY, Definition
from tframex_nb.mcp.server import build_server
from tframex_nb.mcp.veil import Veil

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tframex_nb.agents.tools import Tool

SECRET = "correct horse/battery"
ECHO = """
import json, os, sys
secret = os.environ["DB_PASSWORD"]
print("begins with", secret, file=sys.stderr, flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    answer = {"jsonrpc": "2.0", "id": asked["id"]}
    if asked["method"] == "initialize":
        answer["result"] = {
            "protocolVersion": asked["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "echo", "version": secret},
        }
    elif asked["method"] == "tools/list":
        schema = {"type": "object", "properties": {"x": {"default": secret}}}
        names = ("says", "fails", "refuses", "breaks", "halves", "busy")
        answer["result"] = {"tools": [
            {"name": n, "description": f"With {secret}.", "inputSchema": schema} for n in names
        ]}
    elif asked["method"] == "tools/call":
        name = asked["params"]["name"]
        said = {"password": secret, "mode": os.environ["MODE"], "root": os.environ["ROOT"]}
        content = [{"type": "text", "text": json.dumps(said)}]
        answer["result"] = {"content": content, "isError": name == "fails"}
        if name == "refuses":
            del answer["result"]
            answer["error"] = {"code": -32603, "message": f"no {secret}"}
        if name == "breaks":
            answer["result"] = {"content": secret}
        if name == "halves":
            answer["result"] = {"content": [{"type": "text", "text": "a \\ud800 b"}]}
        if name == "busy":
            del answer["result"]
            answer["error"] = {"code": -32000, "message": "come \\x1b[2J back later"}
    else:
        answer["error"] = {"code": -32601, "message": "not here"}
    print(json.dumps(answer), flush=True)
"""


def with_tools(server: McpServer, test: Callable[[dict[str, Tool]], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with asyncio.timeout(60), server:
            return await test({tool.name: tool for tool in await server.tools()})

    return asyncio.run(main())


@pytest.fixture
def echo(tmp_path: Path) -> McpServer:
    """A server that tells its own secret wherever it can."""
    (tmp_path / "echo.py").write_text(ECHO)
    env = {"DB_PASSWORD": SECRET, "MODE": "true", "ROOT": "/srv/files"}
    return McpServer(sys.executable, [str(tmp_path / "echo.py")], env=env, name="echo")


def test_a_server_cannot_tell_its_own_secret(echo):
    async def test(tools):
        said = [await tools["says"].function({})]
        for name in ("fails", "refuses", "breaks"):
            with pytest.raises(McpError) as caught:
                await tools[name].function({})
            error: BaseException | None = caught.value
            while error is not None:  # what a traceback shows
                said.append(f"{error} {error.args} {getattr(error, 'stderr', '')}")
                shown = error.__cause__ is not None or not error.__suppress_context__
                error = (error.__cause__ or error.__context__) if shown else None
        said += [tools["says"].description, json.dumps(tools["says"].parameters)]
        return said

    said = with_tools(echo, test)
    assert not [each for each in said if "horse" in each]
    assert json.loads(said[0]) == {"password": "***", "mode": "true", "root": "/srv/files"}
    assert "***" in said[-1]


def test_half_a_surrogate_pair_is_an_answer_and_no_silence(echo):
    async def test(tools):
        return await tools["halves"].function({})

    assert with_tools(echo, test) == "a \ufffd b"


def test_a_servers_own_error_is_no_lost_connection(echo):
    """-32000 is what the package says of a lost connection, and what servers say of anything."""

    async def test(tools):
        with pytest.raises(McpCallFailed, match="back later"):
            await tools["busy"].function({})
        return await tools["halves"].function({})

    assert with_tools(echo, test)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MODE", "true", "true"),
        ("LEVEL", "debugging", "debugging"),
        ("TZ", "Europe/Berlin", "Europe/Berlin"),
        ("ROOT", "/srv/data of all", "/srv/data of all/x"),
        ("HOST", "https://host.example:8443/api", "https://host.example:8443/api"),
        ("API_KEY", "on", "on"),
    ],
)
def test_a_value_that_is_no_secret_stays_readable(name, value, said):
    assert Veil([(name, value)]).text(said) == said


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("API_KEY", "abcd", "abcd"),
        ("PIN", "x7-13-98", "x7-13-98"),
        ("authorization", "Bearer abc.def.ghi", "abc.def.ghi"),
        ("authorization", "Basic dXNlcjpvcGVuLXNlc2FtZQ==", "open-sesame"),
        ("DATABASE", "postgres://me:open%2Fsesame@host/db", "open/sesame"),
        ("CERT_KEY", "-----BEGIN\nabcdefghijkl\n-----END", "abcdefghijkl"),
        ("PASSWORD", 'a"quoted"\\one', json.dumps('a"quoted"\\one')[1:-1]),
        ("PASSWORD", "with spaces/too", "with%20spaces%2Ftoo"),
    ],
)
def test_a_secret_is_masked_in_whatever_form_it_comes_back(name, value, said):
    assert Veil([(name, value)]).text(f"it is {said}!") == "it is ***!"


def test_an_argument_that_is_a_key_is_told_to_nobody():
    args = ("--api-key", "abcd", "--token=efgh", "--header", "Authorization: Basic ijkl", "--all")
    mine = Definition("x", "run", args)
    assert not [each for each in ("abcd", "efgh", "ijkl") if each in mine.target]
    assert mine.target.endswith("--all")


def test_a_strangers_definition_is_told_whole_before_it_is_trusted(tmp_path):
    """A mask, an unseen character or an unnamed value could hide what a person agrees to."""
    Path("tframex.toml").write_text(
        '[mcp.nice]\ncommand = "run"\nargs = ["--token", "evil; rm", "a\\u202eb", ""]\n'
        'env = { LD_PRELOAD = "./evil.so", LIST = "--token" }\n'
    )
    with pytest.raises(McpUntrusted) as caught:
        asyncio.run(McpServers().tools("nice"))
    for part in ("evil; rm", r"\\u202e", "LD_PRELOAD=./evil.so", "''"):
        assert part in caught.value.hint


def test_a_folder_of_nobody_spoils_no_other_server(monkeypatch):
    monkeypatch.setenv("TFRAMEX_MCP__A__COMMAND", "run")
    monkeypatch.setenv("TFRAMEX_MCP__A__CWD", "~no-such-user-here/x")
    monkeypatch.setenv("TFRAMEX_MCP__B__COMMAND", "run")
    states = {each.name: each for each in McpServers().states()}
    assert (states["a"].state, states["b"].state) == ("unusable", "off")
    assert "no-such-user-here" in states["a"].problem


def test_a_program_that_gets_no_proxy_says_how_it_gets_one(monkeypatch):
    for name in PROXY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/company.pem")

    async def hint(**options: Any) -> str:
        with pytest.raises(McpStartFailed) as caught:
            async with McpServer(sys.executable, ["-c", "1"], **options):
                pass
        return caught.value.hint

    assert 'env_from = ["HTTPS_PROXY", "SSL_CERT_FILE"]' in asyncio.run(hint())
    passed = asyncio.run(hint(env_from=["HTTPS_PROXY", "SSL_CERT_FILE"]))
    assert "proxy" not in passed


def test_a_site_that_hears_no_good_bye_holds_up_no_shutdown(site):
    let_go = threading.Event()

    def reply(handler: Any) -> None:
        if handler.command == "DELETE":
            let_go.wait(30)
            return
        asked = json.loads(handler.body or b"{}")
        if handler.command == "GET" or "id" not in asked:
            answer(handler, 405 if handler.command == "GET" else 202)
            return
        version = (asked.get("params") or {}).get("protocolVersion", "")
        result: dict[str, Any] = {"tools": []}
        if asked["method"] == "initialize":
            about = {"name": "site", "version": "1"}
            result = {"protocolVersion": version, "capabilities": {"tools": {}}}
            result["serverInfo"] = about
        elif asked["method"] != "tools/list":
            fault = {"code": -32601, "message": "not here"}
            said = {"jsonrpc": "2.0", "id": asked["id"], "error": fault}
            answer(handler, 200, json.dumps(said).encode(), content_type="application/json")
            return
        said = {"jsonrpc": "2.0", "id": asked["id"], "result": result}
        body = json.dumps(said).encode()
        answer(handler, 200, body, content_type="application/json", mcp_session_id="s1")

    async def main() -> float:
        server = McpServer(url=site.url)
        assert await server.tools() == []
        start = time.monotonic()
        await server.aclose()
        return time.monotonic() - start

    site.reply = reply
    try:
        seconds = asyncio.run(main())
    finally:
        let_go.set()
    assert seconds < 4.5
    assert "DELETE" in site.methods


def test_no_descriptor_for_a_thread_is_an_error_and_no_hang():
    code = (
        "import asyncio, os, resource\n"
        "from tframex_nb.errors import McpError\n"
        "from tframex_nb.mcp.portal import Portal\n"
        "async def work(): return 1\n"
        "async def main():\n"
        "    free = os.dup(0); os.close(free)\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (free, free))\n"
        "    try: await Portal().call(work)\n"
        "    except McpError as exc: print('told:', exc.message)\n"
        "asyncio.run(main())\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert said.stdout.startswith("told: no thread for MCP servers could be had")
    assert "Too many open files" in said.stdout
    assert "never awaited" not in said.stderr


def silent() -> str:
    return ""


@tool(writes=False)
def reads() -> str:
    return ""


@tool(writes=True)
def writes() -> str:
    return ""


class Odd(BaseAgent):
    """An agent of a user's own, which may do anything."""

    async def steps(self, model: Any, messages: Any, **params: Any) -> Any:
        yield model, messages, params


@pytest.mark.parametrize(
    ("thing", "only_reads"),
    [
        (silent, None),
        (reads, True),
        (writes, False),
        (Agent("a"), True),
        (Agent("a", tools=[reads]), True),
        (Agent("a", tools=[reads, silent]), None),
        (Agent("a", tools=[silent, writes]), False),
        (Agent("a", tools=[Agent("b", tools=[writes])]), None),
        (Odd("a"), None),
        (Agent("a", framework="smolagents"), None),
    ],
    ids=[
        "silent",
        "reads",
        "writes",
        "bare",
        "all-read",
        "one-silent",
        "one-writes",
        "below",
        "own",
        "framework",
    ],
)
def test_a_client_is_promised_only_what_somebody_said(thing, only_reads):
    """Clients run unasked what claims to only read."""
    (offer,) = build_server(thing).offers.values()
    hints = offer.listed().annotations
    assert hints.read_only_hint is only_reads
    assert hints.destructive_hint is (True if only_reads is False else None)
