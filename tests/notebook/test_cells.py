"""What a cell shows and leaves behind, in a real kernel."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.kernel


def value(kernel, expression: str) -> str:
    cell = kernel.run(expression)
    assert cell.status == "ok", cell.error
    return cell.displays[-1]["text/plain"]


def demo(kernel, code: str, **options):
    """Run an agent cell on the demo model, without its pacing."""
    head, _, rest = code.partition("\n")
    cell = kernel.run(f"{head} -m demo:fast\n{rest}", **options)
    assert cell.status == "ok", cell.error
    return cell


def test_the_answer_is_shown_once_and_bound_everywhere(kernel):
    """One display; ``_``, ``Out[n]`` and ``--out`` hold the same run."""
    cell = kernel.run("%%agent --out r\ngo {single} braces")
    assert [m.type for m in cell.messages].count("execute_result") == 0
    assert len(cell.displays) == 1
    assert cell.displays[0]["text/markdown"].startswith("ZQ0 001")
    count = next(m.content["execution_count"] for m in cell.messages if m.type == "execute_input")
    assert value(kernel, f"(_ is r, Out[{count}] is r, r.text[:3])") == "(True, True, 'ZQ0')"


def test_braces_are_text_and_expressions_are_values(kernel, clock):
    kernel.run("name = 'Ada'")
    kernel.run("%%agent\nHi {name} and {{ name }} and \\{{ name }}")
    assert clock.runs()[-1]["messages"][-1]["content"] == "Hi {name} and Ada and {{ name }}"


def test_no_interpolate_leaves_double_braces(kernel, clock):
    kernel.run("%%agent --no-interpolate\nHi {{ name }}")
    assert clock.runs()[-1]["messages"][-1]["content"] == "Hi {{ name }}"


def test_an_unknown_name_in_a_prompt_is_an_error_that_names_it(kernel, clock):
    kernel.run("sales = 1")
    cell = kernel.run("%%agent\nlook at {{ sale }}")
    assert cell.status == "error"
    assert len(cell.error) <= 3
    assert "sale" in cell.error[0]
    assert "sales" in "\n".join(cell.error)
    assert not clock.runs()


def test_in_out_and_err_can_be_named(kernel, clock):
    """``In`` is the source as typed, ``Out`` the value, ``Err`` the error's text."""
    first = kernel.run("%%agent --out r\nfirst")
    count = next(m.content["execution_count"] for m in first.messages if m.type == "execute_input")
    kernel.run("1/0")
    prompt = f"{{{{ In[{count}] }}}} | {{{{ Out[{count}].text[:3] }}}} | {{{{ Err[{count + 1}] }}}}"
    assert kernel.run(f"%%agent\n{prompt}").status == "ok"
    sent = clock.runs()[-1]["messages"][-1]["content"]
    assert sent.startswith("%%agent --out r\nfirst | ZQ0 | ")
    assert "ZeroDivisionError: division by zero" in sent


def test_a_cell_that_did_not_fail_has_no_err(kernel):
    """The message lists the cells that did."""
    kernel.run("1/0")
    cell = kernel.run("%%agent\n{{ Err[9999] }}")
    assert cell.status == "error"
    assert len(cell.error) <= 3
    assert "Err[9999] does not exist; there is " in cell.error[0]


def test_a_big_value_is_described_and_the_cell_says_so(kernel, clock):
    kernel.run("import pandas as pd\ndf = pd.DataFrame({'a': range(5000), 'b': 'x'})")
    cell = kernel.run("%%agent --context df\nWhat is in {{ df }}?")
    assert cell.status == "ok", cell.error
    assert len(clock.runs()[-1]["messages"][-1]["content"]) < 10_000
    assert "df" in cell.markdown
    assert "5,000" in cell.markdown


def test_a_dataframe_with_hostile_names_cannot_break_the_footer(kernel):
    kernel.run(
        "import pandas as pd\ndf = pd.DataFrame({'<img src=x onerror=alert(1)>': range(500)})"
    )
    cell = kernel.run("%%agent\n{{ df }}")
    assert "<img" not in cell.markdown


def test_headless_clients_get_one_display_without_ids(kernel):
    """nbclient, nbval and papermill send ``allow_stdin: false``."""
    cell = kernel.run("%%agent -m text-2000-r400\ngo", allow_stdin=False)
    shown = cell.visible()
    assert [m.type for m in shown] == ["display_data"]
    assert not shown[0].content.get("transient")


def test_a_live_front_end_sees_the_text_grow(kernel):
    cell = kernel.run("%%agent -m text-400-r100\ngo")
    sizes = [
        len(m.content["data"]["text/markdown"])
        for m in cell.visible()
        if "ZQ0" in json.dumps(m.content)
    ]
    assert len(sizes) > 4
    assert sizes == sorted(sizes)


