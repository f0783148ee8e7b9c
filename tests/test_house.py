"""The house rules that a reader cannot see at a glance: size, names, imports, what loads what."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tframex_nb

ROOT = Path(__file__).parents[1]
PACKAGE = Path(tframex_nb.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages([str(PACKAGE)], "tframex_nb.")
    if not info.name.endswith("__main__")
    # What needs an extra is looked at where that is installed.
    and (importlib.util.find_spec("mcp") or not info.name.startswith("tframex_nb.mcp."))
)

LINES_OF_A_MODULE = 400
LINES_OF_A_FUNCTION = 60
MEDIAN_FUNCTION = 10
MODULES_OF_THE_EXTENSION = 150
LINT = "from importlinter.cli import lint_imports_command as run; run()"
HEAVY = ("pydantic", "httpx", "starlette", "uvicorn", "pandas", "numpy", "ipywidgets")


def python(code: str) -> Any:
    """Run code in a fresh interpreter; return what it printed last, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_bare_import_loads_nothing_heavy() -> None:
    """``import tframex_nb`` costs next to nothing: no third party at all, not even IPython."""
    loaded = python(
        "import sys; before = set(sys.modules); import tframex_nb, json\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    roots = {name.split(".")[0] for name in loaded}
    assert roots.isdisjoint({*HEAVY, "IPython", "traitlets"})
    assert len([name for name in loaded if name.startswith("tframex_nb")]) == 1


def test_the_extension_loads_light() -> None:
    """``%load_ext tframex_nb`` adds few modules to IPython, none of them heavy, in silence."""
    loaded, printed = python(
        "import contextlib, io, json, sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "before = set(sys.modules)\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "    shell.run_line_magic('load_ext', 'tframex_nb')\n"
        "print(json.dumps([sorted(set(sys.modules) - before), out.getvalue()]))"
    )
    assert printed == ""
    assert len(loaded) <= MODULES_OF_THE_EXTENSION, loaded
    assert {name.split(".")[0] for name in loaded}.isdisjoint(HEAVY)


@pytest.mark.parametrize("name", tframex_nb.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(tframex_nb, name) is not None


def test_the_public_names_are_what_dir_shows() -> None:
    assert dir(tframex_nb) == sorted(tframex_nb.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Agnet'"):
        _ = tframex_nb.Agnet


def test_every_module_exports_what_it_says_in_order() -> None:
    """``__all__`` is sorted (constants, classes, functions) and each of its names exists."""
    wrong = {}
    for name in MODULES:
        module = importlib.import_module(name)
        exported = module.__all__
        order = sorted(exported, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
        missing = [n for n in exported if not hasattr(module, n)]
        if exported != order or missing:
            wrong[name] = missing or f"in order: {order}"
    assert wrong == {}


def test_every_module_is_one_noun_with_a_docstring() -> None:
    """At most 400 lines, and a first line that is a sentence."""
    wrong = {}
    for path, text in read_sources():
        first = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0]
        if not first.rstrip().endswith((".", ":")):
            wrong[path] = "its docstring does not begin with a sentence"
        if len(text.splitlines()) > LINES_OF_A_MODULE:
            wrong[path] = f"{len(text.splitlines())} lines"
    assert wrong == {}


def test_functions_are_short() -> None:
    """Half of them have at most 10 lines, none more than 60; docstrings aside."""
    lengths = {
        f"{path}:{function.name}": length
        for path, text in read_sources()
        for function, length in functions(text)
    }
    assert {name: n for name, n in lengths.items() if n > LINES_OF_A_FUNCTION} == {}
    assert sorted(lengths.values())[len(lengths) // 2] <= MEDIAN_FUNCTION


def test_a_broad_except_is_argued() -> None:
    """What catches everything says why beside it, also where it raises it again."""
    silent = [
        f"{path}:{handler.lineno}"
        for path, text in read_sources()
        for handler in ast.walk(ast.parse(text))
        if isinstance(handler, ast.ExceptHandler)
        and is_broad(handler)
        and "#" not in text.splitlines()[handler.lineno - 1]
    ]
    assert silent == []


def test_an_exemption_gives_its_reason() -> None:
    """``# noqa: X - why`` and ``# type: ignore[x]  # why``; never a bare one."""
    reason = re.compile(r"(: [A-Z0-9, ]+|\[[\w, -]+\])\s+[-#] \S")
    silent = [
        f"{path}: {line.strip()}"
        for path, text in read_sources()
        for line in text.splitlines()
        for mark in re.finditer(r"# (noqa|type: ignore)(.*)", line)
        if not reason.match(mark[2])
    ]
    assert silent == []


def test_no_module_has_a_name_for_everything() -> None:
    unwanted = {"utils", "helpers", "common", "core", "misc"}
    assert [path for path in SOURCES if unwanted & {*path.parts, path.stem}] == []


def test_the_import_contracts_hold() -> None:
    """Imports run down the floors; each third party has one door (see pyproject.toml)."""
    pytest.importorskip("importlinter", reason="the lint group is not installed here")
    done = subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout


# Written so that this file does not match itself.
FORBIDDEN = {
    "a path of one machine": re.compile(r"/(?:home|Users)/[a-z]\w+/|/ro" + r"ot/|/wo" + r"rk/"),
    "a key": re.compile(
        r"\bsk-(?:proj-|ant-)?[A-Za-z0-9]{32,}|\bgh[pousr]_[A-Za-z0-9]{30,}|\bAKIA[A-Z0-9]{16}\b"
        r"|\bhf_[A-Za-z]{30,}|\bAIza[\w-]{35}"
    ),
}


@pytest.mark.parametrize("what", sorted(FORBIDDEN))
def test_the_tree_holds_nothing_private(what: str) -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
        found += [f"{path}: {match[0]}" for match in FORBIDDEN[what].finditer(text)]
    assert found == []


def read_sources() -> list[tuple[str, str]]:
    """Return the short path and the text of every module."""
    return [
        (str(path.relative_to(PACKAGE.parent)), path.read_text(encoding="utf-8"))
        for path in SOURCES
    ]


def functions(text: str) -> list[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    """Return each function of a module and its number of lines, docstring aside."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = node.body[0] if ast.get_docstring(node) else None
            own = docstring.end_lineno - docstring.lineno + 1 if docstring else 0
            found.append((node, node.end_lineno - node.lineno + 1 - own))
    return found


def is_broad(handler: ast.ExceptHandler) -> bool:
    kind = handler.type
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    broad = {"Exception", "BaseException"}
    return kind is None or any(isinstance(k, ast.Name) and k.id in broad for k in kinds)


def tracked() -> list[Path]:
    """Return the files of the repository, or of the source archive where git is not there."""
    git = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listing = subprocess.run(git, capture_output=True, check=True, timeout=30).stdout
    except (OSError, subprocess.CalledProcessError):
        return [path for path in PACKAGE.rglob("*") if path.is_file()]
    return [ROOT / name for name in listing.decode().split("\0") if name]
