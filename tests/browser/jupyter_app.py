"""A real Jupyter server, JupyterLab's or Notebook's, in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BIN_ENV", "JupyterApp"]

BIN_ENV = "JUPYTER_BIN"  # the bin folder of another JupyterLab or Notebook to test against
PATIENCE = 60  # seconds that a server gets to answer
_TOKEN = "browser-tests"  # guards a server on loopback that lives for one test file
# A workspace of its own, or JupyterLab would open what other tests have left open.
_ADDRESS = {"lab": "lab/workspaces/{0}/tree/{0}.ipynb", "notebook": "notebooks/{0}.ipynb"}
# No question about news, no look for updates, no list of extensions: nothing for the network.
_SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


class JupyterApp:
    """``jupyter lab`` or ``jupyter notebook`` on a free loopback port; ``close`` ends it."""

    def __init__(self, kind: str, folder: Path, env: Mapping[str, str]) -> None:
        self.kind = kind
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        self.log = folder / "server.log"
        self.port = _free_port()
        bin_folder = Path(os.environ.get(BIN_ENV) or Path(sys.executable).parent)
        command = [
            str(bin_folder / f"jupyter-{kind}"),
            "--no-browser",
            "--allow-root",
            "--expose-app-in-browser",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={_TOKEN}",
            f"--ServerApp.root_dir={self.work}",
            "--LabApp.extension_manager=readonly",
        ]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**_environment(folder), **env},
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    @property
    def origin(self) -> str:
        """Where everything that the page may load comes from."""
        return f"http://127.0.0.1:{self.port}/"

    def address(self, name: str) -> str:
        """The address at which a person opens a notebook of the work folder."""
        return f"{self.origin}{_ADDRESS[self.kind].format(name)}?token={_TOKEN}"

    def new_notebook(self, name: str) -> Path:
        """Write a notebook with one empty cell."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell()])
        book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
        path = self.work / f"{name}.ipynb"
        nbformat.write(book, path)
        return path

    def close(self) -> None:
        """End the server, which ends its kernels."""
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _wait(self) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.origin}api?token={_TOKEN}", timeout=5).close()
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)  # nothing announces that the port is open
            else:
                return
        raise RuntimeError(f"{self.kind} did not start:\n{self.log.read_text()[-2000:]}")


def _environment(folder: Path) -> dict[str, str]:
    """The developer's environment without settings; every Jupyter file goes below ``folder``."""
    foreign = ("TFRAMEX_", "OPENAI_", "JUPYTER", "JPY_", "IPYTHON", "ANTHROPIC_", "GEMINI_")
    env = {k: v for k, v in os.environ.items() if not k.upper().startswith(foreign)}
    places = ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    for name in places:
        place = folder / name.lower()
        place.mkdir()
        env[name] = str(place)
    for name, values in _SETTINGS.items():
        file = (
            folder / f"jupyter_config_dir/lab/user-settings/@jupyterlab/{name}.jupyterlab-settings"
        )
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values))
    return env


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
