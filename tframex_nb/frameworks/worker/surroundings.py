"""The environment variables of a worker: a short list of the kernel's, none of its secrets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["worker_environment"]

_KEPT = {
    "CURL_CA_BUNDLE",
    "HOME",
    "LANG",
    "LANGUAGE",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "PATH",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TEMP",
    "TMP",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
}
# Some frameworks read the .env of the working directory when they are imported: its keys are none
# of theirs, and in a stranger's folder it would name their servers. A cell may read it later.
_QUIET = {"PYTHON_DOTENV_DISABLED": "1"}
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def worker_environment(
    environ: Mapping[str, str], python: Path, own: Mapping[str, str]
) -> dict[str, str]:
    """Return what a worker gets: what is harmless, its own ``bin``, the framework's ``own``.

    Proxies are kept, because a framework's own tools may need them; loopback, where the model
    is, never goes through one.
    """
    kept = {n: v for n, v in environ.items() if n in _KEPT or n.startswith("LC_")}
    proxies = {n: v for n, v in environ.items() if n.upper() in _PROXIES}
    if proxies:
        told = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
        hosts = [*filter(None, map(str.strip, told.split(","))), *_LOOPBACK]
        direct = ",".join(dict.fromkeys(hosts))
        proxies |= {"no_proxy": direct, "NO_PROXY": direct}
    path = os.pathsep.join(filter(None, (str(python.parent), kept.get("PATH", ""))))
    return {**kept, **proxies, **_QUIET, "PATH": path, **own}
