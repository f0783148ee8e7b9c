"""A bench for workers: a bare environment, an adapter of tricks, pools that are closed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tframex_nb.frameworks.base import AgentExecutionRequest, AgentSpec, ModelAccess, ToolHandle
from tframex_nb.frameworks.worker import AdapterSource, WorkerPool, WorkerSpec
from tframex_nb.messages import TextDelta

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SOURCE = Path(__file__).with_name("workers.py")
MODEL = ModelAccess("tiny", "http://127.0.0.1:9/v1", "token-of-the-run")
WEATHER = {
    "type": "object",
    "properties": {
        "days": {"type": "integer", "default": 1},
        "city": {"type": "string", "description": "Where"},
    },
    "required": ["city"],
}


class WorkerBench:
    """Pools of workers, and the short way to ask them."""

    def __init__(self, python: Path) -> None:
        self.python = python
        self.pools: list[WorkerPool] = []
        self.printed: list[str] = []

    def spec(self, class_name: str = "Tricks", **options: Any) -> WorkerSpec:
        source = AdapterSource(class_name, SOURCE.read_text(encoding="utf-8"), SOURCE.name)
        given = {"framework": "tricks", "python": self.python, "adapter": source}
        return WorkerSpec(**{**given, **options})

    def pool(self, spec: WorkerSpec | None = None, **options: Any) -> WorkerPool:
        pool = WorkerPool(spec or self.spec(), **options)
        self.pools.append(pool)
        return pool

    def request(self, prompt: str, **options: Any) -> AgentExecutionRequest:
        return AgentExecutionRequest(AgentSpec("a1"), prompt, MODEL, **options)

    def stream(self, pool: WorkerPool, prompt: str, **options: Any):
        own = {name: options.pop(name) for name in ("subject", "waiting") if name in options}
        return pool.stream(self.request(prompt, **options), log=self.printed.append, **own)

    async def ask(self, pool: WorkerPool, prompt: str, **options: Any) -> str:
        """Return the whole text of an answer."""
        stream = self.stream(pool, prompt, **options)
        return "".join([event.text async for event in stream if isinstance(event, TextDelta)])

    def weather(self, call: Callable[[Any], Awaitable[str]]) -> ToolHandle:
        loop = asyncio.get_running_loop()
        return ToolHandle("weather", "The weather somewhere.", WEATHER, call, loop)


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has nothing at all installed."""
    folder = tmp_path_factory.mktemp("bare") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the stages out of the developer's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def on_workers(bare_python: Path) -> Callable[..., Any]:
    """Run an async function on a loop of its own with a bench: ``on_workers(play)``."""

    def run(play: Callable[[WorkerBench], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            bench = WorkerBench(bare_python)
            try:
                return await asyncio.wait_for(play(bench), 60)
            finally:
                for pool in bench.pools:
                    await pool.aclose()

        return asyncio.run(main())

    return run
