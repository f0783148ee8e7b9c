"""The real llama.cpp server with the tiny trained model, started once for these tests."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
PLACE = HERE.parents[1] / ".venvs" / "llama"  # made by `make llama`
KEY = "sk-a-key-for-the-tests"


@pytest.fixture(scope="session")
def llama(missing_part: Callable[[str], None]) -> Iterator[str]:
    """The API URL of a server that wants no key."""
    with _serving(missing_part) as url:
        yield url


@pytest.fixture(scope="session")
def locked_llama(missing_part: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    """The API URL and the key of a server that wants one."""
    with _serving(missing_part, KEY) as url:
        yield url, KEY


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test that asks for a ``dialogue`` all sixteen, named by what the user says."""
    if "dialogue" in metafunc.fixturenames:
        dialogues: list[dict[str, Any]] = json.loads(
            (HERE / "canned.json").read_text(encoding="utf-8")
        )
        metafunc.parametrize("dialogue", dialogues, ids=[_name(d) for d in dialogues])


def _name(dialogue: dict[str, Any]) -> str:
    *_, asked, _answer = dialogue["messages"]
    return f"{asked['role']}: {asked['content']}"


@contextmanager
def _serving(missing_part: Callable[[str], None], *key: str) -> Iterator[str]:
    model = PLACE / "tiny.gguf"
    if not model.exists():
        missing_part("the llama.cpp server is not made here; run: make llama")
    server = subprocess.Popen(
        [str(PLACE / "bin" / "python"), str(HERE / "serve.py"), str(model), *key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    with server:
        address = server.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), "the llama.cpp server did not start"
        yield f"{address}/v1"
        server.stdin.close()  # its sign to end
        assert server.wait(timeout=20) == 0
