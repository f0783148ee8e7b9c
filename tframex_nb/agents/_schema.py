"""What a function takes, as a JSON schema and as a validator (pydantic, loaded when needed)."""

from __future__ import annotations

import json
import types
import typing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from tframex_nb.agents._hints import hints_of, parameters_of
from tframex_nb.errors import ToolError

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable, Mapping

    from pydantic_core import ErrorDetails

__all__ = ["Arguments", "InvalidArguments"]

MAX_COMPLAINTS = 10  # a model mends the first few; a wall of text only costs tokens
MAX_SHOWN = 120  # characters of a wrong value, or of what was expected, that go back


class InvalidArguments(ValueError):
    """A call's arguments do not fit; the text lists each field and what it expects."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """A function's arguments: ``schema`` for the model, ``bind`` for the call.

    The validating model's fields are called ``p0``, ``p1`` … and carry the parameter's name as
    their alias, since a parameter may be called what pydantic keeps for itself (``schema``,
    ``json``, ``_x``).
    """

    schema: dict[str, Any]
    parameters: dict[str, inspect.Parameter] = field(repr=False)
    model: type[pydantic.BaseModel] = field(repr=False)

    @classmethod
    def of(
        cls,
        function: Callable[..., Any],  # a tool may be any callable
        *,
        notes: Mapping[str, str],
        origin: str,
    ) -> Arguments:
        """Read a function's signature and hints; ``notes`` describe parameters by name.

        Raises ToolError naming ``origin`` and the parameter that JSON cannot say.
        """
        parameters = parameters_of(function, origin)
        hints = hints_of(function, parameters, origin)
        try:
            model = _model(parameters, hints, notes)
            schema = model.model_json_schema(schema_generator=_Schema)
        except (pydantic.PydanticUserError, pydantic.PydanticUndefinedAnnotation) as exc:
            raise _unsayable(origin, parameters, hints) from exc
        schema.pop("title", None)
        schema.pop("description", None)
        named = {n: p for n, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
        return cls({"properties": {}, **schema}, named, model)

    def bind(self, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and keyword arguments that the JSON ``text`` means.

        Coerces as pydantic does. Raises InvalidArguments, whose text a model can mend its call
        by. Empty text and ``null`` mean no arguments: several servers send them.
        """
        raw = text.encode("utf-8", "replace")
        if raw.strip() in {b"", b"null"}:
            raw = b"{}"
        try:
            valid = self.model.model_validate_json(raw)
        except pydantic.ValidationError as exc:
            raise InvalidArguments(_complaint(exc, self.schema)) from exc
        return self._spread(valid)

    def _spread(self, valid: pydantic.BaseModel) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Give back what the model gave; all else keeps the function's own default."""
        positional: list[Any] = []
        named: dict[str, Any] = dict(valid.model_extra or {})
        for attribute, parameter in zip(_attributes(), self.parameters.values(), strict=False):
            declared = parameter.default is parameter.empty or isinstance(
                parameter.default, FieldInfo
            )
            given = declared or attribute in valid.model_fields_set
            value = getattr(valid, attribute) if given else parameter.default
            if parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(value)
            elif given:
                named[parameter.name] = value
        return tuple(positional), named


class _Schema(GenerateJsonSchema):
    """JSON schema without the titles that only repeat the names, for they cost tokens."""

    def __init__(self, *args: Any, **options: Any) -> None:  # as the base takes them
        super().__init__(*args, **options)
        # A default that JSON cannot say stays the function's own secret: nothing to warn of.
        self.ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}

    def field_title_should_be_set(self, schema: Any) -> bool:  # a union of core schemas
        """Leave titles to those who wrote one."""
        del schema
        return False


def _attributes() -> typing.Iterator[str]:
    return (f"p{i}" for i in range(1_000))


def _model(
    parameters: Mapping[str, inspect.Parameter],
    hints: Mapping[str, Any],  # types and what stands for them
    notes: Mapping[str, str],
) -> type[pydantic.BaseModel]:
    rest = [p for p in parameters.values() if p.kind is p.VAR_KEYWORD]
    named = [p for p in parameters.values() if p.kind is not p.VAR_KEYWORD]
    fields: dict[str, Any] = {  # what create_model takes
        attribute: _field(parameter, hints[parameter.name], notes.get(parameter.name))
        for attribute, parameter in zip(_attributes(), named, strict=False)
    }
    base = _open(hints[rest[0].name]) if rest else _Closed
    return pydantic.create_model("arguments", __base__=base, **fields)