def test_turns_continue_and_a_rerun_replaces_its_own(kernel, clock):
    """The cell's id owns the turn; the later ones become stale, and the cell says so."""
    for cell_id, prompt in (("a", "one"), ("b", "two"), ("c", "three")):
        assert kernel.run(f"%%agent bob\n{prompt}", cell_id=cell_id).status == "ok"
    assert [m["role"] for m in clock.runs()[-1]["messages"]] == ["user", "assistant"] * 2 + ["user"]
    again = kernel.run("%%agent bob\ntwo again", cell_id="b")
    assert len(clock.runs()[-1]["messages"]) == 3
    assert "stale" in again.markdown
    assert value(kernel, "[t.stale for t in bob.conversation.turns]") == "[False, False, True]"
    kernel.run("%%agent bob\nthree again", cell_id="c")
    assert value(kernel, "[t.stale for t in bob.conversation.turns]") == "[False, False, False]"


def test_several_asks_in_one_cell_are_turns_of_their_own(kernel):
    kernel.run("%%agent bob --define")
    code = "%ask bob: one?\n%ask bob: two?"
    assert kernel.run(code, cell_id="x").status == "ok"
    assert value(kernel, "len(bob.conversation)") == "2"
    assert kernel.run(code, cell_id="x").status == "ok"
    assert value(kernel, "len(bob.conversation)") == "2"


def test_fresh_starts_the_conversation_anew(kernel, clock):
    kernel.run("%%agent bob\none", cell_id="a")
    kernel.run("%%agent bob --fresh\ntwo", cell_id="b")
    assert len(clock.runs()[-1]["messages"]) == 1
    assert value(kernel, "len(bob.conversation)") == "1"


def test_a_redefined_tool_is_used_at_the_next_run(kernel):
    """Tools are bound by name at each run, as calls in a notebook are."""
    kernel.run("def f() -> str:\n    'F.'\n    return 'old'")
    kernel.run("%%agent bob -m tool-f --tools f\ngo")
    kernel.run("def f() -> str:\n    'F.'\n    return 'new'")
    kernel.run("%%agent bob -m tool-f\ngo")
    assert value(kernel, "[m.text for m in bob.last.messages if m.role == 'tool']") == "['new']"


def test_an_agent_can_be_defined_without_running(kernel, clock):
    cell = kernel.run("%%agent bob --system 'You are {{ 1 + 1 }}.' --define")
    assert cell.status == "ok"
    assert not clock.runs()
    assert value(kernel, "bob.system") == "'You are 2.'"


def test_an_agent_object_is_found_by_its_variable_and_its_id(kernel):
    kernel.run("from tframex_nb import Agent\nexpert = Agent('analyst', model='text-40')")
    assert kernel.run("%%agent analyst\nhi").status == "ok"
    assert kernel.run("%%agent expert\nhi").status == "ok"
    assert value(kernel, "len(expert.conversation)") == "2"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("%%agent --nonsense\nhi", "unrecognized arguments: --nonsense"),
        ("%%agent\n   ", "the prompt is empty"),
        ("%%agent --define\nhi", "--define needs a name"),
        ("%%agent --tools nosuch\nhi", "'nosuch' is not defined"),
        ("%%agent --context nosuch\nhi", "'nosuch' is not defined"),
        ("%%agent -p temperature\nhi", "write it as -p temperature=0.2"),
        ("%%agent --out 1x\nhi", "is not a name"),
        ("%%agent time\nhi", "the name holds a module"),
        ("%ask", "nothing asked"),
        ("%fix 99", "did not fail"),
        ("%agents shew bob", "did you mean 'show'?"),
        ("%models use", "takes one NAME"),
    ],
)
def test_bad_options_are_usage_errors(kernel, clock, code, words):
    """One line on stderr, as IPython's own magics have it; the cell is red, nothing is sent."""
    if code.startswith("%fix"):
        kernel.run("1/0")
    cell = kernel.run(code)
    assert cell.status == "error"
    assert cell.stderr.startswith("UsageError: ")
    assert words in cell.stderr
    assert not clock.runs()


def test_an_unknown_agent_is_named_with_the_nearest(kernel):
    kernel.run("%%agent analyst --define")
    cell = kernel.run("%agents show analist")
    assert cell.status == "error"
    assert "did you mean 'analyst'?" in "\n".join(cell.error)


def test_a_model_error_is_red_short_and_says_what_to_do(kernel):
    cell = kernel.run("%%agent -m err-401\nhi")
    assert cell.status == "error"
    assert len(cell.error) == 2
    assert "refused the API key (401)" in cell.error[0]
    assert cell.error[1].startswith("hint: ")
    assert "failed" in cell.markdown


def test_params_go_to_the_endpoint_unchanged(kernel, clock):
    """A value is JSON where it can be, else text."""
    kernel.run("%%agent -p temperature=0.5 -p stop=END -p 'extra={\"a\": [1]}'\ngo")
    sent = clock.runs()[-1]["params"]
    assert {k: sent[k] for k in ("temperature", "stop", "extra")} == {
        "temperature": 0.5,
        "stop": "END",
        "extra": {"a": [1]},
    }


