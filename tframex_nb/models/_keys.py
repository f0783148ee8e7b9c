"""Keys that a person typed in: in memory, and in the system's keyring where wanted."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tframex_nb.errors import SettingsError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from tframex_nb.settings import Credential

__all__ = ["credential_of", "recall", "remember"]

_SERVICE = "tframex-nb"


def credential_of(key: str | SecretStr | None, name: str) -> Credential | None:
    """Return a typed key as a credential, None for an empty one.

    Raises ``SettingsError`` for what cannot be a key; the key is not shown.
    """
    from pydantic import SecretStr

    from tframex_nb.settings import Credential, Source

    text = (key.get_secret_value() if isinstance(key, SecretStr) else key or "").strip()
    if not text:
        return None
    if any(not ("!" <= letter <= "~") for letter in text):
        raise SettingsError(
            f"the key for {name} holds spaces or letters that no API key has",
            hint="copy it again, without its name and without quotes",
        )
    return Credential(SecretStr(text), Source("memory", name))


def remember(url: str, credential: Credential) -> None:
    """Store a key for the URL's origin; raises ``SettingsError`` where there is no keyring."""
    keyring = _keyring()
    try:
        keyring.set_password(_SERVICE, _account(url), credential.key.get_secret_value())
    except keyring.errors.KeyringError as exc:
        raise SettingsError(
            f"the keyring did not take the key: {type(exc).__name__}",
            hint="the key is kept in memory; set keyring = false to leave the keyring alone",
        ) from None


def recall(url: str, name: str) -> Credential | None:
    """Return the key that was stored for the URL's origin, or None."""
    keyring = _keyring()
    try:
        stored = keyring.get_password(_SERVICE, _account(url))
    except keyring.errors.KeyringError:
        return None
    return credential_of(stored, name)


def _account(url: str) -> str:
    from tframex_nb.settings.urls import origin

    scheme, host, port = origin(url)
    return f"{scheme}://{host}:{port}"


def _keyring() -> Any:  # keyring has no types
    try:
        importlib.import_module("keyring.errors")
        return importlib.import_module("keyring")
    except ImportError:
        raise SettingsError(
            "keyring is set and not installed", hint="pip install 'tframex-nb[keyring]'"
        ) from None
