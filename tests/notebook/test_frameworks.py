"""Frameworks in a real kernel: cells choose one, ``%frameworks`` shows and changes them."""

from __future__ import annotations

import time

import pytest

pytestmark = pytest.mark.kernel

# A user's own adapter, as it stands in a cell: an OpenAI-compatible endpoint, read line by line.
ADAPTER = '''
import json
import httpx
from tframex_nb.frameworks.base import ABSENT, NATIVE, PARTIAL, FrameworkIntegration
from tframex_nb.messages import TextDelta

class Shout(FrameworkIntegration):
    """Says what the model says, louder."""

    name = "shout"
    templates = ("crier",)
    capabilities = {
        "streaming": NATIVE,
        "memory": PARTIAL("text only"),
        "tools": ABSENT("it never listens"),
    }

    async def execute_agent_streaming(self, request):
        body = {
            "model": request.model.name,
            "stream": True,
            "messages": [message.to_dict() for message in request.messages],
        }
        head = {"Authorization": f"Bearer {request.model.api_key}"}
        url = f"{request.model.base_url}/chat/completions"
        async with (
            httpx.AsyncClient(trust_env=False, timeout=None) as client,
            client.stream("POST", url, json=body, headers=head) as response,
        ):
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                for choice in json.loads(line[6:])["choices"]:
                    if text := choice["delta"].get("content"):
                        yield TextDelta(VOICE(text))
'''
LOUD = ADAPTER.replace("VOICE(text)", "text.replace('ZQ', 'LOUD')")
LOUDER = ADAPTER.replace("VOICE(text)", "text.replace('ZQ', 'LOUDER')")
FAILING = (
    ADAPTER.replace("VOICE(text)", "text[[]]")
    .replace('"shout"', '"mute"')
    .replace("class Shout", "class Mute")
)


def value(kernel, expression: str) -> str:
    cell = kernel.run(expression)
    assert cell.status == "ok", cell.error
    return cell.displays[-1]["text/plain"]


@pytest.fixture(scope="module")
def shared_kernel(bare_kernel):
    """A kernel on whose host no framework is installed."""
    return bare_kernel


@pytest.fixture
def shout(kernel):
    """A kernel whose user wrote an adapter in a cell and loaded it."""
    assert kernel.run(LOUD).status == "ok"
    cell = kernel.run("%frameworks load Shout")
    assert cell.status == "ok", cell.error
    yield kernel
    kernel.run("%frameworks use native")
    kernel.run("%frameworks unload shout")


def test_the_table_lists_the_frameworks_that_come_along(kernel):
    cell = kernel.run("t = %frameworks\nt")
    assert cell.status == "ok", cell.error
    (shown,) = cell.displays
    for word in ("native", "langgraph", "crewai", "pydantic_ai", "ready", "%frameworks install"):
        assert word in shown["text/plain"]
    assert "| native |" in shown["text/markdown"]
    assert value(kernel, "set(t.to_pandas()['state']) >= {'ready'}") == "True"


def test_an_adapter_of_a_cell_is_listed_with_what_it_can_do(shout):
    shown = shout.run("%frameworks").displays[0]["text/plain"]
    row = next(line for line in shown.splitlines() if line.startswith("shout"))
    assert "ready" in row
    assert "in-process" in row
    assert "streaming ~memory" in row
    assert "tools" not in row
    told = shout.run("%frameworks show shout").displays[0]["text/plain"]
    assert "partial: text only" in told
    assert "absent: it never listens" in told


def test_a_cell_runs_on_the_framework_that_it_names(shout):
    cell = shout.run("%%agent -f shout --out r\ngo")
    assert cell.status == "ok", cell.error
    assert len(cell.displays) == 1
    assert cell.markdown.startswith("LOUD0 001")
    assert "shout" in cell.markdown.splitlines()[-1]
    assert value(shout, "(r.framework, r is _)") == "('shout', True)"
    shown = shout.run("%frameworks").displays[0]["text/plain"]
    row = next(line for line in shown.splitlines() if line.startswith("shout"))
    assert row.split()[-2:] != ["0", "0"]


def test_auto_chooses_by_the_template_and_explains_itself_once_above_the_answer(shout):
    cell = shout.run("%%agent -f auto -t crier --explain --out r\ngo")
    assert cell.status == "ok", cell.error
    (shown,) = cell.displays
    for kind in ("text/plain", "text/markdown"):
        assert shown[kind].count("chosen: shout") == 1
        assert shown[kind].index("chosen: shout") < shown[kind].index("LOUD0 001")
    assert value(shout, "(r.framework, r.resolution.chosen)") == "('shout', 'shout')"
    assert len([p for p in shown["text/plain"].split("\n\n") if "the only one" in p]) == 1
    plain = shout.run("%%agent -f auto -t crier\ngo")
    assert "| framework |" not in plain.markdown


