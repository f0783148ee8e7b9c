"""A value for a JSON schema: small, valid, and the same each time."""

from __future__ import annotations

import math
import re
from typing import Any

__all__ = ["example", "fits", "flat"]

_DEPTH = 6  # beyond it, optional things are left out, so that a recursive schema ends

_FORMATS = {
    "date": "2024-05-17",
    "date-time": "2024-05-17T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "ada@example.org",
    "uri": "https://example.org/",
    "url": "https://example.org/",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "binary": "ZGVtbw==",
}

# What ``fits`` understands: types, and bounds of numbers and texts.
_TYPES = {"string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,)}
_UNDERSTOOD = {
    *("type", "title", "description", "default"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength"),
}

_GUESSES = ("demo", "Demo", "DEMO", "a", "A", "ab", "AB-1", "1", "12", "123", "2024-05-17", "a@b.c")

_Json = Any  # any JSON value


def example(schema: object, *, root: object = None, name: str = "", depth: int = 0) -> _Json:
    """Return a value that fits ``schema`` (draft 2020-12, as far as models are asked for it).

    ``root`` holds the definitions that ``$ref`` names; ``name`` is the property's name, which
    makes texts readable.
    """
    root = schema if root is None else root
    rules = flat(schema, root)
    if "const" in rules:
        return rules["const"]
    if rules.get("enum"):
        return rules["enum"][0]
    options = rules.get("anyOf") or rules.get("oneOf")
    if options:
        return _option(rules, options, root=root, name=name, depth=depth)
    if rules.get("examples"):
        return rules["examples"][0]
    return _of_type(_type(rules, depth), rules, root=root, name=name, depth=depth)


def fits(value: _Json, rules: dict[str, _Json]) -> bool:
    """Whether a plain value is sure to fit flat ``rules``; what is not understood does not.

    A whole validator takes a second to import, which no demo should.
    """
    kinds = rules.get("type")
    if not set(rules) <= _UNDERSTOOD or type(value) not in _TYPES.get(str(kinds), ()):
        return False
    if isinstance(value, str):
        return bool(rules.get("minLength", 0) <= len(value) <= rules.get("maxLength", math.inf))
    low, high = rules.get("exclusiveMinimum", -math.inf), rules.get("exclusiveMaximum", math.inf)
    within = rules.get("minimum", -math.inf) <= value <= rules.get("maximum", math.inf)
    return bool(within and low < value < high)


def _of_type(kind: str, rules: dict[str, _Json], *, root: object, name: str, depth: int) -> _Json:
    match kind:
        case "object":
            return _object(rules, root=root, depth=depth)
        case "array":
            return _array(rules, root=root, name=name, depth=depth)
        case "integer":
            return int(_number(rules, step=1))
        case "number":
            return _number(rules, step=0.5)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(rules, name)


def flat(schema: object, root: object, seen: int = 0) -> dict[str, _Json]:
    """Return the schema with its ``$ref`` into ``root`` followed and its ``allOf`` merged in."""
    if not isinstance(schema, dict) or seen > 20:  # noqa: PLR2004 - a circle of references
        return {}
    rules = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
    parts = [*(schema.get("allOf") or ())]
    if isinstance(schema.get("$ref"), str):
        parts.append(_follow(schema["$ref"], root))
    for part in parts:
        for key, value in flat(part, root, seen + 1).items():
            rules[key] = _merged(key, rules.get(key), value)
    return rules


def _merged(key: str, mine: _Json, other: _Json) -> _Json:
    if key == "properties" and isinstance(mine, dict):
        return {**other, **mine}
    if key == "required" and isinstance(mine, list):
        return [*mine, *other]
    return other if mine is None else mine


def _follow(reference: str, root: object) -> object:
    node: _Json = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        node = node.get(key) if isinstance(node, dict) and key else node
    return node


def _option(
    rules: dict[str, _Json], options: list[_Json], *, root: object, name: str, depth: int
) -> _Json:
    shared = {key: value for key, value in rules.items() if key not in ("anyOf", "oneOf")}
    found = [flat(option, root) for option in options]
    plain = [option for option in found if option.get("type") == "null"]
    chosen = plain[0] if plain and depth >= _DEPTH // 2 else found[0]
    return example({**shared, **chosen}, root=root, name=name, depth=depth + 1)


def _type(rules: dict[str, _Json], depth: int) -> str:
    kind = rules.get("type")
    if isinstance(kind, list):
        return "null" if "null" in kind and depth >= _DEPTH else str(kind[0])
    if kind:
        return str(kind)
    for key, implied in (("properties", "object"), ("items", "array"), ("minimum", "number")):
        if key in rules:
            return implied
    return "string"


def _object(rules: dict[str, _Json], *, root: object, depth: int) -> dict[str, _Json]:
    properties = rules.get("properties") or {}
    required = set(rules.get("required") or ())
    wanted = [key for key in properties if depth < _DEPTH or key in required]
    wanted += [key for key in rules.get("required") or () if key not in properties]
    if depth > 4 * _DEPTH:  # a schema that requires itself has no finite value
        return {}
    out = {
        key: example(properties.get(key, {}), root=root, name=key, depth=depth + 1)
        for key in wanted
    }
    extra = rules.get("additionalProperties")
    if not properties and isinstance(extra, dict):
        out["demo"] = example(extra, root=root, name="demo", depth=depth + 1)
    return out


def _array(rules: dict[str, _Json], *, root: object, name: str, depth: int) -> list[_Json]:
    fixed = [
        example(item, root=root, name=name, depth=depth + 1)
        for item in rules.get("prefixItems") or ()
    ]
    least = int(rules.get("minItems") or 0)
    most = int(rules.get("maxItems", max(least, 2)))
    wanted = least if depth >= _DEPTH else min(max(least, 2), most)
    item = rules.get("items", {})
    if item is False or (fixed and "items" not in rules):
        return fixed
    more = _distinct if rules.get("uniqueItems") else _repeated
    return fixed + more(item, max(wanted - len(fixed), 0), root=root, name=name, depth=depth)


def _repeated(item: object, count: int, *, root: object, name: str, depth: int) -> list[_Json]:
    one = [example(item, root=root, name=name, depth=depth + 1) for _ in range(min(count, 1))]
    return one * count


def _distinct(item: object, count: int, *, root: object, name: str, depth: int) -> list[_Json]:
    rules = flat(item, root)
    if rules.get("enum"):
        return list(rules["enum"][:count])
    first = _repeated(item, min(count, 1), root=root, name=name, depth=depth)
    if not first or isinstance(first[0], (dict, list, bool)) or first[0] is None:
        return first
    if isinstance(first[0], str):
        return first + [f"{first[0]} {n}" for n in range(2, count + 1)]
    return [first[0] + n for n in range(count)]


def _number(rules: dict[str, _Json], *, step: float) -> float:
    """Return a number within the bounds, 1 where there are none."""
    gap = step if step == 1 else 1e-3
    low, high = -math.inf, math.inf
    if "minimum" in rules:
        low = rules["minimum"]
    if "exclusiveMinimum" in rules:
        low = max(low, rules["exclusiveMinimum"] + gap)
    if "maximum" in rules:
        high = rules["maximum"]
    if "exclusiveMaximum" in rules:
        high = min(high, rules["exclusiveMaximum"] - gap)
    value: float = min(max(1, low), high)
    if step == 1:
        value = math.ceil(value) if math.ceil(value) <= high else math.floor(value)
    multiple = rules.get("multipleOf")
    if multiple:
        value = math.ceil(value / multiple) * multiple
        value = value - multiple if value > high else value
    return value


def _string(rules: dict[str, _Json], name: str) -> str:
    if rules.get("format") in _FORMATS:
        return _FORMATS[rules["format"]]
    least = int(rules.get("minLength") or 0)
    most = int(rules.get("maxLength", 200))
    if rules.get("pattern"):
        return _matching(str(rules["pattern"]), least, most)
    text = f"demo {name}".strip() if name else "demo"
    return text.ljust(least, ".")[:most]


def _matching(pattern: str, least: int, most: int) -> str:
    """Return a guess that fits the pattern; an exotic one stays unmatched, as with real models."""
    try:
        found = [g for g in _GUESSES if re.search(pattern, g) and least <= len(g) <= most]
    except re.error:
        found = []
    return next(iter(found), "demo")
