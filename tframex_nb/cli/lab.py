"""Open the tour in JupyterLab."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import tframex_nb
from tframex_nb.errors import TFrameXError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["open_lab", "place_tour"]

TOUR = "01-quickstart.ipynb"


def open_lab(arguments: Sequence[str] = ()) -> NoReturn:
    """Become JupyterLab, on the tour in the current folder; ``arguments`` go to it unchanged.

    Raises TFrameXError where JupyterLab is not installed.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise TFrameXError(
            "JupyterLab is not installed in this environment",
            hint=f"{sys.executable} -m pip install 'tframex-nb[lab]'",
        )
    tour = place_tour(Path.cwd())
    # JupyterLab refuses to run as root unless told; in a container there is nobody else.
    as_root = ["--allow-root"] if os.name == "posix" and os.geteuid() == 0 else []
    print(f"JupyterLab opens {tour}", flush=True)
    # As the default page and not as an argument: so the URL in the terminal leads there too.
    page = f"--LabApp.default_url=/lab/tree/{tour.name}"
    command = [sys.executable, "-m", "jupyterlab", *as_root, page, *arguments]
    os.execv(sys.executable, command)  # noqa: S606  # our own interpreter: signals go straight to it


def place_tour(folder: Path) -> Path:
    """Return the path in ``folder`` of the notebook to begin with.

    It and the ones after it are copied there, except where a file of that name exists.
    """
    for source in sorted(_packaged().glob("[0-9][0-9]-*.ipynb")):
        target = folder / source.name
        if not target.exists():
            shutil.copyfile(source, target)
    return folder / TOUR


def _packaged() -> Path:
    """Return the folder of notebooks inside the installed package, or beside it in a checkout."""
    package = Path(tframex_nb.__file__).parent
    for place in (package / "notebooks", package.parent / "notebooks"):
        if (place / TOUR).exists():
            return place
    raise TFrameXError(
        f"this installation lacks {TOUR}", hint="pip install --force-reinstall tframex-nb"
    )
