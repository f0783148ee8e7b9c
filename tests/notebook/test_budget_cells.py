"""Cost and budgets as people meet them: options, the footer, %runs, %config."""

from __future__ import annotations

import json
import re

import pytest

pytestmark = pytest.mark.kernel

PRICES = {"text-400": {"input": 1_000, "output": 1_000}, "text-40": {"input": 0, "output": 0.01}}


@pytest.fixture(scope="module")
def shared_kernel(new_kernel, clock_server):
    kernel = new_kernel(
        TFRAMEX_API_URL=clock_server.url,
        TFRAMEX_MODEL="text-400",
        TFRAMEX_PRICES=json.dumps(PRICES),
    )
    assert kernel.run("%load_ext tframex_nb").status == "ok"
    yield kernel
    kernel.close()


@pytest.fixture(autouse=True)
def fresh_session(shared_kernel):
    shared_kernel.run(
        "from tframex_nb.models.budget import session_budget; session_budget.cache_clear()\n"
        "%config TFrameX.session_max_tokens = None\n%config TFrameX.session_max_cost = None"
    )


def last(kernel, code: str) -> str:
    cell = kernel.run(code)
    assert cell.status == "ok", cell.error
    return cell.displays[-1]["text/plain"]


@pytest.mark.parametrize(
    ("model", "words"),
    [("text-400", "$0."), ("text-40", "< $0.0001"), ("text-80", "no price known")],
)
def test_the_footer_tells_what_an_answer_cost(kernel, model, words):
    cell = kernel.run(f"%%agent -m {model}\ngo")
    assert cell.status == "ok", cell.error
    assert words in cell.displays[0]["text/plain"].splitlines()[-1]


def test_the_demo_is_not_said_to_be_free(kernel):
    cell = kernel.run("%%agent -m demo:fast\ngo")
    footer = cell.displays[0]["text/plain"].splitlines()[-1]
    assert footer.startswith("[demo: the words are scripted")
    assert "$" not in footer
    assert "price" not in footer


def test_a_run_is_stopped_at_its_cap_and_keeps_what_came(kernel, clock):
    cell = kernel.run("%%agent -m text-40000-r2000 --max-tokens-total 200 --out r\ngo")
    assert cell.status == "error"
    assert cell.error[0].startswith("BudgetExceeded: the run has spent 2")
    assert cell.error[0].endswith(" of its 200 tokens: it was stopped")
    assert cell.error[1] == "hint: raise --max-tokens-total, or ask for less at a time"
    assert len(cell.error) == 2
    footer = cell.displays[0]["text/plain"].splitlines()[-1]
    assert "failed: BudgetExceeded" in footer
    assert re.search(r" about 2\d\d of 200 tokens ", footer)
    assert 600 < int(last(kernel, "len(r.text)")) < 1_500
    assert clock.runs()[0]["closed"]


def test_a_cost_is_capped(kernel, clock):
    cell = kernel.run("%%agent --max-cost $0.00001\n" + "a long prompt " * 100)
    assert cell.status == "error"
    assert cell.error[0].startswith("BudgetExceeded: the run has spent $0 of its < $0.0001, and")
    assert cell.error[1] == "hint: raise --max-cost, or ask for less at a time"
    assert not clock.runs()
    cell = kernel.run("%%agent --max-cost 5\ngo")
    assert " of $5.00 " in cell.displays[0]["text/plain"]


def test_a_cost_without_a_price_is_refused_with_the_next_move(kernel, clock):
    cell = kernel.run("%%agent -m text-80 --max-cost 1\ngo")
    assert cell.status == "error"
    assert cell.error[0].startswith("SettingsError: no price is known for text-80")
    assert '[prices."text-80"]' in cell.error[1]
    assert not clock.runs()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--max-cost 0", "--max-cost: '0': no call could be made; give USD, more than 0"),
        ("--max-cost cheap", "--max-cost: 'cheap' is no amount; give USD, more than 0"),
        ("--max-tokens-total 0", "--max-tokens-total: 0: no call could be made"),
        ("--max-tokens-total few", "--max-tokens-total: few is no whole number; give one"),
        ("--max-cost 1 --max-tokens-total x", "--max-tokens-total: x"),
        ("-p budget=3", "use --max-cost or --max-tokens-total"),
    ],
)
def test_an_option_that_makes_no_sense_is_told(kernel, clock, options, words):
    cell = kernel.run(f"%%agent {options}\ngo")
    assert cell.stderr.startswith("UsageError: ")
    assert words in cell.stderr
    assert not clock.runs()


