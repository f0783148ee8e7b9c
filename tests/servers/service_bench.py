"""A whole service with a scripted model: what the tests of ``Frameworks`` work with."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from scripted_server import ScriptedServer, scripted_server
from tricks_adapter import Exclusive, Here, Shared

from tframex_nb.agents import Agent
from tframex_nb.frameworks.environments import Environments
from tframex_nb.frameworks.service import Frameworks
from tframex_nb.models import RetryPolicy, VLLMModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tframex_nb.runs import Run

__all__ = ["PLACES", "Bench", "on_bench", "valid"]

PLACES = ("here", "shared", "exclusive")  # in this process, in a shared worker, in one alone
PATIENCE = 60  # seconds that a whole scene may take
LIMIT_MB = 4000  # of the shared worker: the limit is what forces it into a worker


class Bench:
    """A service without built-in adapters, a scripted server, and models on it."""

    def __init__(self, folder: Path, server: ScriptedServer, config: dict[str, Any]) -> None:
        self.folder = folder
        self.server = server
        self.config = folder / "runtime-config.yaml"
        self.configure(config)
        self.environments = Environments(folder / "environments")
        self.frameworks = Frameworks(config_path=self.config, environments=self.environments)
        self.model = VLLMModel("scripted", server.url, retry=RetryPolicy(retries=0))
        self._others: list[VLLMModel] = []

    def configure(self, config: dict[str, Any]) -> None:
        """Write the configuration, with what makes the shared worker one."""
        own = {"discovery": {"auto_scan": False}, **config}
        limits = {"shared": {"memory_limit_mb": LIMIT_MB}}
        for name, each in own.get("framework_specific", {}).items():
            limits[name] = {**limits.get(name, {}), **each}
        whole = {"frameworks": {**own, "framework_specific": limits}}
        self.config.write_text(json.dumps(whole), encoding="utf-8")  # JSON is YAML

    def on(self, url: str) -> VLLMModel:
        """Return a model at another URL."""
        self._others.append(VLLMModel("scripted", url, retry=RetryPolicy(retries=0)))
        return self._others[-1]

    def agent(self, name: str = "a", **options: Any) -> Agent:
        return Agent(name, options.pop("model", self.model), **options)

    async def run(self, prompt: str, framework: str = "", **options: Any) -> Run:
        """Run a prompt, and return the run, whichever way it ended."""
        agent = options.pop("agent", None) or self.agent(tools=options.pop("tools", ()))
        before = agent.last
        stream = self.frameworks.stream(agent, prompt, framework=framework, **options)
        try:
            async for _ in stream:
                pass
        except Exception:
            if agent.last is before:  # it never began
                raise
        return agent.last

    def start(self, prompt: str, framework: str, **options: Any) -> tuple[Agent, asyncio.Task]:
        """Begin a run of an agent of its own; it goes on by itself."""
        agent = options.pop("agent", None) or self.agent(tools=options.pop("tools", ()))
        run = self.run(prompt, framework, agent=agent, **options)
        return agent, asyncio.create_task(run)

    async def aclose(self) -> None:
        await self.frameworks.aclose()
        for model in (self.model, *self._others):
            await model.aclose()


def on_bench(
    folder: Path, play: Callable[[Bench], Awaitable[Any]], *, load: bool = True, **config: Any
) -> Any:
    """Run an async function on a loop of its own with a bench."""

    async def main(server: ScriptedServer) -> Any:
        bench = Bench(folder, server, config)
        async with contextlib.aclosing(bench), asyncio.timeout(PATIENCE):
            for each in (Here, Shared, Exclusive) if load else ():
                await bench.frameworks.load(each)
            return await play(bench)

    with scripted_server() as server:
        return asyncio.run(main(server))


def valid(messages: Any) -> bool:
    """As endpoints want it: each call answered right behind its message, ids only once."""
    waiting: list[str] = []
    seen: set[str] = set()
    for message in messages:
        data = message if isinstance(message, dict) else message.to_dict()
        if data["role"] == "tool":
            if data["tool_call_id"] not in waiting:
                return False
            waiting.remove(data["tool_call_id"])
            continue
        if waiting:
            return False
        waiting = [call["id"] for call in data.get("tool_calls", ())]
        if len(set(waiting)) < len(waiting) or seen & set(waiting):
            return False
        seen |= set(waiting)
    return not waiting
