"""Print how fast ``defang`` is, in MB of text per second, on what models write and on attacks."""

from __future__ import annotations

import time

from tframex_nb.markdown import defang

PROSE = "The mean of the sample is close to the median, so the distribution is symmetric.\n" * 12
ANSWER = (
    "## What the data says\n\n"
    + PROSE
    + "\n- **First**, see [the docs](https://docs.python.org/3/) on `list.sort`.\n"
    "- Then $\\bar x = \\frac{1}{n}\\sum_i x_i$ with `n < 10`.\n\n"
    "| name | value |\n|---|---|\n| a | 1 |\n| b | 2 |\n\n"
    "```python\nfor i in range(10):\n    if i < 3:\n        print(f'{i:>3}')\n```\n\n"
)
CASES = {
    "prose": PROSE * 110,
    "answer": ANSWER * 65,
    "answer, not ASCII": ANSWER.replace("mean", "médiane").replace("**First**", "**Первое**") * 65,
    "code": "```python\n"
    + "x = {key: value for key, value in pairs}  # a comment\n" * 2000
    + "```\n",
    "attack: <": "<" * 100_000,
    "attack: [": "[" * 100_000,
    "attack: ![": "![" * 50_000,
    "attack: ](": "](" * 50_000,
    "attack: [![": "[![a](" * 17_000,
    "attack: backticks": "".join("`" * (i % 90 + 1) + "<b>" for i in range(2200)),
    "attack: $": "$a<b " * 20_000,
    "attack: $$": "$$<b\n" * 20_000,
    "attack: \\begin": "".join(f"\\begin{{a{'b' * (i % 40)}}}<b " for i in range(3000)),
    "attack: fences": "> - ```\n" * 12_000,
    "attack: ``` in one line": "<b> ```x " * 11_000,
    "attack: lists": "".join(" " * (i % 60) + "- ```a\n<b>\n" for i in range(2500)),
    "attack: entities": "&#x61" * 20_000,
    "attack: escapes": "\x1b[" * 50_000,
    "attack: indented": "    <b>\n\n" * 11_000,
}


def main() -> None:
    for name, text in CASES.items():
        rounds, begin = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - begin) < 0.3:
            defang(text)
            rounds += 1
        size = len(text.encode()) * rounds / 1e6
        print(f"{name:28} {size / elapsed:9.1f} MB/s  {1000 * elapsed / rounds:8.2f} ms each")


if __name__ == "__main__":
    main()
