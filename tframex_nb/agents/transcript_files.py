"""The file of a conversation: read whole or refused, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tframex_nb.agents.transcripts import MARK, MAX_DEPTH, decode, refuse
from tframex_nb.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tframex_nb.agents.transcripts import SavedConversation

__all__ = ["MAX_BYTES", "read", "write"]

MAX_BYTES = 64 * 2**20  # of a file; images stand in it as text


def read(path: str | Path) -> SavedConversation:
    """Read a conversation's file; raises InvalidInput, with the place, for anything else."""
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as exc:
        why = getattr(exc, "strerror", None) or str(exc)
        raise InvalidInput(
            f"{str(path)!r} cannot be read: {why}", hint="name the file that %agents save wrote"
        ) from None
    try:
        if len(raw) > MAX_BYTES:
            refuse(f"it has more than {MAX_BYTES // 2**20} MiB")
        return decode(_parsed(raw))
    except InvalidInput as exc:
        raise InvalidInput(f"{str(path)!r}: {exc.message}", hint=exc.hint) from None


def write(path: str | Path, data: Mapping[str, Any], *, force: bool = False) -> None:
    """Write a conversation's file whole or not at all.

    ``force`` overwrites another conversation, and nothing else. Raises InvalidInput.
    """
    target = Path(path)
    text = json.dumps(data, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    raw = text.encode()
    if len(raw) > MAX_BYTES:
        raise InvalidInput(
            f"the conversation takes {len(raw) / 2**20:.0f} MiB, and {MAX_BYTES // 2**20} are read",
            hint="drop the turns with the largest files: %agents history NAME",
        )
    try:
        _write(target, raw, force=force)
    except FileExistsError:
        raise InvalidInput(
            f"{str(path)!r} exists",
            hint="--force (force=True) overwrites a conversation; or name another file",
        ) from None
    except InvalidInput:
        raise
    except (OSError, ValueError) as exc:
        why = getattr(exc, "strerror", None) or str(exc)
        raise InvalidInput(
            f"{str(path)!r} cannot be written: {why}", hint="name another file"
        ) from None


def _write(target: Path, raw: bytes, *, force: bool) -> None:
    if force and target.exists() and not _is_conversation(target):
        raise InvalidInput(
            f"{str(target)!r} is no conversation: it is not overwritten", hint="name another file"
        )
    if not force and target.exists():
        raise FileExistsError
    draft = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with draft.open("xb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        if force:
            draft.replace(target)
        else:
            _put(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def _put(draft: Path, target: Path) -> None:
    """Give the draft its name, unless another has come to have it meanwhile."""
    try:
        os.link(draft, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if target.exists():
            raise FileExistsError from None
        draft.replace(target)


def _is_conversation(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return MARK.encode() in file.read(64)
    return False


def _parsed(raw: bytes) -> dict[str, Any]:  # any JSON
    try:
        data = json.loads(raw.decode(), parse_constant=_no_number, object_pairs_hook=_once)
    except UnicodeDecodeError as exc:
        refuse(f"it is no UTF-8 at byte {exc.start}")
    except json.JSONDecodeError as exc:
        refuse(f"it is no JSON at line {exc.lineno}, column {exc.colno}: {exc.msg}")
    except RecursionError:
        refuse(f"it is nested deeper than {MAX_DEPTH} levels")
    except ValueError as exc:
        refuse(str(exc))
    if not isinstance(data, dict):
        refuse("it holds no object")
    return data


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number in JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:  # any JSON
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object names a field twice")
    return made