def test_a_headless_client_gets_the_explanation_in_its_one_display(shout):
    cell = shout.run("%%agent -f auto -t crier --explain\ngo", allow_stdin=False)
    (message,) = [m for m in cell.visible() if m.type != "status"]
    assert message.type == "display_data"
    assert "chosen: shout" in message.content["data"]["text/markdown"]


def test_a_definition_keeps_its_framework_and_template(shout):
    shout.run("%%agent crier -f shout -t crier --define")
    assert value(shout, "(crier.framework, crier.template_id)") == "('shout', 'crier')"
    assert shout.run("%%agent crier\ngo").markdown.startswith("LOUD0")
    assert shout.run("%%agent crier -f native\ngo").markdown.startswith("ZQ0")
    assert value(shout, "crier.framework") == "'shout'"


def test_use_names_the_framework_of_cells_that_name_none(shout):
    shout.run("%frameworks use shout")
    assert shout.run("%%agent\ngo").markdown.startswith("LOUD0")
    assert "used where none is named: shout" in shout.run("%frameworks").markdown
    shout.run("%frameworks use native")
    assert shout.run("%%agent\ngo").markdown.startswith("ZQ0")


def test_an_adapter_is_replaced_while_another_run_streams(shout, clock):
    """The run that goes on ends as it began; the next one takes the new adapter."""
    shout.run(
        "from tframex_nb.runtime import RunRequest\nfrom tframex_nb import Agent\n"
        "session = get_ipython().magics_manager.registry['AgentMagics'].session\n"
        "slow = Agent('slow', model='text-4000-r100', framework='shout')\n"
        "async def drain():\n"
        "    async for _ in session.runtime.stream(RunRequest(slow, 'go')): pass\n"
        "task = asyncio.create_task(drain())\n"
        "while not (slow.last and slow.last.text): await asyncio.sleep(0.01)"
    )
    shout.run(LOUDER)
    cell = shout.run("%frameworks load Shout")
    assert cell.status == "ok", cell.error
    assert shout.run("%%agent -f shout\ngo").markdown.startswith("LOUDER0")
    assert value(shout, "slow.last.status") == "'running'"
    assert shout.run("await task").status == "ok"
    assert value(shout, "(slow.last.text.startswith('LOUD0'), slow.last.status)") == (
        "(True, 'finished')"
    )


def test_an_interrupt_stops_a_run_on_any_framework_at_once(shout, clock):
    cell = shout.start("%%agent -f shout -m text-100000-r100\ngo")
    cell.wait_for("LOUD0 001")
    sent = shout.interrupt()
    shout.wait(cell)
    assert cell.idle - sent < 1.0
    assert cell.error == ["Stopped: the run was interrupted; the partial answer is kept."]
    assert cell.markdown.startswith("LOUD0 001")
    deadline = time.monotonic() + 5
    while clock.runs()[-1]["closed"] is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert clock.runs()[-1]["closed"] is not None


def test_a_frameworks_own_error_is_red_once_and_short(kernel):
    kernel.run(FAILING)
    kernel.run("%frameworks load Mute")
    cell = kernel.run("%%agent -f mute\ngo")
    assert cell.error[0].startswith("FrameworkFailed: mute failed: TypeError: ")
    assert len(cell.error) <= 3
    shown = kernel.run("%frameworks").displays[0]["text/plain"]
    row = next(line for line in shown.splitlines() if line.startswith("mute"))
    assert row.split()[-2:] == ["1", "1"]
    kernel.run("%frameworks unload mute")


@pytest.mark.parametrize("name", ["markdown", "json", "code", "html", "text"])
def test_a_format_of_another_extension_gets_a_hint(kernel, clock, name):
    cell = kernel.run(f"%%agent -f {name}\nhi")
    assert cell.stderr.startswith(f"UsageError: -f {name}: that is a format")
    assert "--as" in cell.stderr
    assert not clock.runs()


def test_an_unknown_framework_is_told_the_nearest_and_leaves_no_display(kernel, clock):
    cell = kernel.run("%%agent -f langraph\nhi")
    assert cell.error[0].startswith("UnknownFramework: ")
    assert "did you mean 'langgraph'?" in cell.error[1]
    assert not cell.displays
    assert not clock.runs()