def test_a_system_is_under_the_cap_of_its_cell(kernel, clock):
    kernel.run(
        "from tframex_nb import MultiCallSystem\nsampler = MultiCallSystem('sampler', 'text-400')"
    )
    # The clock counts one token for each chunk that it sends.
    one = int(
        last(kernel, "_ = sampler.run_sync('go', 1); sampler.budget.spent.usage.total_tokens")
    )
    cell = kernel.run(f"%%agent sampler -p num_calls=9 --max-tokens-total {one * 3}\ngo")
    assert cell.status == "error"
    assert cell.error[0].startswith("PartialFailure: ")
    assert "BudgetExceeded: the run has spent" in cell.error[0]
    assert len(clock.runs()) <= 1 + 4


def test_a_comparison_is_under_one_cap(kernel, clock):
    cell = kernel.run("%%compare -f native -m text-40000-r2000 --max-tokens-total 200\ngo")
    assert cell.status == "error"
    assert "BudgetExceeded: the comparison has spent" in cell.displays[0]["text/plain"]


def test_the_session_has_a_cap_that_config_sets_and_unload_takes_back(kernel, clock):
    kernel.run("%config TFrameX.session_max_tokens = 150")
    first = kernel.run("%%agent -m text-400\ngo")
    assert first.status == "ok", first.error
    cell = kernel.run("%%agent -m text-40000-r2000\ngo")
    assert cell.status == "error"
    assert cell.error[0].startswith("BudgetExceeded: this session has spent")
    assert "raise session_max_tokens (%config TFrameX.session_max_tokens = …)" in cell.error[1]
    refused = kernel.run("from tframex_nb import Agent\nawait Agent('a', 'text-400').run('go')")
    assert refused.error[0].startswith("BudgetExceeded: ")
    assert len(clock.runs()) == 2
    assert "of 150 tokens" in last(kernel, "%runs")
    kernel.run("%config TFrameX.session_max_tokens = 40000")
    cell = kernel.run("%%agent -m text-400\ngo")
    assert cell.status == "ok", cell.error
    kernel.run("%config TFrameX.session_max_tokens = 1")
    kernel.run("%unload_ext tframex_nb")
    cap = "from tframex_nb.models.budget import session_budget\nsession_budget().max_tokens_total"
    assert kernel.run(f"{cap} is None").displays[0]["text/plain"] == "True"
    assert kernel.run("%load_ext tframex_nb").status == "ok"


def test_a_cap_of_the_session_that_makes_no_sense_is_refused(kernel):
    for cap in ("tokens = 0", "cost = -1.0"):
        cell = kernel.run(f"%config TFrameX.session_max_{cap}")
        assert "no call could be made" in "".join([*cell.error, cell.stderr, cell.stdout])


def test_runs_and_agents_show_what_was_spent(kernel):
    kernel.run("%%agent known -m text-400\ngo")
    kernel.run("%%agent unknown -m text-80\ngo")
    table = last(kernel, "%runs")
    assert "price" in table.splitlines()[0]
    assert "no price known" in table
    total = table.splitlines()[-1]
    assert total.startswith("this session: ")
    assert total.endswith("(partial)")
    agents = last(kernel, "%agents")
    assert next(line for line in agents.splitlines() if line.startswith("known")).count("$") == 1
    assert "no price known" in next(x for x in agents.splitlines() if x.startswith("unknown"))


def test_the_options_complete(kernel):
    assert {"--max-cost", "--max-tokens-total"} <= set(kernel.complete("%%agent --max-"))
    assert {"--max-cost", "--max-tokens-total"} <= set(kernel.complete("%%compare --max-"))


def test_a_cell_says_that_it_waits_for_room_in_a_budget(kernel, clock):
    kernel.run("%config TFrameX.session_max_tokens = 100000")
    kernel.run("%%agent --background -m hang --out h\ngo")
    cell = kernel.start("%%agent -m text-40\ngo")
    cell.wait_for("a call under way may spend all that this session has left")
    kernel.interrupt()
    kernel.wait(cell)
    assert "stopped" in cell.markdown
    assert last(kernel, "h.stop(); (await h).status") == "'interrupted'"
    cell = kernel.run("%%agent -m text-40\ngo")
    assert cell.status == "ok", cell.error
    assert "waiting" not in cell.markdown
