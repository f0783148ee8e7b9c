"""The main job as a person sees it, in JupyterLab and in Notebook 7."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from notebook_page import answer, errors
from playwright.sync_api import expect
from scripted_server import Say

if TYPE_CHECKING:
    from collections.abc import Callable

    from notebook_page import NotebookPage
    from scripted_server import ScriptedServer

pytestmark = pytest.mark.browser

LINE = 30  # pixels: no more than a line of text may vanish between two frames
STOPPED = "Stopped: the run was interrupted; the partial answer is kept."


def test_the_main_job(open_notebook: Callable[[str], NotebookPage]) -> None:
    """Text arrives in steps, ■ stops it, the next cell works, plain Markdown is saved."""
    book = open_notebook("main")
    book.run("%load_ext tframex_nb")
    cell = book.start("%%agent -m text-100000-r100\nTell me everything.")
    book.watch(cell)
    expect(answer(cell)).to_contain_text("ZQ0 001")
    expect(answer(cell)).to_contain_text(" 080 ")
    book.stop()
    book.wait(cell)
    lengths, heights = book.samples()
    assert len(set(lengths)) > 5
    assert lengths == sorted(lengths)
    assert heights == sorted(heights)
    expect(errors(cell)).to_have_text(STOPPED)
    expect(answer(cell)).to_contain_text("stopped · text-100000-r100")
    after = book.run("%%agent\nGo on.")
    expect(answer(after)).to_contain_text("ZQ0 001")
    _, stopped, finished, _ = book.saved().cells
    assert [o.output_type for o in stopped.outputs] == ["display_data", "error"]
    assert [o.output_type for o in finished.outputs] == ["display_data"]
    for output in (stopped.outputs[0], finished.outputs[0]):
        assert set(output.data) == {"text/markdown", "text/plain"}
        assert output.data["text/markdown"].startswith("ZQ0 001")
        assert output.metadata == {}
    assert not book.complaints
    assert not book.elsewhere


def test_two_notebooks_at_once(
    book: NotebookPage, open_notebook: Callable[[str], NotebookPage]
) -> None:
    """Each has its own kernel; stopping one leaves the other."""
    other = open_notebook("other")
    other.run("%load_ext tframex_nb")
    stopped = other.start("%%agent -m text-100000-r100\ngo")
    finished = book.start("%%agent -m text-800-r100\ngo")
    for cell in (stopped, finished):
        expect(answer(cell)).to_contain_text("ZQ0 001")
    other.stop()
    other.wait(stopped)
    book.wait(finished)
    expect(errors(stopped)).to_have_text(STOPPED)
    expect(errors(finished)).to_have_count(0)
    expect(answer(finished)).to_contain_text(" 199 ")
    assert not other.complaints


def test_the_demo_model_writes_without_jumps(book: NotebookPage) -> None:
    """A rich answer never vanishes, and what stands above its last line stays where it is."""
    cell = book.start("%%agent -m demo\nWhat can you do?")
    book.watch(cell)
    book.wait(cell)
    lengths, heights = book.samples()
    begun = lengths[next(i for i, n in enumerate(lengths) if n) :]
    assert len(set(begun)) > 5
    assert min(begun) > 0
    assert [(a, b) for a, b in pairwise(heights) if b < a - LINE] == []
    expect(answer(cell).locator("h1")).to_contain_text("Demo answer")
    expect(answer(cell).locator("table")).to_be_visible()
    expect(answer(cell).locator(".MathJax, mjx-container").first).to_be_visible()


def test_reasoning_is_folded_and_opens_on_a_click(book: NotebookPage) -> None:
    cell = book.run("%%agent -m demo:think\nWhy is the sky blue?")
    details = answer(cell).locator("details")
    expect(details.locator("summary")).to_contain_text("Reasoning")
    thought = details.get_by_text("The user asks: Why is the sky blue?")
    expect(thought).to_be_hidden()
    details.locator("summary").click()
    expect(thought).to_be_visible()


def test_a_tool_call_is_one_line(book: NotebookPage) -> None:
    book.run("def revenue_of(city: str) -> int:\n'Revenue of a city.'\nreturn 120")
    cell = book.run("%%agent -m demo:fast --tools revenue_of\nWhat is the revenue of Oslo?")
    line = answer(cell).locator("p", has_text="▸")
    expect(line).to_contain_text('▸ revenue_of(city="Oslo") → 120')
    assert line.evaluate("e => e.offsetHeight") < 2 * LINE


def test_a_failing_model_is_red_and_short(book: NotebookPage) -> None:
    cell = book.run("%%agent -m demo:401\nhi")
    lines = errors(cell).inner_text().strip().splitlines()
    assert len(lines) == 2
    assert "refused the API key (401)" in lines[0]
    assert lines[1].startswith("hint: ")
    red, green, blue = errors(cell).evaluate(
        "e => getComputedStyle(e).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    )
    assert red > green
    assert red > blue


def test_fix_puts_the_mended_cell_below(book: NotebookPage) -> None:
    book.run("%models use demo:fast")
    book.run("total = 3\nprint(totl)")
    before = book.cells.count()
    cell = book.run("%fix")
    expect(answer(cell)).to_contain_text("total")
    below = book.cells.nth(before)
    expect(below.locator(".cm-content")).to_have_text("total = 3print(total)")
    assert below.locator(".jp-InputPrompt").inner_text().strip() == "[ ]:"
    book.run("%config TFrameX.model = 'text-40'")


def hostile(port: int) -> str:
    """Everything that would make a page ask for something or run something."""
    url = f"http://127.0.0.1:{port}"
    return f"""hostile begins
