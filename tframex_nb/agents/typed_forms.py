"""The form of a typed answer: from a type or a JSON schema, for endpoints, prompts and checks."""

from __future__ import annotations

import contextlib
import json
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pydantic
from pydantic_core import from_json, to_json

from tframex_nb.agents.typed_strict import WRAPPED, rooted, strict
from tframex_nb.errors import InvalidInput
from tframex_nb.markdown import fenced

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AnswerForm", "Mismatch"]

_Json = Any  # any JSON value

_EXAMPLE = 'as in {"type": "object", "properties": {"total": {"type": "number"}}}'
_MEANT = frozenset(
    {"$ref", "allOf", "anyOf", "const", "enum", "items", "not", "oneOf", "prefixItems"}
    | {"properties", "required", "type"}
)
_COMPLAINTS = 10  # a model mends the first few; a wall of text only costs tokens
_SHOWN = 120  # characters of a wrong value, or of a validator's words
_WIRE = re.compile(r"[^A-Za-z0-9_-]+")  # what OpenAI does not take in a name
_NAME = 64  # characters of a name that OpenAI takes


class Mismatch(ValueError):
    """A text is not in the form; ``problems`` has a line for each place.

    ``no_json`` says that it is no JSON at all.
    """

    def __init__(self, problems: list[str], *, no_json: bool = False) -> None:
        super().__init__("; ".join(problems))
        more = len(problems) - _COMPLAINTS
        rest = [f"and {more} more"] if more > 0 else []
        self.problems = (*problems[:_COMPLAINTS], *rest)
        self.no_json = no_json


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What an answer has to look like.

    ``name`` is for people; ``schema`` is told to a model, and empty where any JSON will do;
    ``response_format`` is for endpoints that hold it. ``read`` turns a JSON document into what
    the user wants, or raises Mismatch.
    """

    name: str
    schema: dict[str, _Json]
    response_format: dict[str, _Json]
    wrapped: bool
    read: Callable[[bytes], Any]  # an instance of the user's type

    @classmethod
    def of(cls, wish: Any) -> AnswerForm:  # a type, or a JSON schema
        """Return the form that a type or a JSON schema (a dict) describes; ``{}`` is any JSON.

        Raises InvalidInput where it describes none.
        """
        if isinstance(wish, Mapping):
            return _of_schema(dict(wish))
        return _of_type(wish)

    @property
    def instruction(self) -> str:
        """What a model is told where its endpoint does not hold the form."""
        ask = "Answer with one JSON document and nothing else: no Markdown, no words around it."
        if not self.schema:
            return ask
        schema = json.dumps(self.schema, ensure_ascii=False)
        return f"{ask} It must match this JSON schema:\n{schema}"

    @property
    def always_told(self) -> bool:
        """Whether the words must be in the prompt even where the endpoint holds the form."""
        return "json_object" in self.response_format.values()  # OpenAI refuses it without them

    def check(self, text: str) -> tuple[Any, _Json]:  # an instance of the user's type
        """Return the value of an answer, and its JSON data; raises Mismatch.

        A Markdown fence around the document does no harm.
        """
        document, data = _document(text)
        if not (self.wrapped and isinstance(data, dict) and data.keys() == {WRAPPED}):
            return self.read(document), data
        try:
            return self.read(to_json(data[WRAPPED])), data[WRAPPED]
        except Mismatch as exc:
            with contextlib.suppress(Mismatch):  # the answer itself may have this one key
                return self.read(document), data
            raise exc from None


def _document(text: str) -> tuple[bytes, _Json]:
    """Return the JSON document in an answer, and its data."""
    whole = text.strip()
    candidates = [whole, *(code for _, code in fenced(whole))]
    for each in candidates:
        raw = each.encode("utf-8", "replace")
        try:
            return raw, from_json(raw, allow_inf_nan=False)
        except ValueError:
            continue
    if not whole:
        raise Mismatch(["the answer is empty"], no_json=True)
    raise Mismatch([_no_json(candidates[-1])], no_json=whole[0] not in "{[")


def _no_json(text: str) -> str:
    try:
        from_json(text.encode("utf-8", "replace"), allow_inf_nan=False)
    except ValueError as exc:
        return f"it is no JSON: {exc}"
    return "it is no JSON"


def _of_type(wish: Any) -> AnswerForm:  # a type
    try:
        adapter = _adapter(wish)
        schema = adapter.json_schema()
    except pydantic.PydanticUserError as exc:
        hint = "give a pydantic model, a dataclass, a TypedDict, a type of them, or a JSON schema"
        if exc.code == "typed-dict-version":
            hint = "on Python 3.11 import TypedDict from typing_extensions"
        raise InvalidInput(
            f"schema={_label(wish)} describes no JSON: {_first(exc)}", hint=hint
        ) from exc

    def read(document: bytes) -> Any:  # an instance of the type
        try:
            return adapter.validate_json(document)
        except pydantic.ValidationError as exc:
            faults = exc.errors(include_url=False, include_context=False)
            raise Mismatch([_fault(each) for each in faults]) from exc

    return _form(_label(wish), schema, read, may_require=True)


def _adapter(wish: Any) -> pydantic.TypeAdapter[Any]:  # of any type
    if isinstance(wish, pydantic.TypeAdapter):
        return wish
    is_hint = isinstance(wish, type) or typing.get_origin(wish) or wish is Any
    if not is_hint and (isinstance(wish, str) or callable(wish) or not _is_alias(wish)):
        raise InvalidInput(
            f"schema={_short(repr(wish))} is no type",
            hint="give the class itself, as in schema=Invoice or schema=list[Invoice]",
        )
    return pydantic.TypeAdapter(wish)


def _is_alias(wish: Any) -> bool:  # what ``type X = …`` or NewType makes
    return hasattr(wish, "__value__") or hasattr(wish, "__supertype__")


def _of_schema(schema: dict[str, _Json]) -> AnswerForm:
    """Return the form of a JSON schema; the validator is that of its draft."""
    if not schema:
        return AnswerForm("JSON", {}, {"type": "json_object"}, wrapped=False, read=from_json)
    import jsonschema
    import referencing
    from jsonschema.validators import validator_for

    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        json.dumps(schema)
        kind.check_schema(schema)
    except (jsonschema.SchemaError, TypeError, ValueError) as exc:
        said = getattr(exc, "message", str(exc))
        raise InvalidInput(f"this is no JSON schema: {_short(said)}", hint=_EXAMPLE) from exc
    if not schema.keys() & _MEANT:
        raise InvalidInput(
            f"the JSON schema {_short(json.dumps(schema))} says nothing of the answer",
            hint=_EXAMPLE,
        )
    # Nothing is ever fetched: a schema that names another by its URL must hold it itself
    checks = kind(schema, registry=referencing.Registry(), format_checker=kind.FORMAT_CHECKER)

    def read(document: bytes) -> _Json:
        data = from_json(document)
        try:
            faults = [
                _place(each.absolute_path, _short(each.message))
                for each in checks.iter_errors(data)
            ]
        except referencing.exceptions.Unresolvable as exc:
            raise InvalidInput(
                f"the JSON schema refers to {exc.ref!r}, which it does not hold",
                hint="put it under $defs: nothing is fetched",
            ) from exc
        if faults:
            raise Mismatch(faults)
        return data

    return _form(str(schema.get("title") or "the schema"), schema, read, may_require=False)


def _form(
    name: str,
    schema: dict[str, _Json],
    read: Callable[[bytes], Any],  # an instance of the user's type
    *,
    may_require: bool,
) -> AnswerForm:
    root, wrapped = rooted(schema)
    closed = strict(root, may_require=may_require)
    wire = _WIRE.sub("_", name).strip("_")[:_NAME] or "answer"
    sent = {"name": wire, "schema": closed or root, "strict": closed is not None}
    wish = {"type": "json_schema", "json_schema": sent}
    return AnswerForm(name, schema, wish, wrapped=wrapped, read=read)


def _label(wish: Any) -> str:  # a type
    """Return a type as people write it, modules left out."""
    if isinstance(wish, pydantic.TypeAdapter):
        return str(wish.core_schema.get("cls", "the schema"))
    if isinstance(wish, type) and not typing.get_args(wish):
        return wish.__name__
    name = getattr(wish, "__name__", "") if not typing.get_args(wish) else ""
    return _short(name or re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", repr(wish)))


def _fault(fault: Any) -> str:  # pydantic's ErrorDetails
    given = fault["input"]
    shown = "" if fault["type"] == "missing" else f", got {_short(json.dumps(given, default=str))}"
    return _place(fault["loc"], f"{_short(fault['msg'])}{shown}")


def _place(path: Any, said: str) -> str:  # the keys and indices that lead to a value
    where = ".".join(str(part) for part in path)
    return f"{where}: {said}" if where else said


def _first(exc: Exception) -> str:
    return str(exc).split("\n", 1)[0]


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN else f"{flat[: _SHOWN - 1]}…"
