"""Figures, images and files in the prompts of cells, in a real kernel."""

from __future__ import annotations

import base64
import html
import io
import re
import shutil

import pytest
from scripted_server import Say, server

from tframex_nb.models.parts import measure
from tframex_nb.testing.images import png

__all__ = ["server"]

pytestmark = pytest.mark.kernel

FIGURE = """
import matplotlib; matplotlib.use("agg")
import matplotlib.pyplot as plt
from pathlib import Path
fig, ax = plt.subplots(); _ = ax.plot([1, 3, 2]); plt.close(fig)
"""


@pytest.fixture
def drawn(kernel, tmp_path):
    """The kernel with a figure, in an empty folder."""
    assert kernel.run(f"%cd -q {tmp_path}{FIGURE}").status == "ok"
    return kernel


def ask(kernel, server, prompt: str, *replies: str | Say, options: str = ""):
    server.say(*(replies or ("seen",)))
    cell = kernel.run(f"%%agent --api-url {server.url} -m scripted {options}\n{prompt}")
    return cell, [m["content"] for m in server.requests[-1].messages] if server.requests else []


def image_in(part) -> bytes:
    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    return base64.b64decode(data)


@pytest.mark.parametrize("expression", ["fig", "ax", "fig.axes[0]"])
def test_a_figure_arrives_as_the_image_that_it_is_drawn_as(drawn, server, expression):
    from PIL import Image

    cell, [content] = ask(drawn, server, f"What does {{{{ {expression} }}}} show?")
    assert cell.status == "ok", cell.error
    assert [part["type"] for part in content] == ["text", "image_url", "text"]
    assert (content[0]["text"], content[2]["text"]) == ("What does ", " show?")
    assert Image.open(io.BytesIO(image_in(content[1]))).size == (640, 480)
    shown = html.unescape(cell.markdown)
    assert re.search(rf"sent {re.escape(expression)}: PNG 640x480, \d+ kB", shown)


def test_a_thumbnail_stays_in_the_cell_and_text_stays_for_terminals(drawn, server):
    cell, _ = ask(drawn, server, "What is {{ fig }}?", options="--out r")
    bundle = cell.displays[-1]
    [small] = re.findall(r"!\[\]\(data:image/jpeg;base64,([^)]+)\)", bundle["text/markdown"])
    assert len(small) < 25_000
    assert "base64" not in bundle["text/plain"]
    assert "sent fig: PNG 640x480" in bundle["text/plain"]
    shown = drawn.run("print(r.prompt)").stdout
    assert re.search(r"What is\s+\[image 1: fig, PNG 640x480, \d+ kB\]", shown)


def test_an_image_named_twice_is_sent_once(drawn, server):
    _, [content] = ask(drawn, server, "Is {{ fig }} like {{ fig }}?")
    assert [part["type"] for part in content] == ["text", "image_url", "text"]
    assert content[2]["text"] == " like [fig]?"


def test_context_names_the_image_that_it_sends(drawn, server):
    cell, [content] = ask(drawn, server, "What is it?", options="--context fig")
    assert cell.status == "ok", cell.error
    assert [part["type"] for part in content] == ["text", "image_url", "text"]
    assert content[0]["text"].startswith("fig:")
    assert "sent fig: PNG 640x480" in cell.markdown


def test_a_path_sends_the_file_and_a_text_that_looks_like_one_stays_text(drawn, server, tmp_path):
    (tmp_path / "x.png").write_bytes(png(3, 2))
    _, [content] = ask(drawn, server, 'See {{ Path("x.png") }}')
    assert image_in(content[1]) == png(3, 2)
    _, [content] = ask(drawn, server, 'See {{ "x.png" }} and {{ str(Path("x.png")) }}')
    assert content == "See x.png and x.png"


def test_a_text_file_is_sent_as_text_up_to_the_cap_and_said_to_be(drawn, server, tmp_path):
    (tmp_path / "notes.md").write_text("# Notes\n" + "x" * 9_000)
    cell, [content] = ask(drawn, server, 'Read {{ Path("notes.md") }}')
    assert content.startswith("Read # Notes\nxxx")
    assert "[… cut here: the first 4,000 of 9,008 characters]" in content
    assert "text of notes.md, first 4,000 of 9,008 characters" in cell.markdown


def test_a_missing_file_is_one_clear_error_and_nothing_is_sent(drawn, server):
    cell, asked = ask(drawn, server, 'See {{ Path("gone.png") }}')
    assert (cell.status, asked) == ("error", [])
    assert cell.error[0].startswith("InvalidInput: gone.png does not exist")
    assert "{{ str(path) }}" in cell.error[1]