<script>window.pwned = 1; fetch('{url}/script')</script>
<img src="{url}/img" onerror="window.pwned = 2">
![pixel]({url}/md) ![ref][r] [link](javascript:window.pwned=3) <javascript:window.pwned=4>
[data](data:text/html,<script>window.pwned=5</script>)

[r]: {url}/reference

<svg onload="window.pwned=6"><image href="{url}/svg"/></svg>
<iframe src="{url}/frame"></iframe><link rel="stylesheet" href="{url}/css">
<style>@import "{url}/import"; body {{ background: url({url}/bg) }}</style>
<details open ontoggle="window.pwned=7"><summary>x</summary></details>
<a href="{url}/ping" ping="{url}/ping">a</a> <form action="{url}/form"><button>b</button></form>

```mermaid
graph TD; A["<img src='{url}/mermaid'>"] --> B; click A "javascript:window.pwned=8"
```

$\\href{{javascript:window.pwned=9}}{{x}}$ $\\unicode{{x}}$
$\\require{{html}}\\style{{background:url({url}/tex)}}{{y}}$

$$\\class{{pwned}}{{z}} \\href{{{url}/tex2}}{{w}}$$

<video poster="{url}/poster" src="{url}/video"></video><object data="{url}/object"></object>

hostile ends"""


def test_a_hostile_answer_asks_for_nothing_and_runs_nothing(
    book: NotebookPage, trap: ScriptedServer
) -> None:
    """While it streams, when it is finished, and when the saved notebook is opened again."""
    text = hostile(trap.port)
    pieces = [text[i : i + 40] for i in range(0, len(text), 40)]
    trap.answer = lambda _: Say(pieces, reasoning=text)
    cell = book.run(f"%%agent -m evil --api-url {trap.url}\nhi")
    expect(answer(cell)).to_contain_text("hostile ends")
    expect(answer(cell)).to_contain_text("hostile begins")
    cell.locator("summary").first.click()
    assert_harmless(book, trap)
    book.saved()
    book.reload()
    last = book.page.locator(".jp-RenderedMarkdown > p", has_text="hostile ends")
    book.scroll_to_end()
    expect(last).to_be_visible()
    assert_harmless(book, trap)
    # The trap does snap where the same Markdown is shown as it came.
    image = f"http://127.0.0.1:{trap.port}/control"
    with book.page.expect_event("requestfailed"):  # what comes back is no image
        book.run(f"from IPython.display import Markdown\nMarkdown('![x]({image})')")
    assert trap.requests[-1].path == "/control"
    assert book.elsewhere == [image]
    book.elsewhere.clear()
    book.complaints.clear()


def assert_harmless(book: NotebookPage, trap: ScriptedServer) -> None:
    book.page.wait_for_load_state("networkidle")
    assert not book.complaints
    assert not book.elsewhere
    assert book.page.evaluate("() => window.pwned") is None
    links = book.page.eval_on_selector_all(
        ".jp-RenderedMarkdown a", "all => all.map(a => a.getAttribute('href') ?? '')"
    )
    assert [link for link in links if not link.startswith(("http://", "https://", "#"))] == []
    assert {request.path for request in trap.requests} == {"/v1/chat/completions"}
    assert (
        book.page.locator(
            ".jp-RenderedMarkdown :is(script, iframe, form, style, object, video, svg image)"
        ).count()
        == 0
    )
