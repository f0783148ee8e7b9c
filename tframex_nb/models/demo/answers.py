"""The demo's words: Markdown that shows what was asked, and says that it is scripted."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tframex_nb.models.demo.conversation import Conversation

__all__ = ["answer", "long", "reasoning", "results", "slow"]

_SCRIPTED = (
    "I am the demo model inside tframex-nb: **my words are scripted**. "
    "The request, the stream, tools, Stop and errors are real."
)
_REAL = "For a real model: `%models` lists what can be used here."

_QUESTION = 400  # characters in which a question about earlier turns is looked for
_RECALL = re.compile(
    r"\b(what|which|repeat|tell|do you)\b.*\b(ask|asked|say|said|tell|told|wrote|question|prompt|"
    r"message|remember)\b.*\b(before|earlier|previous(ly)?|last|just now|first)\b"
    r"|\b(what|do you) .*\bremember\b"
    r"|\b(previous|last|earlier) (question|prompt|message)\b",
    re.IGNORECASE | re.DOTALL,
)
_FACT = re.compile(r"\bmy ([a-z][a-z -]{0,30}?) (?:is|are) ([^.,;!?\n]{1,80})", re.IGNORECASE)
_ASKED_FACT = re.compile(r"\b(?:what|who|which)\b.*\bmy ([a-z][a-z -]{0,30})", re.IGNORECASE)
_CODE = re.compile(r"\banswer with code alone\b", re.IGNORECASE)
_SUMMARY = re.compile(r"\b(summar|condens|tl;?dr|key points)", re.IGNORECASE)
# "Label:", a line of its own, and what stands below it up to the next label or instruction
_SECTION = re.compile(
    r"^([^\n:]{1,60}):\n(.*?)(?=\n\n[^\n:]{1,60}:\n|\n\n(?:Write|Answer|Give|Return|Update)\b|\Z)",
    re.MULTILINE | re.DOTALL,
)
_TO_READ = re.compile(r"\b(summar\w*|text|document|article|part|content|notes)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"[^.!?。]+[.!?。]+[\"')\]]*|[^.!?。]+$")


def answer(talk: Conversation) -> str:
    """Return the answer to a plain prompt: a memory, a summary, or the tour of what came in."""
    if _CODE.search(talk.system):
        return _code(talk)
    return _recalled(talk) or _summary(talk) or _tour(talk)


def results(talk: Conversation) -> str:
    """Return an answer that states what the tools gave back."""
    lines = ["The tools have answered:", ""]
    for name, content in talk.results:
        short = _short(content, 600)
        plain = "\n" not in short and "`" not in short
        lines.append(
            f"- `{name}` gave `{short}`" if plain else f"- `{name}` gave:\n\n{_fence(short)}\n"
        )
    return "\n".join([*lines, "", "These values are real; only my words are scripted."])


def reasoning(talk: Conversation, calls: bool) -> str:
    """Return the demo's scripted thoughts before an answer."""
    asked = _short(talk.prompt, 120)
    move = "A tool can answer this, so I call it." if calls else "No tool is needed: I answer."
    return (
        f"The user asks: {asked}\n"
        f"I have {len(talk.messages)} messages and {len(talk.tools)} tools to go by.\n"
        f"{move} (These thoughts are scripted.)"
    )


def slow(talk: Conversation) -> str:
    """Return an answer long enough to be stopped in comfort: about four minutes."""
    steps = (f"{n}. Still writing, step {n} of 200: press ■ to stop me.\n" for n in range(1, 201))
    return f"# A slow answer\n\n{_asked(talk)}\n\n{_SCRIPTED}\n\n" + "".join(steps)


def long(talk: Conversation, size: int) -> str:
    """Return ``size`` characters of Markdown of every kind."""
    head = f"# A long answer\n\n{_asked(talk)}\n\n{_SCRIPTED}\n\n"
    parts = [head]
    length, n = len(head), 0
    while length < size:
        n += 1
        parts.append(_section(n))
        length += len(parts[-1])
    return "".join(parts)[:size]


def _section(n: int) -> str:
    return (
        f"## Section {n}\n\nThis paragraph is number {n} of a long scripted text, with *stress*, "
        f"`code` and a sum: $\\sum_{{k=1}}^{{{n}}} k = {n * (n + 1) // 2}$.\n\n"
        f"| n | square |\n|---:|---:|\n| {n} | {n * n} |\n\n"
        f"```python\nprint({n} ** 2)\n```\n\n"
    )


def _recalled(talk: Conversation) -> str:
    fact = _fact(talk)
    if fact:
        return f"{fact}\n\nYou told me in an earlier turn. (My words are scripted.)"
    if not _RECALL.search(talk.prompt[:_QUESTION]):
        return ""
    if not talk.earlier:
        return "This is the first message that I have received. (My words are scripted.)"
    first = re.search(r"\bfirst\b", talk.prompt, re.IGNORECASE)
    which, text = ("first", talk.earlier[0]) if first else ("before this", talk.earlier[-1])
    count = len(talk.earlier)
    return (
        f"What you asked {which}:\n\n{_fence(_short(text, 600))}\n\n"
        f"I remember {count} earlier prompt{'s' * (count != 1)}. (My words are scripted.)"
    )


