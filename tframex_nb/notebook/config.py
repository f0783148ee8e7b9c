"""What ``%config TFrameX`` shows and sets for this session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from traitlets import Bool, CaselessStrEnum, Int, TraitError, Unicode, validate
from traitlets.config import Configurable

from tframex_nb.errors import TFrameXError

if TYPE_CHECKING:
    from tframex_nb.notebook.session import Session

__all__ = ["TFrameX"]


class TFrameX(Configurable):
    """Settings of this session; they stand above the environment and the files."""

    model = Unicode("", help="model for runs that name none, such as demo or team:gpt").tag(
        config=True
    )
    display = CaselessStrEnum(
        ["auto", "live", "final", "terminal"],
        default_value="auto",
        help="how an answer is shown; auto looks at the front end",
    ).tag(config=True)
    interpolate = Bool(default_value=True, help="evaluate {{ expressions }} in prompts").tag(
        config=True
    )
    context_cap = Int(
        0, min=0, help="characters of one value sent to a model; 0 is what the settings say"
    ).tag(config=True)

    def __init__(self, *, session: Session, **kwargs: Any) -> None:  # traitlets' own arguments
        super().__init__(**kwargs)
        self._session = session

    @validate("model")
    def _choose_model(self, proposal: Any) -> str:  # a traitlets Bunch
        """Choose the model now, so that a name which means nothing is never kept."""
        name = str(proposal["value"])
        try:
            self._session.runtime.endpoints.use(name)
        except TFrameXError as exc:
            raise TraitError(str(exc)) from None
        return name