def test_a_named_agent_sends_the_figure_again_in_its_next_turn(drawn, server):
    ask(drawn, server, "What is {{ fig }}?", options="eye")
    _, contents = ask(drawn, server, "And its peak?", options="eye")
    assert [part["type"] for part in contents[0]] == ["text", "image_url", "text"]
    assert contents[1:] == ["seen", "And its peak?"]


def test_pil_ipython_and_bytes_are_images_too(drawn, server, tmp_path):
    (tmp_path / "x.png").write_bytes(png(5, 4))
    made = """
from PIL import Image
import IPython.display
pil = Image.new("RGB", (7, 6), "red")
shown = IPython.display.Image("x.png")
raw = Path("x.png").read_bytes()
"""
    assert drawn.run(made).status == "ok"
    cell, [content] = ask(drawn, server, "{{ pil }} {{ shown }} {{ raw }}")
    assert cell.status == "ok", cell.error
    assert [part["type"] for part in content] == ["image_url"] * 3
    assert [image_in(part) for part in content[1:]] == [png(5, 4)] * 2
    assert "sent pil: PNG 7x6" in cell.markdown
    assert "sent raw: PNG 5x4" in cell.markdown


def test_a_plotly_figure_is_drawn_by_kaleido_or_says_what_it_needs(drawn, server, missing_part):
    if shutil.which("chromium") is None and shutil.which("google-chrome") is None:
        missing_part("no Chromium that kaleido can draw with; run: make chromium")
    assert drawn.run("import plotly.graph_objects as go; bars = go.Figure(go.Bar(y=[1, 2]))")
    cell, [content] = ask(drawn, server, "{{ bars }}")
    assert cell.status == "ok", cell.error
    assert measure(image_in(content[0])) == (700, 500)
    drawn.run("import os; os.environ['BROWSER_PATH'] = '/nonexistent/chrome'")
    cell, _ = ask(drawn, server, "{{ bars }}")
    assert cell.error[0].startswith("InvalidInput: bars: plotly cannot draw it: ")
    assert "%pip install kaleido, which needs Chrome or Chromium" in cell.error[1]


def test_a_system_message_refuses_an_image(drawn, server):
    cell = drawn.run(f"%%agent --api-url {server.url} --system '{{{{ fig }}}}'\nhi")
    assert cell.error[0] == "PromptError: a system message is text alone: fig cannot go along"
    assert server.requests == []


def test_the_demo_tells_what_it_was_sent(drawn):
    cell = drawn.run("%%agent -m demo:fast\nWhat is {{ fig }}?")
    assert re.search(r"came \*\*1\*\*: `image: PNG 640x480, \d+ kB`", cell.markdown)


def test_a_line_a_background_run_and_a_comparison_take_images_too(drawn, server):
    options = f"--api-url {server.url} -m scripted"
    server.say("one", "two", "three")
    cell = drawn.run(f"%%agent {options} --background --out r\nWhat is {{{{ fig }}}}?")
    assert cell.status == "ok", cell.error
    assert drawn.run("await r; print(r.run.prompt)").stdout.startswith("What is \n[image 1: fig")
    cell = drawn.run(f"%%compare -f native {options} --out c\nWhat is {{{{ fig }}}}?")
    assert cell.status == "ok", cell.error
    assert drawn.run("print(c.prompt)").stdout == "What is [fig]?\n"
    there = f"import os; key = 'TFRAMEX_API_URL'; os.environ[key] = {server.url!r}"
    drawn.run(f"before = __import__('os').environ['TFRAMEX_API_URL']; {there}")
    cell = drawn.run("%ask What is {{ fig }}?")
    drawn.run("os.environ[key] = before")
    assert cell.status == "ok", cell.error
    for request in server.requests:
        assert [part["type"] for part in request.texts[-1]] == ["text", "image_url", "text"]
    assert len(server.requests) == 3


def test_in_a_system_of_agents_an_image_is_one_clear_error(drawn, server):
    made = "from tframex_nb import MultiCallSystem; many = MultiCallSystem('many', 'demo:fast')"
    assert drawn.run(made).status == "ok"
    cell = drawn.run("%%agent many -p num_calls=2\nWhat is {{ fig }}?")
    assert cell.error[0].startswith("PromptError: many is a system, which is asked in text alone")