def _fact(talk: Conversation) -> str:
    """Return what the user once said with "my X is Y", when asked for X."""
    asked = _ASKED_FACT.search(talk.prompt[:_QUESTION])
    if not asked:
        return ""
    for text in reversed(talk.earlier):
        for key, value in _FACT.findall(text[:10_000]):
            if asked[1].lower().startswith(key.lower()):
                return f"Your {key.lower()} is {value.strip()}."
    return ""


def _summary(talk: Conversation) -> str:
    """Return sentences of what is to be summed up, when a summary is asked for."""
    if not _SUMMARY.search(talk.prompt) and not _SUMMARY.search(talk.system):
        return ""
    sections = [
        (label, body) for label, body in _SECTION.findall(talk.prompt) if _TO_READ.search(label)
    ]
    if not sections:
        return _sentences(_body(talk.prompt), 3)
    kept = [_sentences(body, 4 if _SUMMARY.search(label) else 2) for label, body in sections]
    once = dict.fromkeys(found.strip() for text in kept for found in _SENTENCE.findall(text))
    return " ".join(once)


def _body(prompt: str) -> str:
    """Return the prompt without its instructions."""
    paragraphs = [p.strip() for p in re.split(r"\n\s*\n|\n(?=\S)", prompt)]
    body = [p for p in paragraphs if p and not p.endswith(":") and not _SUMMARY.search(p[:160])]
    return "\n\n".join(body) or prompt.partition(":")[2].strip()


def _sentences(text: str, count: int) -> str:
    """Return the first sentences: one of each paragraph, or of one paragraph the first ones."""
    text = re.sub(r"^\([^)]*\)$", "", text.strip())  # a placeholder such as "(none yet)"
    paragraphs = [p for p in re.split(r"\n\s*\n", text) if p.strip()]
    each = count if len(paragraphs) == 1 else 1
    found = [s for p in paragraphs for s in _SENTENCE.findall(" ".join(p.split()))[:each]]
    whole = [s for s in found if not s.strip()[:1].islower()] or found  # not cut at its start
    return " ".join(dict.fromkeys(" ".join(s.split()) for s in whole[:count]))


def _code(talk: Conversation) -> str:
    return f'```python\nprint("words in the prompt:", {len(talk.prompt.split())})\n```'


def _tour(talk: Conversation) -> str:
    length = len(talk.prompt)
    return "\n\n".join(
        [
            "# Demo answer",
            _asked(talk),
            _SCRIPTED,
            _received(talk),
            _table(talk),
            _code(talk),
            f"Tokens, by a rule of thumb: $t \\approx n / 4$, so ${length} / 4 = {length / 4:g}$.",
            _REAL,
        ]
    )


def _asked(talk: Conversation) -> str:
    return f"You asked:\n\n{_fence(_short(talk.prompt, 280))}"


def _received(talk: Conversation) -> str:
    lines = [f"- messages: **{len(talk.messages)}**, with {talk.characters} characters"]
    lines += _attached(talk)
    if talk.system:
        lines.append(f"- a system prompt: {_quote(talk.system)}")
    if talk.tools:
        names = ", ".join(f"`{tool.name}`" for tool in talk.tools[:8])
        lines.append(f"- tools: {names} (name one and I call it)")
    lines += [f"- I remember: {_quote(text)}" for text in talk.earlier[-3:]]
    return "\n".join(lines)


def _attached(talk: Conversation) -> list[str]:
    """Return what came along with the prompts: read from the data, though never looked at."""
    *before, now = talk.attached or ((),)
    earlier = sum(map(len, before))
    lines = [f"- with the prompt came **{len(now)}**: {'; '.join(map(_quote, now))}"] if now else []
    if earlier:
        lines.append(f"- images or files that came with earlier prompts: **{earlier}**")
    said = "- I am scripted: I read formats and sizes, and see no picture"
    return [*lines, said] if lines else []


def _table(talk: Conversation) -> str:
    counts = Counter(role for role, _ in talk.messages)
    sizes: Counter[str] = Counter()
    for role, text in talk.messages:
        sizes[role] += len(text)
    rows = [f"| {_word(role)} | {n} | {sizes[role]} |" for role, n in counts.items()]
    return "\n".join(["| role | messages | characters |", "|---|---:|---:|", *rows])


def _word(role: str) -> str:
    return re.sub(r"\W", "", role)[:20] or "?"


def _quote(text: str) -> str:
    """Return text as inline code on one line, safe whatever it holds."""
    return f"`{_short(' '.join(text.split()), 80).replace('`', chr(39))}`"


def _short(text: str, limit: int) -> str:
    text = text.strip()
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def _fence(text: str, language: str = "text") -> str:
    """Return a code block whose fence is longer than any in the text."""
    runs = [len(run) for run in re.findall(r"`{3,}", text)]
    fence = "`" * max([3, *(run + 1 for run in runs)])
    return f"{fence}{language}\n{text}\n{fence}"
