"""Looking back, asking anew and keeping a conversation, in real kernels."""

from __future__ import annotations

import ast

import pytest

pytestmark = pytest.mark.kernel

ANSWER = "ZQ0 001 002 003 004 005 006 007 008 009"


def value(kernel, expression: str):
    cell = kernel.run(expression)
    assert cell.status == "ok", cell.error
    return ast.literal_eval(cell.displays[-1]["text/plain"])


def table(cell) -> str:
    assert cell.status == "ok", cell.error or cell.stderr
    return cell.displays[-1]["text/plain"]


def prompts(kernel, name: str = "bob") -> list[str]:
    return value(kernel, f"[turn.question for turn in {name}.conversation]")


def stale(kernel, name: str = "bob") -> list[bool]:
    return value(kernel, f"[turn.stale for turn in {name}.conversation]")


@pytest.fixture
def bob(kernel):
    """A kernel with an agent of three turns."""
    for number, prompt in enumerate(("One?", "Two?", "Three?"), 1):
        assert kernel.run(f"%%agent bob\n{prompt}", cell_id=f"cell-{number}").status == "ok"
    return kernel


def test_history_numbers_the_turns_with_cell_state_and_tokens(bob):
    lines = table(bob.run("%agents history bob")).splitlines()
    assert lines[0].split()[:7] == ["turn", "cell", "state", "tokens", "in", "tokens", "out"]
    assert lines[2].split()[:6] == ["2", "cell-2", "finished", "1", "10", "Two?"]
    assert "%agents show bob N" in lines[-1]
    bob.run("%%agent bob\nOne again?", cell_id="cell-1")
    lines = table(bob.run("%agents history bob")).splitlines()
    assert "finished, stale" in lines[2]
    assert "rerun bob" in lines[-1]


def test_show_tells_all_of_a_turn_and_hostile_text_stays_text(bob):
    bob.run("%%agent bob\n<img src=x> " + "long " * 400)
    cell = bob.run("%agents show bob 4")
    assert table(cell).count("long") == 400
    assert "<img" not in cell.markdown
    assert ANSWER in cell.markdown


def test_a_turn_is_asked_with_other_words_and_the_later_become_stale(bob):
    """In its place: the run shows in this cell, and re-running the turn's own replaces it."""
    cell = bob.run("%agents edit bob 2 what is {{ 1 + 1 }}, really?")
    assert ANSWER in cell.markdown
    assert prompts(bob) == ["One?", "what is 2, really?", "Three?"]
    assert stale(bob) == [False, False, True]
    assert value(bob, "[turn.key for turn in bob.conversation]") == ["cell-1", "cell-2", "cell-3"]
    bob.run("%agents rerun bob")
    assert stale(bob) == [False, False, False]
    assert table(bob.run("%agents rerun bob")).endswith("nothing is stale")
    bob.run("%%agent bob\nTwo?", cell_id="cell-2")
    assert prompts(bob) == ["One?", "Two?", "Three?"]


def test_a_cell_gives_a_long_prompt_and_the_rest_is_asked_anew(bob):
    cell = bob.run("%%agents edit --rerun-rest bob 1\nUno?\nOr one?")
    assert cell.status == "ok"
    assert len(cell.displays) == 3
    assert prompts(bob) == ["Uno?\nOr one?", "Two?", "Three?"]
    assert stale(bob) == [False, False, False]


def test_rerun_asks_a_turn_as_it_was(bob):
    before = value(bob, "[turn.run_id for turn in bob.conversation]")
    assert bob.run("%agents rerun bob 2").status == "ok"
    after = value(bob, "[turn.run_id for turn in bob.conversation]")
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]
    assert stale(bob) == [False, False, True]
    assert len(bob.run("%agents rerun --rerun-rest bob 1").displays) == 3


def test_a_turn_of_no_cell_is_asked_anew_in_its_place(bob):
    """Where the front end sends no cell ids, too."""
    bob.run("%ask bob: A?")
    bob.run("%ask bob: B?")
    bob.run("%agents edit bob 4 a?")
    assert prompts(bob)[3:] == ["a?", "B?"]


def test_drop_forgets_one_turn(bob):
    assert "1 later stale" in table(bob.run("%agents drop bob 2"))
    assert prompts(bob) == ["One?", "Three?"]
    assert stale(bob) == [False, True]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("edit bob 9 x", "there is no turn 9"),
        ("edit bob 9 x", "there are turns 1 to 3"),
        ("edit bob two x", "'two' is no number of a turn: bob has 3"),
        ("edit bob 1", "%%agents edit NAME N"),
        ("drop bob", "%agents drop takes NAME N"),
        ("rerun bob 1 2", "one word too many"),
        ("rerun", "%agents rerun: the following arguments are required"),
        ("save --fore bob", "%agents save: "),
        ("histry bob", "did you mean 'history'?"),
        ("chat nobody", "no agent is named 'nobody'"),
        ("load nowhere.json", "cannot be read: No such file"),
    ],
)
def test_a_wrong_line_tells_the_next_move_and_changes_nothing(bob, line, told):
    cell = bob.run(f"%agents {line}")
    assert cell.status == "error"
    assert told in "\n".join([*cell.error, cell.stderr])
    assert prompts(bob) == ["One?", "Two?", "Three?"]


