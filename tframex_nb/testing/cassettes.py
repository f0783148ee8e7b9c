"""Cassettes for pytest: ``pytest --cassettes replay`` and the fixture ``cassette``.

The plugin is found by pytest itself where this package is installed. It adds an option, a
fixture and nothing else: no code of ours is imported before a test asks for the fixture.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tframex_nb.models.cassette import Cassette

__all__ = ["cassette", "pytest_addoption", "pytest_configure", "pytest_unconfigure"]

FOLDER = "cassettes"  # beside the test's file, where none is set
_VARIABLES = {"TFRAMEX_CASSETTE": "tframex_cassettes", "TFRAMEX_CASSETTE_DIR": "tframex_dir"}
_BEFORE = pytest.StashKey[dict[str, "str | None"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--cassettes`` and ``--cassette-dir``."""
    group = parser.getgroup("tframex-nb", "recorded answers of models")
    group.addoption(
        "--cassettes",
        dest="tframex_cassettes",
        choices=("record", "replay", "auto", "off"),
        help="record what models answer, or replay it, also in the kernels of notebook tests",
    )
    group.addoption(
        "--cassette-dir",
        dest="tframex_dir",
        metavar="DIR",
        help="where the recordings are (default: cassettes, beside the tests or notebooks)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Hand the options on to this process and its children, such as kernels."""
    config.stash[_BEFORE] = {}
    for variable, option in _VARIABLES.items():
        value = config.getoption(option)
        if value is not None:
            config.stash[_BEFORE][variable] = os.environ.get(variable)
            given = str(Path(value).absolute()) if option == "tframex_dir" else value
            os.environ[variable] = given


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take the variables back."""
    for variable, value in config.stash.get(_BEFORE, {}).items():
        if value is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = value


@pytest.fixture
def cassette(request: pytest.FixtureRequest) -> Iterator[Cassette]:
    """Let every model of the test answer from its own cassette, or be recorded in it.

    The mode is that of ``--cassettes``, else ``TFRAMEX_CASSETTE``, else replay. The file is
    ``cassettes/MODULE.TEST.ndjson`` beside the test's.
    """
    from tframex_nb.models.cassette import shared_cassettes

    config = request.config
    mode = config.getoption("tframex_cassettes") or os.environ.get("TFRAMEX_CASSETTE") or "replay"
    given = config.getoption("tframex_dir") or os.environ.get("TFRAMEX_CASSETTE_DIR")
    folder = Path(given).absolute() if given else request.path.parent / FOLDER
    name = re.sub(r"[^\w.-]+", "-", f"{request.path.stem}.{request.node.name}").strip("-")
    cassettes = shared_cassettes()
    cassettes.use(mode, folder=folder, name=name)
    try:
        yield cassettes.current
    finally:
        cassettes.use(None)
