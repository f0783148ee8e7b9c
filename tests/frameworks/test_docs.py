"""docs/frameworks.md and CONTRIBUTING cannot lie: tables, configuration, cells and the adapter."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pages import blocks, run_cells, typed

from tframex_nb.frameworks import Frameworks
from tframex_nb.frameworks.base import CAPABILITIES, Capability, ExecutionRequirements
from tframex_nb.frameworks.config import Limits, RuntimeConfig, load_config
from tframex_nb.frameworks.environments import shipped_locks
from tframex_nb.frameworks.templates import TemplateFrameworkMapping
from tframex_nb.testing import FrameworkContract

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "frameworks.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
MARKS = {"native": "yes", "partial": "part", "absent": "no"}


def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def loaded() -> Frameworks:
    """The frameworks that come with the package, found and not run."""

    async def start() -> Frameworks:
        frameworks = Frameworks()
        await frameworks.start()
        return frameworks

    return asyncio.run(start())


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def installs() -> list[str]:
    """The table of what is installed, as the locks and their sizes have it."""
    folder = next(iter(shipped_locks().values())).parent
    sizes = json.loads((folder / "sizes.json").read_text(encoding="utf-8"))
    adapters = loaded().registry
    rows = []
    for name, lock in shipped_locks().items():
        package = adapters.get_framework(name).distribution
        text = lock.read_text(encoding="utf-8")
        version = re.search(rf"^{re.escape(package)}==(\S+)", text, re.MULTILINE)[1]
        size = sizes[name]
        megabytes = (f"{size[key]:.0f}" for key in ("download_mb", "disk_mb"))
        rows.append(row(name, version, size["packages"], *megabytes))
    return rows


def abilities() -> dict[str, dict[str, Capability]]:
    """What each adapter says that it can do, native first."""
    registry = loaded().registry
    names = sorted(registry.names(), key=lambda name: (name != "native", name))
    return {name: registry.get_framework(name).describe_capabilities() for name in names}


def capabilities() -> list[str]:
    return [
        row(name, *(MARKS[can[each].level] for each in CAPABILITIES))
        for name, can in abilities().items()
    ]


def reasons() -> list[str]:
    lines = []
    for name, can in abilities().items():
        less = [each for each in CAPABILITIES if can[each].level != "native"]
        lines.append(f"- **{name}**")
        lines += [f"  - {each} ({MARKS[can[each].level]}): {can[each].reason}" for each in less]
    return lines


def templates() -> list[str]:
    mapping = TemplateFrameworkMapping()
    return [
        row(
            name,
            ", ".join(said["preferred_frameworks"]),
            ", ".join(said["required_capabilities"]),
            f"generic-{said['fallback_type']}" if said["fallback_type"] else "the default",
        )
        for name in mapping.names()
        for said in [mapping.get_mapping(name)]
    ]


@pytest.mark.parametrize(
    "generated", [installs, capabilities, reasons, templates], ids=lambda each: each.__name__
)
def test_tables_say_what_the_adapters_say(generated):
    """What the page should hold is in the failure's message, ready to be pasted."""
    lines = generated()
    assert "\n".join(lines) in page(), "\n".join(["the page should hold:", *lines])


def test_the_sizes_that_people_read_elsewhere_are_those_of_the_table():
    """The tour and the README tell the size of the big one."""
    cells = next(line for line in installs() if line.startswith("| crewai"))
    fetch, disk = cells.strip("| ").split(" | ")[3:]
    tour = (ROOT / "notebooks" / "05-frameworks.ipynb").read_text(encoding="utf-8")
    assert f"{fetch} MB to fetch, {disk} MB on disk" in tour
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{fetch} MB to fetch, {disk} MB on disk" in readme


def test_the_example_of_a_configuration_holds_every_key(tmp_path):
    """It is valid, and names every key that there is."""
    (example,) = [block.text for block in blocks(PAGE) if block.language == "yaml"]
    file = tmp_path / "runtime-config.yaml"
    file.write_text(example, encoding="utf-8")
    config = load_config(file)
    assert config.model_fields_set == set(RuntimeConfig.model_fields)
    assert config.limits("crewai").model_fields_set == set(Limits.model_fields)
    for part in (config.discovery, config.template_mappings["triage"]):
        assert part.model_fields_set == set(type(part).model_fields)
    assert {each.name for each in config.additional_frameworks} == {"", "mine"}
    assert config.notes == ()


def test_the_example_is_in_force_as_the_page_says(tmp_path, monkeypatch):
    """Its template, weights and folder count; an adapter that is missing is a row, no fault."""
    monkeypatch.delenv("TFRAMEX_FRAMEWORKS_DIR", raising=False)
    (example,) = [block.text for block in blocks(PAGE) if block.language == "yaml"]
    (tmp_path / "runtime-config.yaml").write_text(example, encoding="utf-8")
    (tmp_path / "adapters").mkdir()
    monkeypatch.setenv("TFRAMEX_RUNTIME_CONFIG", str(tmp_path / "runtime-config.yaml"))

    async def scene():
        frameworks = Frameworks()
        resolution = await frameworks.why("triage", ExecutionRequirements())
        await frameworks.aclose()
        return frameworks, resolution

    frameworks, resolution = asyncio.run(scene())
    assert frameworks.environments.root == tmp_path / "shared" / "frameworks"
    assert [each.name for each in resolution.candidates if not each.excluded] == [
        "langgraph",
        "crewai",
    ]
    assert resolution.candidate("crewai").total == 129
    assert len(frameworks.loader.failures) == 2


def test_every_command_of_the_page_is_one(tmp_path):
    """Those that change nothing run; the others explain themselves."""
    lines = typed(blocks(PAGE))
    assert len(lines) >= 4
    for line in lines:
        name, *words = shlex.split(line)
        assert name == "tframex-nb"
        asked = words if words[-1] in {"frameworks", "--all"} else [*words, "--help"]
        done = subprocess.run(
            [sys.executable, "-m", "tframex_nb", *asked],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.frameworks
@pytest.mark.kernel
@pytest.mark.timeout(300)
def test_every_cell_runs_and_shows_what_the_page_says(installed, tmp_path):
    """In order, in one kernel, on the real frameworks."""
    for name in ("langgraph", "crewai"):
        installed(name)
    run_cells(blocks(PAGE), tmp_path, timeout=120)


def adapter_of_contributing(folder: Path) -> type:
    """The class of the adapter that CONTRIBUTING shows, from a file as a reader would make it."""
    (text,) = [b.text for b in blocks(CONTRIBUTING) if "FrameworkIntegration)" in b.text]
    file = folder / "plain_adapter.py"
    file.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("plain_adapter", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PlainFramework


class TestTheAdapterOfContributing(FrameworkContract):
    """Forty lines are enough for the whole contract."""

    @pytest.fixture(autouse=True)
    def _framework(self, tmp_path):
        self.framework = adapter_of_contributing(tmp_path)

    def test_it_is_as_short_as_promised(self):
        (text,) = [b.text for b in blocks(CONTRIBUTING) if "FrameworkIntegration)" in b.text]
        assert len(text.splitlines()) <= 50
