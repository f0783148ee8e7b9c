"""Real kernels and a real streaming server for the notebook's tests."""

from __future__ import annotations

import importlib.util
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clock_server import Clock
from package_index import IndexServer, PackageIndex, wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent

# An adapter in a file, whose framework is a small package.
TINY = """
from tframex_nb.frameworks.base import NATIVE, FrameworkIntegration
from tframex_nb.messages import TextDelta

class Tiny(FrameworkIntegration):
    name = "tiny"
    module = distribution = "alpha"
    lock = "tiny.txt"
    capabilities = {"streaming": NATIVE}

    async def execute_agent_streaming(self, request):
        import alpha

        said = f"alpha {alpha.__version__}"
        yield TextDelta(said if request.subject is None else f"{said} has {request.subject}")
"""


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


@pytest.fixture(scope="module")
def index() -> Iterator[PackageIndex]:
    """A package index on loopback, the only one that uv knows."""
    served = PackageIndex(
        {
            "alpha-1.0-py3-none-any.whl": wheel("alpha", requires="beta"),
            "beta-2.5-py3-none-any.whl": wheel("beta", "2.5"),
        }
    )
    server = IndexServer(served)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield served
    served.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def bare_kernel(new_kernel, clock_server, index, tmp_path_factory) -> Iterator:
    """A kernel on whose host no framework is installed."""
    home = tmp_path_factory.mktemp("home")
    kernel = new_kernel(
        TFRAMEX_API_URL=clock_server.url,
        TFRAMEX_MODEL="text-40",
        TFRAMEX_FRAMEWORKS_DIR=str(home / "frameworks"),
        UV_CACHE_DIR=str(home / "cache"),
        UV_DEFAULT_INDEX=index.url,
        UV_NO_CONFIG="1",
        UV_HTTP_RETRIES="0",
    )
    assert kernel.run("%load_ext tframex_nb").status == "ok"
    yield kernel
    kernel.close()


@pytest.fixture
def tiny(kernel, index, tmp_path):
    """An adapter in a file, whose framework is a small package of the index."""
    (tmp_path / "tiny_adapter.py").write_text(TINY)
    index.lock(tmp_path)
    cell = kernel.run(f"%frameworks load {tmp_path}/tiny_adapter.py")
    assert cell.status == "ok", cell.error
    yield kernel
    index.released.set()
    kernel.run("%frameworks remove tiny")
    kernel.run("%frameworks unload tiny")


@pytest.fixture
def installed(tiny):
    """The same with the framework's environment made."""
    cell = tiny.run("%frameworks install tiny")
    assert cell.status == "ok", cell.error
