"""The answer to ``GET /models``, in the shapes that servers give it.

The shape of OpenAI: https://platform.openai.com/docs/api-reference/models/list
"""

from __future__ import annotations

from tframex_nb.models._bodies import load_json

__all__ = ["listed_models"]


def listed_models(body: bytes) -> list[str] | None:
    """Return the names of the models, sorted; None where the JSON is no list of models.

    Raises ValueError where ``body`` is no JSON.
    """
    rows = load_json(body)
    if isinstance(rows, dict) and ("data" in rows or "models" in rows):
        rows = rows.get("data") or rows.get("models") or []  # a server without models says null
    if not isinstance(rows, list):
        return None
    found = (row.get("id") or row.get("name") for row in rows if isinstance(row, dict))
    return sorted({str(name) for name in found if name})
