"""A JSON schema as a pydantic model, for frameworks that take the wanted answer as a class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Optional, Union

from tframex_nb.errors import FrameworkFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

__all__ = ["check_document", "model_of"]

_DEPTH = 20  # levels of nesting, so that a schema that names itself ends
_PLAIN = {"string": str, "integer": int, "number": float, "boolean": bool, "null": None}


def model_of(schema: Mapping[str, Any], framework: str) -> type[BaseModel]:
    """Return a model that accepts what ``schema`` (of an object) accepts, its types and enums.

    Raises FrameworkFailed, in the name of ``framework``, for a schema that is not an object's.
    """
    if not isinstance(schema.get("properties"), dict):
        raise FrameworkFailed(
            f"{framework} gives structured answers as objects, and this schema is not an object's",
            hint='wrap it: {"type": "object", "properties": {"answer": …}}',
            framework=framework,
        )
    model: type[BaseModel] = _object(schema, schema, _DEPTH)
    return model


def check_document(text: str, schema: Mapping[str, Any], framework: str) -> None:
    """Raise FrameworkFailed where ``text`` is not a JSON document of this schema."""
    from pydantic import ValidationError

    try:
        model_of(schema, framework).model_validate_json(text)
    except ValidationError as exc:
        raise FrameworkFailed(
            f"{framework}: the answer does not match the schema: {exc.errors()[0]['msg']}",
            hint="ask a model, or an endpoint, that holds response_format",
            framework=framework,
        ) from exc


def _object(rules: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:  # a model
    from pydantic import BaseModel, ConfigDict, Field, create_model

    required = rules.get("required") or ()
    fields: dict[str, Any] = {}  # what create_model takes
    for number, (key, value) in enumerate((rules.get("properties") or {}).items()):
        plain = key.isidentifier() and not key.startswith("_") and not hasattr(BaseModel, key)
        hint = _hint(value, root, depth - 1)
        about = value.get("description") if isinstance(value, dict) else None
        default = value.get("default") if isinstance(value, dict) else None
        default = ... if key in required else default
        hint = hint if key in required else Optional[hint]  # noqa: UP045 - made
        field = Field(default, alias=None if plain else key, description=about)
        fields[key if plain else f"field_{number}"] = (hint, field)
    config = ConfigDict(extra="forbid" if fields else "allow", serialize_by_alias=True)
    return create_model(str(rules.get("title") or "Answer"), __config__=config, **fields)


def _hint(rules: Any, root: Mapping[str, Any], depth: int) -> Any:  # a type, or what stands for it
    if not isinstance(rules, dict) or depth < 0:
        return Any
    if "$ref" in rules:
        name = str(rules["$ref"]).rsplit("/", 1)[-1]
        kept = root.get("$defs") or root.get("definitions") or {}
        return _hint(kept.get(name), root, depth - 1)
    if "const" in rules or rules.get("enum"):
        return Literal[tuple(rules.get("enum") or [rules["const"]])]
    options = rules.get("anyOf") or rules.get("oneOf")
    if not options and isinstance(rules.get("type"), list):
        options = [{**rules, "type": each} for each in rules["type"]]
    if options:
        return Union[tuple(_hint(each, root, depth) for each in options)]  # noqa: UP007 - made
    if rules.get("type") == "array":
        return list[_hint(rules.get("items"), root, depth - 1)]  # type: ignore[misc]  # a type made at run time
    if rules.get("type") == "object" or "properties" in rules:
        return _object(rules, root, depth) if rules.get("properties") else dict[str, Any]
    return _PLAIN.get(str(rules.get("type")), Any)
