"""Recorded notebooks: ``%cassettes`` in a real kernel, nbval in replay, pytest's fixture."""

from __future__ import annotations

import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from tframex_nb.models.demo import DemoServer

pytestmark = pytest.mark.kernel

CELLS = (
    "%load_ext tframex_nb",
    'def weather(city: str) -> str:\n    """The weather of a city."""\n    return f"{city}: sunny"',
    "%%agent guide --tools weather -m team:demo:fast\nWhat is the weather in Oslo?",
    "%%agent guide -m team:demo:fast\nAnd what did I ask before?",
    "print(guide.last.notes)",
)

MODULE = """
from tframex_nb import Agent

def test_a_greeting(cassette):
    agent = Agent("a", model="demo:fast")
    assert "hello" in agent.run_sync("Say hello to me.").lower()
    print("MODE", agent.last.notes, cassette.path.name)

def test_without():
    pass
"""


def markdown(cell) -> str:
    assert cell.status == "ok", cell.error
    return cell.markdown


@pytest.fixture
def taped(kernel, tmp_path):
    """The shared kernel; its cassettes are switched off again."""
    yield kernel
    assert kernel.run("%cassettes use off").status == "ok"


def test_a_cell_is_recorded_then_replayed_and_its_footer_says_so(taped, clock, tmp_path):
    shown = markdown(taped.run(f"%cassettes use record {tmp_path}/my tapes"))
    assert "| record |" in shown
    assert "0" in shown
    first = taped.run("%%agent\nsay something")
    assert markdown(first).rstrip("*").endswith("recorded")
    assert (tmp_path / "my tapes" / "default.ndjson").is_file()
    asked = len(clock.runs())
    markdown(taped.run(f"%cassettes use replay {tmp_path}/my tapes"))
    second = taped.run("%%agent\nsay something")
    assert markdown(second).rstrip("*").endswith("replayed")
    assert markdown(second).rsplit("\n\n", 1)[0] == markdown(first).rsplit("\n\n", 1)[0]
    assert len(clock.runs()) == asked


def test_a_changed_prompt_is_a_short_error_with_the_difference(taped, tmp_path):
    taped.run(f"%cassettes use record {tmp_path}")
    taped.run("%%agent\nwrite about red foxes")
    taped.run(f"%cassettes use replay {tmp_path}")
    cell = taped.run("%%agent\nwrite about blue foxes")
    assert cell.status == "error"
    lines = "\n".join(cell.error).split("\n")
    assert lines[0].startswith("CassetteMiss: ")
    assert "-user: write about red foxes" in lines
    assert "+user: write about blue foxes" in lines
    assert lines[-1].startswith("hint: record it anew")


def test_the_table_shows_what_was_recorded_and_played(taped, tmp_path):
    taped.run(f"%cassettes use record {tmp_path}")
    taped.run("%%agent\none")
    taped.run("%%agent\ntwo")
    taped.run(f"%cassettes use replay {tmp_path}")
    taped.run("%%agent\ntwo")
    table = markdown(taped.run("%cassettes"))
    one, two = (line for line in table.splitlines() if line.startswith(("| 1 |", "| 2 |")))
    assert "| one |" in one
    assert "yes" not in one
    assert "| two |" in two
    assert two.endswith("| yes |")
    assert "| user | one |" in markdown(taped.run("%cassettes show 1"))
    assert "| 2 |" in markdown(taped.run("%cassettes clear"))
    assert not (tmp_path / "default.ndjson").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("use reply", "%cassettes use reply: no such mode; did you mean 'replay'?"),
        ("shwo 1", "%cassettes shwo: no such verb; did you mean 'show'?"),
        ("show 9", "%cassettes show 9: no such recording; there is none yet"),
        ("show", "%cassettes use MODE [DIR], show N, or clear"),
        ("use", "%cassettes use MODE [DIR], show N, or clear"),
    ],
)
def test_wrong_words_are_usage_errors(taped, tmp_path, line, told):
    taped.run(f"%cassettes use auto {tmp_path}")
    cell = taped.run(f"%cassettes {line}")
    assert cell.status == "error"
    assert cell.stderr.startswith(f"UsageError: {told}")