class _Closed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")


def _open(hint: Any) -> type[pydantic.BaseModel]:  # the type of each further argument
    """Return a base that takes further arguments, for a function with ``**kwargs``."""

    def fill(space: dict[str, Any]) -> None:  # a class's namespace
        space["__module__"] = __name__
        space["__annotations__"] = {"__pydantic_extra__": dict[str, hint]}
        space["model_config"] = pydantic.ConfigDict(extra="allow")

    return types.new_class("_Open", (pydantic.BaseModel,), exec_body=fill)


def _field(
    parameter: inspect.Parameter,
    hint: Any,  # a type or what stands for one
    note: str | None,
) -> tuple[Any, Any]:  # an annotation and a FieldInfo
    """Return a parameter's field as ``create_model`` takes it.

    ``x: int = None`` means an optional x, as people write it. A bare string in ``Annotated``
    describes the parameter; a description in ``Field`` wins over both it and the docstring.
    """
    default = parameter.default
    own = [default] if isinstance(default, FieldInfo) else []
    metadata = [*getattr(hint, "__metadata__", ()), *own]
    if any(isinstance(m, FieldInfo) and m.description for m in metadata):
        note = None
    else:
        note = next((m for m in metadata if isinstance(m, str)), note)
    if default is None and hint is not Any:
        hint = typing.Optional[hint]  # noqa: UP045 - the hint is a value here
    options: dict[str, Any] = {"alias": parameter.name}  # what Field takes
    if note:
        options["description"] = note
    if own:
        return Annotated[(hint, *own)], pydantic.Field(**options)
    if default is not parameter.empty:
        options["default"] = default
    return hint, pydantic.Field(**options)


def _unsayable(
    origin: str,
    parameters: Mapping[str, inspect.Parameter],
    hints: Mapping[str, Any],  # types and what stands for them
) -> ToolError:
    """Return the error that names the first parameter at fault."""
    for name in parameters:
        try:
            pydantic.TypeAdapter(hints[name]).json_schema(schema_generator=_Schema)
        except (pydantic.PydanticUserError, pydantic.PydanticUndefinedAnnotation) as exc:
            kind = getattr(hints[name], "__name__", str(hints[name]))
            hint = f"take plain values, or bind it: functools.partial(function, {name}=…)"
            if getattr(exc, "code", "") == "typed-dict-version":
                hint = "on Python 3.11 import TypedDict from typing_extensions"
            return ToolError(
                f"{origin} takes {name}: {kind}, which a model cannot write as JSON", hint=hint
            )
    return ToolError(f"{origin} takes what a model cannot write as JSON", hint="take plain values")


def _complaint(error: pydantic.ValidationError, schema: Mapping[str, Any]) -> str:
    """Return one line per wrong field: where, what is wrong, what was given, what is expected."""
    faults = error.errors(include_url=False, include_context=False)
    lines = [f"- {_fault(fault, schema['properties'])}" for fault in faults[:MAX_COMPLAINTS]]
    more = len(faults) - len(lines)
    return "\n".join([*lines, f"- and {more} more"] if more else lines)


def _fault(fault: ErrorDetails, properties: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in fault["loc"]) or "arguments"
    if fault["type"] == "extra_forbidden":
        return f"{where}: there is no such argument; expected {', '.join(properties) or 'none'}"
    given = fault["input"].decode() if isinstance(fault["input"], bytes) else fault["input"]
    shown = "" if fault["type"] == "missing" else f", got {_short(repr(given))}"
    expected = properties.get(str(fault["loc"][0])) if len(fault["loc"]) == 1 else None
    wanted = f"; expected {_short(json.dumps(_bare(expected)))}" if expected else ""
    return f"{where}: {fault['msg']}{shown}{wanted}"


def _bare(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in schema.items() if k not in {"description", "title", "default"}}


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
