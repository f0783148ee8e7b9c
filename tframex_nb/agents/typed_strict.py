"""JSON schemas as OpenAI's strict mode wants them, where that changes nothing that matters.

https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

from typing import Any

__all__ = ["rooted", "strict"]

WRAPPED = "answer"  # the one property of the object around an answer that is no object

_Json = Any  # any JSON value

_DEFINITIONS = ("$defs", "definitions")
_LOCAL = tuple(f"#/{name}/" for name in _DEFINITIONS)
_KEPT = frozenset(
    {
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "description",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maximum",
        "minItems",
        "minimum",
        "multipleOf",
        "pattern",
        "properties",
        "required",
        "title",
        "type",
    }
)
_DROPPED = frozenset({"$schema", "default", "deprecated", "discriminator", "examples"})
_FORMATS = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid"}
)


class _Beyond(Exception):
    """The schema says something that strict mode cannot."""


def rooted(schema: dict[str, _Json]) -> tuple[dict[str, _Json], bool]:
    """Return the schema with an object at its root, and whether it had to be wrapped in one.

    Endpoints and frameworks want an object with properties there. A schema that refers to its
    own root stays as it is.
    """
    schema = _resolved(schema)
    if "properties" in schema and not {"anyOf", "oneOf", "allOf"} & schema.keys():
        return schema, False
    if _refers_to_root(schema):
        return schema, False
    inner = {key: value for key, value in schema.items() if key not in _DEFINITIONS}
    outer = {key: schema[key] for key in _DEFINITIONS if key in schema}
    wrapped = {
        "type": "object",
        "properties": {WRAPPED: inner},
        "required": [WRAPPED],
        "additionalProperties": False,
    }
    return {**wrapped, **outer}, True


def strict(schema: dict[str, _Json], *, may_require: bool) -> dict[str, _Json] | None:
    """Return the schema for strict mode, or None where it says more than that mode can.

    There every object is closed and all its properties are required. With ``may_require`` the
    optional ones are made so: a model then writes a value for each. Without, a schema that has
    any is beyond strict mode.
    """
    try:
        return _strict(schema, may_require=may_require)
    except _Beyond:
        return None


def _resolved(schema: dict[str, _Json]) -> dict[str, _Json]:
    """Put the definition in place of a root that only names it, as recursive models have."""
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    found = schema.get("$defs", {}).get(name)
    rest = {key: value for key, value in schema.items() if key != "$ref"}
    return {**found, **rest} if isinstance(found, dict) else schema


def _refers_to_root(value: _Json) -> bool:
    if isinstance(value, dict):
        reference = value.get("$ref")
        own = isinstance(reference, str) and not reference.startswith(_LOCAL)
        return own or "$id" in value or any(_refers_to_root(each) for each in value.values())
    return isinstance(value, list) and any(_refers_to_root(each) for each in value)


def _strict(schema: _Json, *, may_require: bool) -> dict[str, _Json]:
    rules = _said(schema, may_require=may_require)
    definitions = _each(rules, "$defs", may_require=may_require)
    if "$ref" in rules:
        return {"$ref": rules["$ref"], **definitions}
    if not rules.keys() & {"type", "anyOf", "const", "enum"}:
        raise _Beyond  # anything at all
    if "items" in rules:
        rules["items"] = _strict(rules["items"], may_require=may_require)
    elif rules.get("type") == "array":
        raise _Beyond
    if "anyOf" in rules:
        rules["anyOf"] = [_strict(each, may_require=may_require) for each in rules["anyOf"]]
    if rules.get("type") == "object" or "properties" in rules:
        rules |= _closed(rules, may_require=may_require)
    return rules | definitions


def _said(schema: _Json, *, may_require: bool) -> dict[str, _Json]:
    """Return the rules in the words of strict mode; raises _Beyond where it has none for them."""
    if not isinstance(schema, dict):
        raise _Beyond  # true and false
    rules = {key: value for key, value in schema.items() if key not in _DROPPED}
    if "oneOf" in rules and "anyOf" not in rules:
        rules["anyOf"] = rules.pop("oneOf")
    if may_require and "(?" in str(rules.get("pattern", "")):
        del rules["pattern"]  # Decimal has one that looks ahead, which no endpoint takes
    if not rules.keys() <= _KEPT or rules.get("format", "date") not in _FORMATS:
        raise _Beyond
    return rules


def _closed(rules: dict[str, _Json], *, may_require: bool) -> dict[str, _Json]:
    properties = rules.get("properties")
    optional = set(properties or ()) - set(rules.get("required") or ())
    closed = rules.get("additionalProperties", not may_require) is False
    if not properties or not closed or (optional and not may_require):
        raise _Beyond
    each = _each(rules, "properties", may_require=may_require)
    return {**each, "required": list(properties), "additionalProperties": False}


def _each(rules: dict[str, _Json], key: str, *, may_require: bool) -> dict[str, _Json]:
    """Return what a key holds by name, each of it for strict mode; nothing where it is absent."""
    if key not in rules:
        return {}
    named = rules[key].items()
    return {key: {name: _strict(each, may_require=may_require) for name, each in named}}
