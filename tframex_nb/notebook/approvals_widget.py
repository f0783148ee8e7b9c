"""Approval by buttons: the question stands in the cell as widgets, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import html
from typing import TYPE_CHECKING, Any

from tframex_nb.agents.approval import Decision
from tframex_nb.markdown import clean
from tframex_nb.notebook.approvals_text import folded, headline, written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tframex_nb.agents.approval import ApprovalRequest

__all__ = ["ask_by_widget"]

SLICE = 0.05  # seconds between two looks at whether the front end has shown the question
SETTLE = 0.15  # seconds in which what was typed just before a button was pressed arrives
EDITABLE = 200_000  # characters that a text field takes
ROWS = 14  # lines of the text field at most
COLUMNS = 80  # letters of one such line, about
_WIDTH = {"width": "auto", "flex": "1 1 auto"}
VIEW = "application/vnd.jupyter.widget-view+json"


async def ask_by_widget(
    request: ApprovalRequest,
    *,
    show: Callable[[Mapping[str, Any]], None],  # a bundle of a display
    heard: Callable[[Mapping[str, Any]], None],  # a message of the front end
    patience: float,
    counts: Callable[[], bool] = lambda: True,
) -> Decision | None:
    """Ask in the cell; None where no front end has shown the question within ``patience`` seconds.

    ``show`` shows a bundle, or another in its place; ``heard`` tells the front end that a message
    was taken in: until then it keeps the next text back. Time counts only where ``counts`` says so,
    and only while the event loop is free: a front end cannot be heard while it is not.
    """
    panel = _Panel(request, heard)
    try:
        show({VIEW: panel.view, "text/plain": headline(request)})
        slices = round(patience / SLICE)
        while not panel.live.is_set():
            if not slices:
                return None
            slices -= counts()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(panel.live.wait(), SLICE)
        return await panel.decision()
    finally:
        show({"text/plain": ""})
        panel.close()


class _Panel:
    """The widgets of one question.

    A front end's messages may come on a thread of their own: all they do is wake the loop.
    """

    def __init__(
        self,
        request: ApprovalRequest,
        heard: Callable[[Mapping[str, Any]], None],  # a message
    ) -> None:
        import ipywidgets as widgets

        self.live = asyncio.Event()
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._pressed: asyncio.Queue[str] = asyncio.Queue()
        self._whole = written(request.call.arguments)
        short = folded(request.call.arguments)
        self._shown = short or self._whole
        self._folded = bool(short)
        lines = sum(1 + len(line) // COLUMNS for line in self._shown.split("\n"))
        # A text is sent when its field is left, so before the button's own message. While it is
        # written, each letter would wait for the one before, and a button would overtake them.
        self._field: Any = widgets.Textarea(  # ipywidgets has no types
            value=self._shown,
            disabled=self._folded,
            rows=min(max(lines, 2), ROWS),
            layout=_WIDTH,
            continuous_update=False,
        )
        self._field.add_class("tframex-approval-arguments")
        self._why: Any = widgets.Text(
            placeholder="a reason, told to the model", layout=_WIDTH, continuous_update=False
        )
        for each in (self._field, self._why):
            _acknowledge(each, heard)
        self._problem: Any = widgets.HTML()
        parts = [widgets.HTML(f"<b>{_encoded(headline(request))}</b>"), self._field, self._problem]
        if self._folded:
            parts.insert(2, self._fold(widgets))
        buttons = widgets.HBox(
            [
                self._button(widgets, "Allow", "allow", "success", "run it with these arguments"),
                self._button(widgets, "Deny", "deny", "danger", "do not run it"),
                self._why,
            ]
        )
        always = self._button(
            widgets, f"Always allow {request.tool.name}", "always", "", "until the kernel restarts"
        )
        always.layout.width, always.layout.align_self = "auto", "flex-start"
        # The front end counts its views where this is a number: that is how it is known to be live.
        self._root: Any = widgets.VBox([*parts, buttons, always], _view_count=0)
        self._root.observe(self._seen, "_view_count")

    @property
    def view(self) -> dict[str, object]:
        """What a front end needs to show the panel."""
        return {"version_major": 2, "version_minor": 0, "model_id": self._root.model_id}

    async def decision(self) -> Decision:
        """Return what was pressed, once it can be followed."""
        while True:
            pressed = await self._pressed.get()
            await asyncio.sleep(SETTLE)
            if pressed == "deny":
                return Decision(allowed=False, reason=self._why.value.strip())
            if pressed == "unfold":
                self._unfold()
                continue
            text = self._field.value
            edited = None if text == self._shown else text
            problem = "" if edited is None else self._request.problem(edited)
            if not problem:
                return Decision(allowed=True, arguments=edited, always=pressed == "always")
            told = f"\n{problem}" if "\n" in problem else f" {problem.removeprefix('- ')}"
            self._problem.value = f"<pre>{_encoded(f'Not run:{told}')}</pre>"

    def close(self) -> None:
        """Take the widgets away, here and in the front end."""
        for each in [self._root, *_below(self._root)]:
            each.close()

    def _seen(self, change: Any) -> None:  # a traitlets Bunch
        if change["new"]:
            self._loop.call_soon_threadsafe(self.live.set)

    def _button(self, widgets: Any, label: str, name: str, style: str, about: str) -> Any:
        button = widgets.Button(description=label, button_style=style, tooltip=about)
        button.on_click(lambda _: self._loop.call_soon_threadsafe(self._pressed.put_nowait, name))
        return button

    def _fold(self, widgets: Any) -> Any:
        size = f"{len(self._whole):,} characters"
        if len(self._whole) > EDITABLE:
            return widgets.HTML(f"Long texts are cut above; it is {size}, too long to edit here.")
        button = self._button(widgets, f"Show all {size}", "unfold", "", "to read and edit them")
        button.layout.width = "auto"
        return button

    def _unfold(self) -> None:
        self._shown = self._field.value = self._whole
        self._field.disabled = False
        self._field.rows = ROWS


def _acknowledge(widget: Any, heard: Callable[[Mapping[str, Any]], None]) -> None:
    """Tell the front end of each text that has come."""

    def take(message: Mapping[str, Any]) -> None:
        widget._handle_msg(message)  # noqa: SLF001  # what ipywidgets itself hangs there
        heard(message)

    widget.comm.on_msg(take)


def _encoded(text: str) -> str:
    return html.escape(clean(text))


def _below(widget: Any) -> list[Any]:  # widgets
    """Return every widget inside another, and their layouts and styles."""
    found = []
    for each in getattr(widget, "children", ()):
        found += [each, *_below(each)]
    looks = (getattr(each, name, None) for each in [widget, *found] for name in ("layout", "style"))
    return found + [each for each in looks if each is not None]
