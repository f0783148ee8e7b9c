"""Measure the resolver: 1,000 frameworks x 1,000 templates, cold, cached, registering, memory.

``sparse``: each framework supports ten templates. ``dense``: each supports all thousand, so that
every resolution has a thousand candidates. ``own``: as dense, and every adapter validates itself.
Times are of the CPU, so that they mean the same on a busy machine.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
import tracemalloc
from typing import TYPE_CHECKING

from tframex_nb.frameworks.base import (
    NATIVE,
    PARTIAL,
    AgentSpec,
    ExecutionRequirements,
    FrameworkIntegration,
    ValidationResult,
)
from tframex_nb.frameworks.registry import FrameworkRegistry
from tframex_nb.frameworks.resolver import FrameworkResolverService
from tframex_nb.frameworks.templates import TemplateFrameworkMapping

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 1000
NEEDS = ExecutionRequirements(streaming=True, memory=True)


class Adapter(FrameworkIntegration):
    capabilities = {"streaming": NATIVE, "memory": PARTIAL("short"), "tools": NATIVE}  # noqa: RUF012 - never changed

    def __init__(self, number: int, templates: tuple[str, ...]) -> None:
        super().__init__()
        self.name = f"framework-{number}"
        self.templates = templates

    async def execute_agent_streaming(self, request):
        yield request


class Validating(Adapter):
    async def validate_configuration(self, agent):
        return ValidationResult() if agent.id else None


def templates_of(number: int, each: int) -> tuple[str, ...]:
    return tuple(f"template-{(number * each + at) % COUNT}" for at in range(each))


def registered(make: Callable[[int], FrameworkIntegration]) -> tuple[FrameworkRegistry, float]:
    """Return the registry and the microseconds of one registration."""
    adapters = [make(number) for number in range(COUNT)]
    registry = FrameworkRegistry()
    begin = time.process_time()
    for adapter in adapters:
        registry.register_framework(adapter)
    return registry, (time.process_time() - begin) / COUNT * 1e6


def mapping_of() -> TemplateFrameworkMapping:
    from tframex_nb.frameworks.config import TemplateEntry

    mapping = TemplateFrameworkMapping()
    mapping.configure(
        {
            f"template-{n}": TemplateEntry(
                preferred_frameworks=(f"framework-{n}",), required_capabilities=("streaming",)
            )
            for n in range(COUNT)
        }
    )
    return mapping


async def timed(service: FrameworkResolverService, rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of cold and of cached resolutions, a template each."""
    cold, cached = [], []
    for number in range(rounds):
        agent = AgentSpec("agent", "agent", f"template-{number}")
        for times in (cold, cached):
            begin = time.process_time()
            resolution = await service.resolve(agent, NEEDS)
            times.append((time.process_time() - begin) * 1e3)
        assert resolution.chosen
    return cold, cached


def measure(name: str, make: Callable[[int], FrameworkIntegration], rounds: int) -> None:
    gc.collect()
    tracemalloc.start()
    registry, _ = registered(make)
    size = tracemalloc.get_traced_memory()[0] / 2**20
    tracemalloc.stop()
    registry, each = registered(make)
    service = FrameworkResolverService(registry, mapping_of())
    cold, cached = asyncio.run(timed(service, rounds))
    print(
        f"{name:7} cold p50 {statistics.median(cold):7.3f} p99 {p99(cold):7.3f} ms   "
        f"cached p50 {statistics.median(cached):7.4f} p99 {p99(cached):7.4f} ms   "
        f"register {each:7.1f} us   registry {size:6.1f} MiB"
    )


def p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]


def main() -> None:
    every = tuple(f"template-{n}" for n in range(COUNT))
    measure("sparse", lambda n: Adapter(n, templates_of(n, 10)), COUNT)
    measure("dense", lambda n: Adapter(n, every), 100)
    measure("own", lambda n: Validating(n, every), 100)


if __name__ == "__main__":
    main()