def test_its_words_are_completed(taped):
    assert set(taped.complete("%cassettes ")) >= {"use", "show", "clear"}
    assert set(taped.complete("%cassettes use re")) == {"record", "replay"}
    assert taped.complete("%cassettes u") == ["use"]


def run_notebook(path) -> None:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": path.parent}})
    client.execute()
    nbformat.write(notebook, path)


def test_a_notebook_passes_nbval_in_replay_twice_without_its_endpoint(tmp_path, monkeypatch, root):
    """Recorded once; saved from a replay; then checked where neither URL nor key is set."""
    path = tmp_path / "tour.ipynb"
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    server = DemoServer()
    try:
        monkeypatch.setenv("TFRAMEX_ENDPOINTS__TEAM__URL", server.url)
        monkeypatch.setenv("TFRAMEX_ENDPOINTS__TEAM__API_KEY", server.token)
        monkeypatch.setenv("TFRAMEX_CASSETTE", "record")
        run_notebook(path)
        token = server.token
    finally:
        server.stop()
    monkeypatch.delenv("TFRAMEX_ENDPOINTS__TEAM__URL")
    monkeypatch.delenv("TFRAMEX_ENDPOINTS__TEAM__API_KEY")
    tape = tmp_path / "cassettes" / "default.ndjson"
    assert tape.read_bytes().count(b"\n") == 5
    assert token not in tape.read_text()
    monkeypatch.setenv("TFRAMEX_CASSETTE", "replay")
    run_notebook(path)
    monkeypatch.delenv("TFRAMEX_CASSETTE")
    before = tape.read_bytes()
    command = ["--nbval", "--nbval-sanitize-with", str(root / "notebooks" / "sanitize.cfg")]
    for _ in range(2):
        done = pytest_in(tmp_path, *command, "--cassettes", "replay", str(path))
        assert done.returncode == 0, done.stdout
        assert f"{len(CELLS)} passed" in done.stdout
    assert tape.read_bytes() == before
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].source = notebook.cells[2].source.replace("Oslo", "Rome")
    nbformat.write(notebook, path)
    done = pytest_in(tmp_path, *command, "--cassettes", "replay", str(path))
    assert done.returncode == 1
    assert "+user: What is the weather in Rome?" in done.stdout


def pytest_in(folder, *arguments) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *PLUGIN]
    return subprocess.run(
        [*command, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=100
    )


def _is_installed() -> bool:
    from importlib.metadata import entry_points

    return any(each.name == "tframex_cassettes" for each in entry_points(group="pytest11"))


# An editable installation from before the plugin knows nothing of it.
PLUGIN = () if _is_installed() else ("-p", "tframex_nb.testing.cassettes")


def test_the_fixture_records_and_replays_a_test(tmp_path):
    (tmp_path / "test_mine.py").write_text(MODULE)
    missed = pytest_in(tmp_path)
    assert "CassetteMiss" in missed.stdout
    assert "1 failed, 1 passed" in missed.stdout
    recorded = pytest_in(tmp_path, "--cassettes", "record")
    assert "MODE ('recorded',) test_mine.test_a_greeting.ndjson" in recorded.stdout
    assert "2 passed" in recorded.stdout
    tapes = [each.name for each in (tmp_path / "cassettes").iterdir()]
    assert tapes == ["test_mine.test_a_greeting.ndjson"]
    replayed = pytest_in(tmp_path)
    assert "MODE ('replayed',) test_mine.test_a_greeting.ndjson" in replayed.stdout
    assert "2 passed" in replayed.stdout


def test_the_plugin_costs_others_nothing(tmp_path):
    """A project that uses no cassette imports nothing of ours but the plugin itself."""
    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test_what_is_there():\n"
        "    ours = {m for m in sys.modules if m.startswith('tframex_nb')}\n"
        "    assert ours <= {'tframex_nb', 'tframex_nb.testing', 'tframex_nb.testing.cassettes'}\n"
        "    assert not {'pydantic', 'httpx', 'IPython'} & set(sys.modules)\n"
        "    import os\n"
        "    assert not [n for n in os.environ if n.startswith('TFRAMEX_CASSETTE')]\n"
    )
    lean = ("-p", "no:nbval", "-p", "no:anyio", "-p", "no:logfire")
    done = pytest_in(tmp_path, *lean, "-W", "error")
    assert done.returncode == 0, done.stdout
