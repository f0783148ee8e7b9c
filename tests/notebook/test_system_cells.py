"""Systems in a cell: progress while they work, one display, their arguments as ``-p``."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.kernel

MAKE = """
from tframex_nb import ChainOfAgents, MultiCallSystem
sampler = MultiCallSystem("sampler", model="text-400-r100", max_concurrency=2)
chain = ChainOfAgents("chain", model="demo:fast", chunk_size=400, chunk_overlap=50)
story = "A long story. " * 60
"""


def test_many_calls_show_which_of_them_run_and_end_with_their_files(kernel):
    """While they last, the calls under way; at the end, the paths."""
    kernel.run(MAKE)
    cell = kernel.run("%%agent sampler -p num_calls=4 -p output_dir=samples --out r\ngo")
    assert cell.status == "ok", cell.error
    seen = [m.content["data"].get("text/markdown", "") for m in cell.visible()]
    assert any("2/4" in text and "3/4" not in text for text in seen)
    assert any("4/4" in text and "1/4" not in text for text in seen)
    assert len(cell.displays) == 1
    assert "/4" not in cell.markdown
    assert "samples/call_4.txt" in cell.markdown
    assert "tokens/s" not in cell.markdown
    done = kernel.run("(r is sampler.last, r.status, _ is r)")
    assert done.displays[0]["text/plain"] == "(True, 'finished', True)"


def test_a_call_that_fails_says_so_in_the_cell(kernel):
    kernel.run(MAKE + "sampler.model = 'err-401'")
    cell = kernel.run("%%agent sampler -p num_calls=2\ngo")
    assert cell.status == "error"
    assert "call_1 failed: AuthError" in cell.displays[0]["text/plain"]
    assert len(cell.error) == 2


def test_a_chain_reads_the_context_whole_and_shows_its_parts(kernel):
    kernel.run(MAKE)
    cell = kernel.run("%%agent chain --context story\nWhat happened?")
    assert cell.status == "ok", cell.error
    shown = cell.displays[0]["text/plain"]
    parts = ["[1/4] part 1 of 3", "[2/4] part 2 of 3", "[3/4] part 3 of 3", "[4/4] answer"]
    assert [shown.index(part) for part in parts] == sorted(shown.index(part) for part in parts)
    assert "read story: 840 characters" in shown


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("%%agent sampler\nhi", "missing a required argument: 'num_calls'; give it as -p k=v"),
        ("%%agent chain\nhi", "'long_text'; give it as --context VAR"),
        ("%%agent chain --context sampler\nhi", "reads a text, not a MultiCallSystem"),
        ("%%agent sampler --context story -p num_calls=1\nhi", "reads no --context"),
        ("%%agent sampler --fresh --memory 0\nhi", "--memory, --fresh is for agents only"),
    ],
)
def test_a_system_is_told_what_it_misses(kernel, clock, code, words):
    kernel.run(MAKE)
    cell = kernel.run(code)
    assert cell.stderr.startswith("UsageError: ")
    assert words in cell.stderr
    assert not clock.runs()


def test_systems_complete_where_agents_do(kernel):
    kernel.run(MAKE)
    assert "sampler" in kernel.complete("%%agent sam")
