"""What ``%config TFrameX`` shows and sets for this session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from traitlets import Bool, CaselessStrEnum, Float, Int, TraitError, Unicode, observe, validate
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
    approve = CaselessStrEnum(
        ["", "all", "writes", "never"],
        default_value="",
        help="which tools are asked about before they act; empty as the settings say",
    ).tag(config=True)
    interpolate = Bool(default_value=True, help="evaluate {{ expressions }} in prompts").tag(
        config=True
    )
    context_cap = Int(
        0, min=0, help="characters of one value sent to a model; 0 is what the settings say"
    ).tag(config=True)
    session_max_cost = Float(
        None, allow_none=True, help="USD that all runs of this kernel may cost; None as it is set"
    ).tag(config=True)
    session_max_tokens = Int(
        None, allow_none=True, help="tokens of all runs of this kernel; None as it is set"
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

    @validate("session_max_cost", "session_max_tokens")
    def _check_cap(self, proposal: Any) -> Any:  # a traitlets Bunch; a number or None
        """Refuse a cap that nothing could be under."""
        from tframex_nb.notebook.budgets import check_cap

        try:
            check_cap(proposal["trait"].name, proposal["value"])
        except TFrameXError as exc:
            raise TraitError(str(exc)) from None
        return proposal["value"]

    @observe("session_max_cost", "session_max_tokens")
    def _cap_session(self, _change: Any) -> None:  # a traitlets Bunch
        """Let the caps hold from now on, also for runs that go on."""
        from tframex_nb.notebook.budgets import cap_session

        cap_session(self.session_max_cost, self.session_max_tokens)