def test_fix_explains_the_error_and_offers_the_mended_cell(kernel):
    """The mended cell is shown and put below; it is never run."""
    kernel.run("%models use demo:fast")
    kernel.run("total = 3\nprint(totl)")
    cell = kernel.run("%fix")
    assert cell.status == "ok", cell.error
    assert "```python" in cell.markdown
    payload = cell.reply["payload"]
    assert [p["source"] for p in payload] == ["set_next_input"]
    assert payload[0]["replace"] is False
    assert "print(total)" in payload[0]["text"]


def test_agents_show_history_and_reset(kernel):
    demo(kernel, "%%agent bob --system terse\nWhat is up?")
    assert "terse" in value(kernel, "%agents show bob")
    assert "What is up?" in value(kernel, "%agents history bob")
    kernel.run("%agents reset bob")
    assert value(kernel, "len(bob.conversation)") == "0"
    assert "bob" in value(kernel, "%agents")


def test_runs_list_what_ran_with_numbers_for_pandas(kernel):
    kernel.run("%%agent bob\nhi")
    assert "bob" in value(kernel, "%runs")
    assert value(kernel, "_.to_pandas().seconds.dtype.kind") == "'f'"


def test_models_lists_the_configured_and_the_demo_endpoint(kernel, clock):
    shown = value(kernel, "%models")
    assert clock.url in shown
    assert "demo" in shown


def test_a_key_cannot_be_typed_where_nobody_can_answer(kernel):
    """Headless clients refuse questions: the way out is the environment."""
    cell = kernel.run("%models connect openai", allow_stdin=False)
    assert cell.status == "error"
    assert cell.stderr.startswith("UsageError: openai: nobody can be asked for a key here")
    assert "set it in the environment" in cell.stderr


def test_config_chooses_the_display_and_the_model(kernel):
    assert kernel.run("%config TFrameX.display = 'final'").status == "ok"
    cell = kernel.run("%%agent\ngo")
    kernel.run("%config TFrameX.display = 'auto'")
    assert [m.type for m in cell.visible()] == ["display_data"]
    assert "'auto', 'live', 'final'" in kernel.run("%config TFrameX.display = 'no'").stderr


def test_help_shows_every_option(kernel):
    cell = kernel.run("%%agent?")
    text = json.dumps(cell.reply["payload"])
    for option in ("--system", "--tools", "--context", "--no-interpolate", "--fresh", "--define"):
        assert option in text


def test_completion_knows_options_agents_models_tools_and_names(kernel):
    kernel.run("def add_numbers(): ...\nfrom tframex_nb import Agent\nanalyst = Agent('analyst')")
    assert "--fresh" in kernel.complete("%%agent --fr")
    assert "analyst" in kernel.complete("%%agent ana")
    assert "demo" in kernel.complete("%%agent -m de")
    assert "add_numbers" in kernel.complete("%%agent --tools add_")
    assert "analyst" in kernel.complete("%%agent\nsay {{ anal")
    assert "analyst:" in kernel.complete("%ask ana")
    assert "history" in kernel.complete("%agents hi")


def test_unload_takes_everything_back(new_kernel, clock_server):
    kernel = new_kernel(TFRAMEX_API_URL=clock_server.url, TFRAMEX_MODEL="text-40")
    try:
        state = (
            "ip = get_ipython()\n"
            "def ours(things):\n"
            "    return [t for t in things if 'tframex' in type(t).__module__]\n"
            "def state():\n"
            "    return (len(ip.input_transformers_cleanup), ours(ip.configurables),\n"
            "            len(ip.Completer.custom_matchers),\n"
            "            'AgentMagics' in ip.magics_manager.registry,\n"
            "            'pre_handler_hook' in vars(ip.kernel),\n"
            "            {k: len(v) for k, v in ip.events.callbacks.items()},\n"
            "            {'ask', 'agents', 'models'} & set(ip.magics_manager.magics['line']),\n"
            "            'agent' in ip.magics_manager.magics['cell'],\n"
            "            len(ip.display_formatter.ipython_display_formatter.type_printers),\n"
            "            len(ip.display_formatter.ipython_display_formatter.deferred_printers))\n"
            "first = state()"
        )
        kernel.run(state)
        kernel.run("%load_ext tframex_nb")
        assert kernel.run("%%agent --out r -m demo:fast\ngo").status == "ok"
        assert kernel.run("r").displays
        assert value(kernel, "state() != first") == "True"
        kernel.run("%unload_ext tframex_nb")
        assert value(kernel, "state() == first") == "True", kernel.run("first, state()").displays
        assert kernel.run("%%agent\ngo").status == "error"
        assert kernel.run("%load_ext tframex_nb").status == "ok"
        assert kernel.run("%%agent\ngo").status == "ok"
    finally:
        kernel.close()