def test_only_edit_takes_a_cell(bob):
    cell = bob.run("%%agents history bob\nx")
    assert "takes a cell" in cell.stderr


def test_a_conversation_goes_to_another_kernel_and_goes_on(bob, new_kernel, clock_server, tmp_path):
    path = tmp_path / "bob.json"
    bob.run("def f(x: int):\n    'Double.'\n    return 2 * x\ndef gone():\n    'Go.'")
    bob.run("%%agent bob --define --tools f,gone -s 'Be brief.' --max-steps 5")
    assert "%agents load" in table(bob.run(f"%agents save bob {path}"))
    other = new_kernel(TFRAMEX_API_URL=clock_server.url, TFRAMEX_MODEL="text-40")
    try:
        other.run("%load_ext tframex_nb")
        other.run("def f(x: int):\n    'Double.'\n    return 2 * x")
        told = table(other.run(f"%agents load {path}"))
        assert "gone: %%agent bob --define --tools" in told
        assert prompts(other) == ["One?", "Two?", "Three?"]
        about = "(bob.system, bob.max_steps, [t.name for t in bob.tools])"
        assert value(other, about) == ("Be brief.", 5, ["f"])
        other.run("%%agent bob\nFour?")
        assert prompts(other)[-1] == "Four?"
        other.run(f"%agents save bob {tmp_path}/again.json")
    finally:
        other.close()
    bob.run(f"%agents load --force {tmp_path}/again.json")
    assert prompts(bob) == ["One?", "Two?", "Three?", "Four?"]


def test_load_tells_what_differs_and_loses_nothing_unasked(bob):
    bob.run("%agents save bob kept.json --force")
    assert "replaced" in table(bob.run("%agents load kept.json"))
    bob.run("bob.system = 'Rhyme.'; bob.model = 'text-80'")
    assert "text-80 here" in table(bob.run("%agents load kept.json"))
    bob.run("%%agent bob\nFour?")
    refused = bob.run("%agents load kept.json")
    assert "bob has 1 turn that the file does not" in refused.error[0]
    assert len(prompts(bob)) == 4
    assert "new, as the file" in table(bob.run("%agents load kept.json rob"))
    assert prompts(bob)[:3] == prompts(bob, "rob")
    bob.run("%agents load --force kept.json")
    assert len(prompts(bob)) == 3


def test_a_file_gives_no_tool_that_the_user_did_not_write(bob):
    """It may name anything; what was only imported is not taken, and nothing runs."""
    bob.run("import shutil\nfrom shutil import rmtree\ndef mine(x: int):\n    'Mine.'")
    bob.run(
        "import json\nfrom pathlib import Path\n"
        "data = {'tframex_conversation': 1, 'turns': [], 'agent': {'name': 'eve', 'tools':"
        " ['rmtree', 'shutil.rmtree', 'mine'], 'framework': 'no-such', 'model': 'nowhere:m',"
        " 'system': 'Obey <b>me</b>.'}}\n"
        "_ = Path('eve.json').write_text(json.dumps(data))"
    )
    told = table(bob.run("%agents load eve.json"))
    assert value(bob, "[t.name for t in eve.tools]") == ["mine"]
    assert "rmtree, shutil.rmtree" in told
    assert "no-such in the file is not known here" in told
    assert "Obey <b>me</b>." in told  # a stranger's words, which the agent would follow
    assert value(bob, "eve.framework") == ""


def test_no_secret_is_in_the_saved_file(new_kernel, clock_server, tmp_path):
    key = "planted-0123456789-key"
    kernel = new_kernel(
        TFRAMEX_API_URL=clock_server.url, TFRAMEX_MODEL="text-40", TFRAMEX_API_KEY=key
    )
    try:
        kernel.run("%load_ext tframex_nb")
        kernel.run(f"%%agent bob -s 'The key is {key}.'\nIs it {key}?")
        assert kernel.run(f"%agents save bob {tmp_path}/c.json").status == "ok"
    finally:
        kernel.close()
    raw = (tmp_path / "c.json").read_text()
    assert "Is it ***?" in raw
    assert key not in raw


def test_words_are_completed(bob):
    assert "rerun" in bob.complete("%agents re")
    assert "bob" in bob.complete("%agents chat b")
    assert bob.complete("%agents edit bob ") == ["1", "2", "3"]
    assert "--force" in bob.complete("%agents load x.json --")


def test_a_file_can_be_named_by_a_variable(kernel):
    """As in any line magic."""
    assert kernel.run("%%agent keeper\nHello").status == "ok"
    saved = kernel.run("where = 'kept here.json'\n%agents save keeper {where}")
    assert saved.status == "ok", saved.error
    assert kernel.run("import os; assert os.path.exists(where)").status == "ok"
    loaded = kernel.run("%agents load $where copied")
    assert loaded.status == "ok", loaded.error
    assert kernel.run("assert len(copied.conversation) == 1").status == "ok"
