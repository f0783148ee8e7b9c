"""The cassettes of a process: which mode is on, and which file belongs to what runs here."""

from __future__ import annotations

import functools
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import SettingsError, nearest
from tframex_nb.models.base import PooledModel
from tframex_nb.models.cassette.asking import Place
from tframex_nb.models.cassette.cassette import Cassette
from tframex_nb.models.cassette.model import Deck, Mode, TapedModel, TapedStream

if TYPE_CHECKING:
    from tframex_nb.models.base import ChatModel
    from tframex_nb.models.endpoints import Endpoints

__all__ = ["MODES", "Cassettes", "notebook_name", "shared_cassettes"]

MODES: tuple[Mode, ...] = ("record", "replay", "auto", "off")
FOLDER = "cassettes"
NAMELESS = "default"


@dataclass(slots=True)
class _Choice:
    """What a person chose for this process; None for what the settings say."""

    mode: Mode | None = None
    folder: str | None = None
    name: str | None = None
    timing: bool = False


class Cassettes:
    """Which cassette is in use here, and how.

    A folder is taken from where the process was when it first used it: a notebook may change its
    working directory.
    """

    def __init__(self) -> None:
        self._choice = _Choice()
        self._open: dict[Path, Cassette] = {}
        self._folders: dict[str, Path] = {}

    @property
    def mode(self) -> Mode:
        """The mode that is on now; raises SettingsError for settings that are not valid."""
        if self._choice.mode is not None:
            return self._choice.mode
        from tframex_nb.settings import load_settings

        return load_settings().cassette or "off"

    @property
    def current(self) -> Cassette:
        """The cassette of this notebook or test."""
        name = self._choice.name or notebook_name()
        path = self.folder / f"{name or NAMELESS}.ndjson"
        if path not in self._open:
            self._open[path] = Cassette(path, beside=not name)
        return self._open[path]

    @property
    def folder(self) -> Path:
        """The folder of the cassettes, absolute."""
        from tframex_nb.settings import load_settings

        given = self._choice.folder or load_settings().cassette_dir or FOLDER
        if given not in self._folders:
            self._folders[given] = _absolute(given)
        return self._folders[given]

    def use(
        self,
        mode: str | None,
        *,
        folder: str | Path | None = None,
        name: str | None = None,
        timing: bool = False,
    ) -> None:
        """Choose a mode for this process, None for what the settings say, and begin anew.

        Raises SettingsError for a mode that does not exist.
        """
        chosen = next((each for each in MODES if each == mode), None)
        if chosen is None and mode is not None:
            raise SettingsError(f"{mode!r} is no mode of cassettes", hint=nearest(mode, MODES))
        self._choice = _Choice(chosen, None if folder is None else str(folder), name, timing)
        self._open.clear()

    def model(
        self,
        given: ChatModel | str | None,
        *,
        endpoints: Endpoints | None = None,
        api_url: str | None = None,
    ) -> ChatModel:
        """Return a model, by itself or by name, that is recorded or replayed where that is on.

        In replay, a name means what was recorded under it, whatever is set here. Raises
        SettingsError where no model can be found.
        """
        if isinstance(given, (TapedModel, TapedStream)):
            return given
        mode = self.mode
        if given is not None and not isinstance(given, str):
            return given if mode == "off" else self._taped(given, mode)
        try:
            found = _resolved(given, endpoints, api_url)
        except SettingsError:
            if mode != "replay":
                raise
            return self._absent(_meant(given or "", self.current), mode)
        if mode == "off":
            return found
        if mode == "replay" and given is None and _nothing_is_set(found):
            places = self.current.places
            if len(places) == 1 and next(iter(places)) != _place_of(found):
                return self._absent(next(iter(places)), mode)
        return self._taped(found, mode)

    def __repr__(self) -> str:
        return f"<Cassettes: {self.mode} in {self.folder}>"

    def _taped(self, model: ChatModel, mode: Mode) -> ChatModel:
        secrets = getattr(model, "secrets", list)
        deck = self._deck(mode, _place_of(model), secrets)
        if isinstance(model, PooledModel) and type(model).stream is PooledModel.stream:
            return TapedModel(model, deck, model.label)
        return TapedStream(model, deck)

    def _absent(self, place: Place, mode: Mode) -> TapedModel:
        return TapedModel(None, self._deck(mode, place), place.label)

    def _deck(self, mode: Mode, place: Place, secrets: Any = list) -> Deck:  # a callable
        return Deck(self.current, mode, place, secrets, timing=self._choice.timing)


@functools.cache
def shared_cassettes() -> Cassettes:
    """Return the cassettes of this process: it has one mode, as it has one choice of a model."""
    return Cassettes()


def _absolute(given: str) -> Path:
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError as exc:  # of a user who is not there
        raise SettingsError(
            f"the folder of the cassettes, {given!r}, cannot be told: {exc}",
            hint="mend cassette_dir, or %cassettes use record FOLDER",
        ) from exc


def notebook_name() -> str:
    """Return the name of the notebook that runs in this process, empty where nothing tells it.

    Jupyter's server tells it in a variable, VS Code in the user's namespace, and under nbval
    the kernel inherits pytest's.
    """
    told = (
        os.environ.get("JPY_SESSION_NAME", ""),
        str(getattr(sys.modules.get("__main__"), "__vsc_ipynb_file__", "")),
        os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0],
    )
    names = (re.fullmatch(r"(?:.*[/\\:])?([^/\\:]+)\.ipynb", each) for each in told)
    return next((re.sub(r"[^\w.-]+", "-", found[1]) for found in names if found), "")


def _resolved(spec: str | None, endpoints: Endpoints | None, api_url: str | None) -> ChatModel:
    from tframex_nb.models.endpoints import shared_endpoints

    return (endpoints or shared_endpoints()).resolve(spec, api_url=api_url)


def _place_of(model: ChatModel) -> Place:
    place = getattr(model, "place", None)
    if isinstance(place, tuple):
        return Place(*place)
    return Place(str(getattr(model, "api_url", "")), model.model_name or model.label)


def _nothing_is_set(found: ChatModel) -> bool:
    """Whether the demo stands in because no endpoint is set."""
    return _place_of(found).endpoint == "demo"


def _meant(spec: str, cassette: Cassette) -> Place:
    """Return who was recorded under a name that means nothing here."""
    known = [
        place for place in cassette.places if spec in {place.endpoint, place.model, str(place)}
    ]
    if len(known) == 1:
        return known[0]
    endpoint, colon, model = spec.partition(":")
    return Place(endpoint, model) if colon else Place("", spec)
