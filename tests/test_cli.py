"""The command line, as a person types it: real processes, real output, real exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tframex_nb.cli.doctor import _listing, _package

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = ("demo", "lab", "doctor", "models", "frameworks", "mcp", "version")


def tframex(
    *arguments: str, code: int = 0, without: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``tframex-nb``; assert its exit code; ``without`` hides an installed package."""
    start = f"import sys; sys.modules[{without!r}] = None; " if without else "import sys; "
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{start}from tframex_nb.cli import main; sys.exit(main())",
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "COLUMNS": "100", **environment},
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def fetch(url: str) -> bytes:
    """Get a URL; JupyterLab announces its address a moment before it listens there."""
    end = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.read()
        except urllib.error.URLError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    shown = tframex(command, "--help").stdout
    assert shown.startswith(f"usage: tframex-nb {command}")
    assert "%(" not in shown


def test_help_lists_every_command_and_where_to_begin() -> None:
    shown = tframex("--help").stdout
    assert re.findall(r"^    (\w+)(?: {2,}|$)", shown, re.MULTILINE) == list(COMMANDS)
    assert "Begin with: tframex-nb demo" in shown
    assert "%load_ext tframex_nb" in shown


def test_no_command_and_a_wrong_one_are_refused() -> None:
    assert "COMMAND" in tframex(code=2).stderr
    assert "'dmeo'" in tframex("dmeo", code=2).stderr


def test_version_names_package_and_python() -> None:
    shown = tframex("version").stdout
    assert re.fullmatch(r"tframex-nb \d+\.\d+\.\d+, Python 3\.\d+\.\d+\n", shown)


def test_python_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tframex_nb", "version"], capture_output=True, check=True, timeout=30
    )
    assert done.stdout.startswith(b"tframex-nb ")


def test_demo_does_the_main_job() -> None:
    """It loads the extension, defines a tool, asks, and goes on with the answer."""
    shown = tframex("demo").stdout
    assert "In [1]: %load_ext tframex_nb" in shown
    assert "In [3]: %%agent analyst" in shown
    assert "revenue_of" in shown
    assert "120" in shown.split("In [3]", 1)[1]
    assert re.search(r"Out\[4\]: {'status': 'finished', 'tokens': \d+, 'words': \d+}", shown)
    assert shown.rstrip().splitlines()[-1].startswith("  tframex-nb models")


def test_demo_takes_a_prompt_as_text() -> None:
    """Braces on a command line are text, not expressions."""
    shown = tframex("demo", "--prompt", "What does {{ 6 * 7 }} mean?", "-m", "demo:fast").stdout
    assert "{{ 6 * 7 }}" in shown.split("--out run", 1)[1].split("In [3]")[0]


def test_demo_shows_an_error_and_the_next_move() -> None:
    """On stderr, without a traceback, with exit code 2."""
    done = tframex("demo", "-m", "demo:401", code=2)
    assert done.stderr.startswith("AuthError: ")
    assert "hint: " in done.stderr
    assert "Next:" not in done.stdout


