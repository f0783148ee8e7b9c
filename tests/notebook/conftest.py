"""Real kernels and a real streaming server for the notebook's tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clock_server import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent


def _load(path: Path):
    """Import a module of the test bench by its file: tests are no package."""
    name = f"bench_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def clock_server() -> Iterator[Clock]:
    clock = Clock()
    yield clock
    clock.close()


@pytest.fixture
def clock(clock_server: Clock) -> Clock:
    """The clock server, its record empty."""
    clock_server.reset()
    return clock_server


@pytest.fixture(scope="session")
def new_kernel(tmp_path_factory) -> Callable:
    """Start a kernel in an empty folder: ``new_kernel(TFRAMEX_MODEL="demo")``."""
    kernels = _load(HERE / "kernels.py")

    def start(log=None, **env: str):
        return kernels.Kernel(env=env, cwd=str(tmp_path_factory.mktemp("kernel")), log=log)

    return start


@pytest.fixture(scope="module")
def shared_kernel(new_kernel, clock_server) -> Iterator:
    kernel = new_kernel(TFRAMEX_API_URL=clock_server.url, TFRAMEX_MODEL="text-40")
    assert kernel.run("%load_ext tframex_nb").status == "ok"
    yield kernel
    kernel.close()


@pytest.fixture
def kernel(shared_kernel):
    """A kernel with the extension loaded, its model on the clock server."""
    shared_kernel.run("%reset -f\nimport asyncio, time")
    return shared_kernel