def test_a_name_that_means_nothing_defines_no_agent(kernel):
    kernel.run("%%agent bob -f langraph\nhi")
    assert value(kernel, "'bob' in globals()") == "False"


def test_there_is_nothing_to_explain_where_the_framework_was_named(shout):
    cell = shout.run("%%agent -f shout --explain\ngo")
    assert cell.markdown.endswith("nothing to explain: shout was named*")


def test_a_table_can_be_asked_for_inside_a_block(kernel):
    cell = kernel.run("for _ in range(2):\n    t = %frameworks")
    assert cell.status == "ok", cell.error
    assert value(kernel, "'native' in str(t)") == "True"


def test_a_framework_that_is_not_installed_says_how_to_install_it(kernel, clock):
    cell = kernel.run("%%agent -f crewai\nhi")
    assert cell.error[0].startswith("FrameworkNotInstalled: crewai cannot run here")
    assert cell.error[1] == "hint: %frameworks install crewai"
    assert not clock.runs()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("%frameworks instal crewai", "no such verb; did you mean 'install'?"),
        ("%frameworks install", "%frameworks install takes one NAME"),
        ("%frameworks load", "takes one PATH, module:Class or a class of the notebook"),
        ("%frameworks --tools", "go with: why TEMPLATE"),
        ("%frameworks use native --offline", "--offline goes with: install NAME"),
        ("%frameworks why qa --capability multiagent", "did you mean 'multi_agent'?"),
        ("%%agent --object grph\nhi", "'grph' is defined neither here nor in a %%framework cell"),
        ("%%framework native\n  ", "the cell is empty"),
        ("%%compare\nhi", "name the frameworks: %%compare -f all"),
        ("%%compare -f markdown\nhi", "that is a format"),
        ("%%compare -f all\n  ", "the prompt is empty"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(kernel, clock, line, words):
    cell = kernel.run(line)
    assert cell.status == "error"
    assert cell.stderr.startswith("UsageError: ")
    assert words in cell.stderr
    assert not clock.runs()


def test_a_class_that_is_no_adapter_is_refused_with_what_to_subclass(kernel):
    kernel.run("class Thing: ...")
    cell = kernel.run("%frameworks load Thing")
    assert cell.error[0] == "FrameworkError: Thing is a class, and no FrameworkIntegration"


def test_why_shows_every_candidate_and_returns_the_resolution(shout):
    cell = shout.run("%frameworks why crier --streaming")
    assert cell.status == "ok", cell.error
    assert "chosen: shout" in cell.displays[0]["text/plain"]
    assert value(shout, "(_.chosen, _.candidate('shout').total > 0)") == "('shout', True)"
    refused = shout.run("%frameworks why crier --tools")
    assert "chosen: shout" not in refused.displays[0]["text/plain"]


def test_show_tells_the_health_of_what_runs_here(shout):
    """An adapter says how it is; one that cannot say so is told of, and the table stays."""
    assert "ok" in health(shout)
    shout.run(
        "async def ill(self):\n    raise OSError('no disk')\n"
        "type(get_ipython().find_cell_magic('agent').__self__.session.runtime.frameworks"
        ".registry.get_framework('shout')).health = ill"
    )
    assert "OSError: no disk" in health(shout)


def health(kernel) -> str:
    cell = kernel.run("%frameworks show shout")
    assert cell.status == "ok", cell.error
    lines = cell.displays[0]["text/plain"].splitlines()
    return next(line for line in lines if "health" in line)


def test_a_template_of_the_notebook_is_resolved_and_listed(shout):
    """What a cell says of a template holds for the next resolution."""
    made = shout.run("%frameworks template herald --prefer shout --capability streaming")
    assert made.status == "ok", made.error
    assert "herald" in made.displays[0]["text/plain"]
    assert "chosen: shout" in shout.run("%frameworks why herald").displays[0]["text/plain"]
    again = shout.run("%frameworks template herald --capability tools")
    assert "tools" in again.displays[0]["text/plain"]
    refused = shout.run("%frameworks why herald")
    assert "chosen: shout" not in refused.displays[0]["text/plain"]
    assert "customer-service-bot" in shout.run("%frameworks template").displays[0]["text/plain"]
    wrong = shout.run("%frameworks template herald --prefer shuot")
    assert "did you mean 'shout'?" in str(wrong.error)


def test_an_install_tells_its_size_moves_in_one_line_and_ends_in_one(tiny, index):
    """The kernel's loop stays free; the framework is ready afterwards."""
    index.hold("beta")
    tiny.run(
        "ticks = []\nasync def tick():\n    while True:\n"
        "        ticks.append(1); await asyncio.sleep(0.01)\nbeat = asyncio.create_task(tick())"
    )
    cell = tiny.start("%frameworks install tiny")
    cell.wait_for("installing tiny: 2 packages")
    cell.wait_for(" · 1 s")
    time.sleep(0.5)
    index.released.set()
    tiny.wait(cell)
    assert cell.status == "ok", cell.error
    (shown,) = cell.displays
    assert shown["text/plain"].startswith("tiny 1.0 is installed (2 packages, ")
    assert shown["text/plain"].endswith("next: %%agent -f tiny")
    assert "\n" not in shown["text/plain"]
    kinds = {m.type for m in cell.visible()}
    assert kinds == {"display_data", "update_display_data"}
    assert int(value(tiny, "len(ticks)")) > 20
    tiny.run("beat.cancel()")
    assert tiny.run("%%agent -f tiny\ngo").markdown.startswith("alpha 1.0")
    removed = tiny.run("%frameworks remove tiny")
    assert "MB are free again" in removed.markdown


def test_an_install_can_be_stopped_and_says_how_to_go_on(tiny, index):
    index.hold("*")
    cell = tiny.start("%frameworks install tiny")
    index.reached.wait(20)
    sent = tiny.interrupt()
    tiny.wait(cell)
    assert cell.idle - sent < 5.0
    assert cell.error == ["Stopped."]
    (shown,) = cell.displays
    assert shown["text/plain"].endswith("what was fetched is kept: %frameworks install tiny")
    assert "not installed" in tiny.run("%frameworks show tiny").displays[0]["text/plain"]


def test_an_install_that_fails_is_red_once(tiny, tmp_path):
    """Offline, a package that nobody ever fetched."""
    (tmp_path / "tiny.txt").write_text(f"gamma==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
    cell = tiny.run("%frameworks install tiny --offline")
    assert cell.error[0].startswith("InstallFailed: ")
    assert len(cell.error) <= 3
    assert cell.displays[0]["text/plain"] == "tiny is not installed"


def test_an_adapter_that_cannot_be_loaded_is_a_row(kernel, tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("import nothing_of_this_name\n")
    cell = kernel.run(f"%frameworks load {path}")
    assert cell.error[0].startswith("FrameworkLoadError: ")
    shown = kernel.run("%frameworks").displays[0]["text/plain"]
    assert any("broken" in line and "failed" in line for line in shown.splitlines())


def test_a_changed_adapter_file_is_reloaded(tiny, installed, tmp_path):
    path = tmp_path / "tiny_adapter.py"
    path.write_text(path.read_text().replace("alpha {", "ALPHA {"))
    cell = tiny.run("%frameworks reload tiny")
    assert cell.status == "ok", cell.error
    assert tiny.run("%%agent -f tiny\ngo").markdown.startswith("ALPHA 1.0")


def test_a_changed_configuration_is_applied_and_told(kernel, tmp_path):
    path = tmp_path / "runtime-config.yaml"
    path.write_text("frameworks:\n  default_framework: langgraph\n")
    cell = kernel.run(f"%frameworks reconfigure {path}")
    assert cell.status == "ok", cell.error
    assert "default_framework" in cell.displays[0]["text/plain"]
    assert "nothing new" in kernel.run(f"%frameworks reconfigure {path}").markdown


def test_a_comparison_streams_side_by_side_and_ends_in_a_table(shout):
    cell = shout.run("%%compare -f native,shout -m text-400-r100 --out c\ngo")
    assert cell.status == "ok", cell.error
    assert len(cell.displays) == 1
    shown = [m.content["data"].get("text/markdown", "") for m in cell.visible()]
    assert any("LOUD0" in s and "ZQ0" in s and "first token" not in s for s in shown)
    assert cell.markdown.index("**native**") < cell.markdown.index("**shout**")
    assert "| native |" in cell.markdown
    assert value(shout, "(list(c.runs), c is _)") == "(['native', 'shout'], True)"
    assert value(shout, "[r.status for r in c.runs.values()]") == "['finished', 'finished']"
    assert value(shout, "list(c.to_pandas()['framework'])") == "['native', 'shout']"


def test_all_compares_what_is_ready_and_names_the_rest(shout):
    cell = shout.run("%%compare -f all\ngo")
    assert cell.status == "ok", cell.error
    assert {"native", "shout"} <= set(eval(value(shout, "list(_.runs)")))
    assert "not ready: " in cell.markdown
    assert "crewai" in cell.markdown


def test_one_that_fails_or_is_not_installed_leaves_the_others_running(shout):
    shout.run(FAILING)
    shout.run("%frameworks load Mute")
    cell = shout.run("%%compare -f mute,crewai,shout\ngo")
    assert cell.status == "ok", cell.error
    assert "LOUD0 001" in cell.markdown
    plain = cell.displays[0]["text/plain"]
    assert "mute failed: TypeError" in plain
    assert "%frameworks install crewai" in plain
    assert value(shout, "sorted(_.errors)") == "['crewai', 'mute']"
    shout.run("%frameworks unload mute")


def test_a_comparison_in_which_all_fail_is_red(kernel):
    cell = kernel.run("%%compare -f crewai\ngo")
    assert cell.error[0] == "FrameworkError: no framework answered: crewai"
    assert "%frameworks install crewai" in cell.markdown


def test_a_typo_in_a_comparison_runs_nothing(kernel, clock):
    cell = kernel.run("%%compare -f native,crewia\ngo")
    assert cell.error[0].startswith("UnknownFramework: ")
    assert not clock.runs()


def test_an_interrupt_stops_all_that_are_compared_and_keeps_what_came(shout, clock):
    cell = shout.start("%%compare -f native,shout -m text-100000-r100 --out c\ngo")
    cell.wait_for("LOUD0 001")
    cell.wait_for("ZQ0 001")
    sent = shout.interrupt()
    shout.wait(cell)
    assert cell.idle - sent < 1.0
    assert cell.error == ["Stopped: all runs were interrupted; the partial answers are kept."]
    assert value(shout, "[r.status for r in c.runs.values()]") == "['interrupted', 'interrupted']"
    assert value(shout, "all(len(r.text) > 5 for r in c.runs.values())") == "True"
    assert len(cell.displays) == 1


def test_a_compared_agent_brings_its_memory_and_learns_nothing(shout, clock):
    shout.run("%%agent ann\nfirst")
    clock.reset()
    shout.run("%%compare ann -f native,shout\nsecond")
    assert value(shout, "(len(ann.conversation), ann.last.prompt)") == "(1, 'first')"
    said = [[m["content"] for m in r["messages"]] for r in clock.runs()]
    assert all("first" in one and "second" in one for one in said)


def test_a_comparison_sends_bytes_as_one_answer_does(shout):
    cell = shout.run("%%compare -f native,shout -m text-50000-r2000-c25\ngo")
    assert cell.status == "ok", cell.error
    assert sum(m.size for m in cell.visible()) < 15 * 100_000


def test_a_comparison_works_below_another_magic(shout):
    """``%%time`` calls it from synchronous code; its value is not shown a second time."""
    cell = shout.run("%%time\n%%compare -f native,shout\ngo")
    assert cell.status == "ok", cell.error
    assert cell.markdown.count("**shout**") == 1


def test_completion_knows_frameworks_templates_and_verbs(shout):
    assert "shout" in shout.complete("%%agent -f sh")
    assert "auto" in shout.complete("%%agent -f au")
    assert "crier" in shout.complete("%%agent -t cri")
    assert "--template" in shout.complete("%%agent --te")
    assert "install" in shout.complete("%frameworks ins")
    assert "crewai" in shout.complete("%frameworks install cre")
    assert "crier" in shout.complete("%frameworks why cri")
    assert "Shout" in shout.complete("%frameworks load Sh")
    assert "shout" in shout.complete("%%compare -f native,sh")
    assert "crewai" in shout.complete("%%framework cre")


def test_help_shows_verbs_and_options(kernel):
    page = kernel.run("%frameworks?").reply["payload"][0]["data"]["text/plain"]
    assert "install NAME" in page
    assert "--streaming" in page
    assert "--explain" in kernel.run("%%agent?").reply["payload"][0]["data"]["text/plain"]


def test_unload_ext_takes_the_magics_of_frameworks_back(new_kernel, clock_server):
    kernel = new_kernel(TFRAMEX_API_URL=clock_server.url, TFRAMEX_MODEL="text-40")
    try:
        kernel.run("%load_ext tframex_nb")
        kernel.run("%frameworks")
        kernel.run("%unload_ext tframex_nb")
        for line in ("%frameworks", "%%compare -f all\nhi", "%%framework native\nx = 1"):
            assert "not found" in kernel.run(line).stderr
        assert value(kernel, "'FrameworkMagics' in get_ipython().magics_manager.registry") == (
            "False"
        )
    finally:
        kernel.close()