def test_demo_streams_and_ctrl_c_keeps_what_came() -> None:
    """The text arrives while the model writes; Ctrl-C ends the run, and the next cell uses it."""
    command = [sys.executable, "-m", "tframex_nb", "demo", "-p", "hello", "-m", "demo:slow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        shown = ""
        while "scripted" not in shown:
            piece = running.stdout.read(1)
            assert piece, shown
            shown += piece
        running.send_signal(signal.SIGINT)
        shown += running.stdout.read()
    assert "step 200" not in shown
    said = r"Out\[3\]: {'status': 'interrupted', 'tokens': \d+, 'words': \d+}"
    assert re.search(said, shown), shown
    assert running.returncode == 0


def test_models_lists_the_demo_as_a_table_and_as_json() -> None:
    shown = tframex("models").stdout
    assert shown.splitlines()[0].split() == ["name", "kind", "url", "models", "state", "next"]
    assert re.search(r"^demo\b", shown, re.MULTILINE)
    rows = json.loads(tframex("models", "list", "--json").stdout)
    assert "demo" in [row["name"] for row in rows]


def test_doctor_says_that_all_is_well() -> None:
    done = tframex("doctor")
    states = {
        line.split()[1]: line.split()[0] for line in done.stdout.splitlines() if line[0] != " "
    }
    assert states["python"] == "ok"
    assert states["settings"] == "ok"
    assert states["demo"] == "ok"
    assert "fail" not in states.values()


def test_doctor_names_the_source_of_a_setting_and_no_secret() -> None:
    """An endpoint that nobody serves fails with its next move; the key is never shown."""
    done = tframex(
        "doctor",
        "--json",
        code=1,
        TFRAMEX_API_URL="http://127.0.0.1:9/v1",
        TFRAMEX_API_KEY="sk-very-secret",
        TFRAMEX_MODEL="some-model",
    )
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["endpoint"]["state"] == "fail"
    assert "127.0.0.1:9" in checks["endpoint"]["found"]
    assert checks["endpoint"]["next"]
    assert "TFRAMEX_API_URL" in checks["settings"]["found"]
    assert "very-secret" not in done.stdout + done.stderr


def endpoint_check(*, code: int = 0, **environment: str) -> dict[str, str]:
    done = tframex("doctor", "--json", code=code, **environment)
    return next(check for check in json.loads(done.stdout) if check["name"] == "endpoint")


def test_doctor_asks_the_endpoint_that_the_model_names() -> None:
    """What answers when no model is named is checked, not only TFRAMEX_API_URL."""
    url = "http://127.0.0.1:9/v1"
    check = endpoint_check(code=1, TFRAMEX_MODEL="team:x", TFRAMEX_ENDPOINTS__TEAM__URL=url)
    assert (check["state"], url in check["found"]) == ("fail", True)


def test_doctor_says_that_a_key_alone_is_not_enough() -> None:
    check = endpoint_check(code=1, TFRAMEX_API_KEY="sk-very-secret")
    assert (check["state"], check["found"]) == (
        "fail",
        "there is a key (TFRAMEX_API_KEY in the environment) and no URL for it",
    )
    assert check["next"].startswith("set TFRAMEX_API_URL beside it")


@pytest.mark.parametrize(
    ("wanted", "names", "state"),
    [
        ("", ["only"], "ok"),
        ("a", ["a", "b"], "ok"),
        ("", ["a", "b"], "warn"),
        ("c", ["a", "b"], "warn"),
        ("", [], "warn"),
    ],
    ids=["only one", "listed", "none chosen", "not listed", "none there"],
)
def test_doctor_judges_what_an_endpoint_lists(wanted: str, names: list[str], state: str) -> None:
    """An endpoint with one model needs no TFRAMEX_MODEL."""
    check = _listing("http://host/v1", wanted, names)
    assert check.state == state
    assert bool(check.next) == (state == "warn")


def test_doctor_says_what_it_found_and_could_not_use(tmp_path: Path) -> None:
    """A .env in UTF-16, as an editor of Windows writes it, is no silence."""
    (tmp_path / ".env").write_bytes("TFRAMEX_MODEL=m".encode("utf-16"))
    line = tframex("doctor").stdout.partition("warn  settings")[2]
    assert ".env is not used: it is not UTF-8 text" in line


def test_doctor_shows_a_setting_that_is_invalid(tmp_path: Path) -> None:
    """It names the file and the key, and goes on with the other checks."""
    (tmp_path / "tframex.toml").write_text("retries = 'often'\n")
    done = tframex("doctor", code=1)
    line = next(line for line in done.stdout.splitlines() if line.startswith("fail"))
    assert "settings" in line
    assert "tframex.toml" in line
    assert "retries" in line
    assert "demo model" in done.stdout


def test_doctor_names_the_install_line_of_what_is_missing_or_old() -> None:
    missing = _package("a-package-of-nobody", (1, 0), "warn", "pip install it")
    assert (missing.state, missing.found) == ("warn", "not installed here")
    assert missing.next == "pip install it"
    old = _package("ipython", (999, 0), "warn", "pip install ipython")
    assert old.state == "fail"
    assert old.found.endswith("is older than 999.0")
    assert old.next == "pip install ipython --upgrade"


def test_lab_without_jupyterlab_gives_the_install_line() -> None:
    done = tframex("lab", code=2, without="jupyterlab")
    assert done.stderr.startswith("TFrameXError: JupyterLab is not installed")
    assert "pip install 'tframex-nb[lab]'" in done.stderr


@pytest.mark.kernel
def test_lab_opens_the_tour_in_a_real_jupyterlab(tmp_path: Path) -> None:
    """It copies the notebook, starts JupyterLab, and hands its own arguments on."""
    pytest.importorskip("jupyterlab")
    command = [sys.executable, "-m", "tframex_nb", "lab", "--", "--no-browser"]
    shown = re.compile(r"http://127\.0\.0\.1:\d+/lab/tree/\S*\?token=\w+")
    with subprocess.Popen(
        [*command, "--ServerApp.port=0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        try:
            lines = iter(server.stderr.readline, "")
            url = next((m[0] for line in lines if (m := shown.search(line))), "")
            assert "01-quickstart.ipynb" in url
            status = url.split("/lab", 1)[0] + "/api/status?" + url.split("?", 1)[1]
            assert json.loads(fetch(status))["kernels"] == 0
        finally:
            server.terminate()
            server.stderr.read()
    assert (tmp_path / "01-quickstart.ipynb").exists()


def test_lab_never_overwrites_a_notebook(tmp_path: Path) -> None:
    from tframex_nb.cli.lab import place_tour

    mine = tmp_path / "01-quickstart.ipynb"
    mine.write_text("mine")
    assert place_tour(tmp_path) == mine
    assert mine.read_text() == "mine"


def test_lab_brings_every_notebook_of_the_tour(tmp_path: Path) -> None:
    from tframex_nb.cli.lab import place_tour

    assert place_tour(tmp_path) == tmp_path / "01-quickstart.ipynb"
    brought = sorted(path.name for path in tmp_path.iterdir())
    assert brought == [
        "01-quickstart.ipynb",
        "02-tools.ipynb",
        "03-typed.ipynb",
        "04-background.ipynb",
        "05-frameworks.ipynb",
    ]
