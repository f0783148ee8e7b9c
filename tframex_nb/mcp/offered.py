"""What a server offers, as tools of an agent; what it gives back, as text for a model."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import pydantic

from tframex_nb.agents._schema import Arguments, InvalidArguments
from tframex_nb.agents.tools import MAX_NAME, Tool, tool_name
from tframex_nb.errors import ToolError
from tframex_nb.mcp.faults import McpCallFailed
from tframex_nb.mcp.veil import Veil
from tframex_nb.models._surrogates import mend

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mcp_types import CallToolResult
    from mcp_types import Tool as McpTool

__all__ = ["ORIGIN", "apart", "as_text", "as_tools", "mended"]

ORIGIN = "mcp:"  # how the origin of such a tool begins, and the word that names one
MAX_DESCRIPTION = 4_000  # characters: what a model reads with every question
MAX_SCHEMA = 50_000  # characters of a tool's schema as JSON
MAX_ALL = 1_000_000  # characters of a server's descriptions and schemas: all go with a question
NOTHING = Veil()
MAX_DEPTH = 100  # of lists and objects in each other: pydantic writes some 200 levels

Caller = "Callable[[str, dict[str, Any]], Awaitable[str]]"


@dataclass(frozen=True, slots=True)
class OpenArguments(Arguments):
    """Arguments that the server itself checks: any JSON object, given on as one value."""

    def bind(self, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the object that the JSON ``text`` means.

        Raises InvalidArguments for no object, and for one that no message can carry.
        """
        try:
            value = json.loads(mend(text), parse_constant=_no_number) if text.strip() else {}
        except (ValueError, RecursionError) as exc:
            raise InvalidArguments(f"- arguments: not JSON: {exc}") from exc
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise InvalidArguments(f"- arguments: an object is expected, got {text[:100]}")
        if _is_deep(value):
            raise InvalidArguments(f"- arguments: nested deeper than {MAX_DEPTH} levels")
        return (mended(value),), {}


def as_tools(
    server: str,
    offered: Iterable[McpTool],
    call: Caller,  # type: ignore[valid-type]  # an alias as text: its names are for checkers alone
    *,
    veil: Veil = NOTHING,
) -> list[Tool]:
    """Return a server's tools under names that endpoints accept, each its own.

    One whose schema is no object, or too large to send with every question, is left out; so are
    the last ones where all together are.
    """
    made: dict[str, Tool] = {}
    size = 0
    for each in offered:
        schema = each.input_schema
        if not _is_usable(schema):
            continue
        size += len(json.dumps(schema)) + len(each.description or "")
        if size > MAX_ALL:
            break
        name = _free(each.name, made)
        if name:
            made[name] = Tool(
                name=name,
                description=veil.text(each.description or "")[:MAX_DESCRIPTION],
                function=_function(each.name, call),
                arguments=_arguments(veil.json(schema)),
                writes=not (each.annotations is not None and each.annotations.read_only_hint),
                origin=f"{ORIGIN}{server}",
            )
    return list(made.values())


def apart(tools: Iterable[Any]) -> list[Any]:  # whatever people pass as tools
    """Return the tools; one of a server whose name another has is called ``SERVER_NAME``."""
    every = list(tools)
    names = [_name_of(each) for each in every]
    return [
        _prefixed(each) if _is_of_server(each) and names.count(name) > 1 else each
        for each, name in zip(every, names, strict=True)
    ]


def as_text(result: CallToolResult, *, veil: Veil = NOTHING) -> str:
    """Return what a model reads; raises McpCallFailed where the tool says that it failed.

    Pictures, sounds and files become notes; the server's own secrets are masked.
    """
    parts = [_part(each) for each in result.content]
    if not parts and result.structured_content is not None:
        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    text = veil.text("\n".join(parts))
    if result.is_error:
        raise McpCallFailed(text or "the tool gives no reason")
    return text


def mended(value: Any) -> Any:  # any JSON, not deep
    """Return JSON without lone surrogates, which no message can carry."""
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, dict):
        return {mend(name): mended(each) for name, each in value.items()}
    return [mended(each) for each in value] if isinstance(value, list) else value


def _part(block: Any) -> str:  # one of the package's kinds of content
    match block.type:
        case "text":
            return str(block.text)
        case "image" | "audio":
            size = len(block.data) * 3 // 4
            return f"[{block.type}: {block.mime_type}, {size:,} bytes, not shown]"
        case "resource_link":
            return f"[resource {block.name}: {block.uri}]"
        case "resource":
            held = block.resource
            text = getattr(held, "text", None)
            return text if text is not None else f"[file {held.uri}, not shown]"
        case kind:
            return f"[{kind}, not shown]"


def _arguments(schema: dict[str, Any]) -> OpenArguments:  # JSON schema
    return OpenArguments({"properties": {}, **schema}, {}, pydantic.BaseModel)


def _function(name: str, call: Any) -> Any:  # a Caller; a tool's function
    async def function(arguments: dict[str, Any]) -> str:  # any JSON
        said: str = await call(name, arguments)
        return said

    return function


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number in JSON")


def _is_deep(value: Any) -> bool:  # any JSON
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [each for held in inner for each in held if isinstance(each, (dict, list))]
        if not level:
            return False
    return True


def _is_usable(schema: dict[str, Any]) -> bool:  # JSON schema
    try:
        return schema.get("type") == "object" and len(json.dumps(schema)) <= MAX_SCHEMA
    except (ValueError, RecursionError):
        return False


def _free(name: str, taken: dict[str, Tool]) -> str:
    """Return a name that no other tool of the server has, or nothing where there can be none."""
    try:
        clean = tool_name(name)
    except ToolError:
        return ""
    numbered = (f"{clean[: MAX_NAME - 4]}_{number}" for number in range(2, 1000))
    return next((each for each in (clean, *numbered) if each not in taken), "")


def _prefixed(tool: Tool) -> Tool:
    server = tool.origin.removeprefix(ORIGIN)
    return replace(tool, name=tool_name(f"{server}_{tool.name}"))


def _is_of_server(each: object) -> bool:
    return isinstance(each, Tool) and each.origin.startswith(ORIGIN)


def _name_of(each: Any) -> str:  # whatever people pass as tools
    if isinstance(each, Tool):
        return each.name
    try:
        made: Tool = each.as_tool() if hasattr(each, "as_tool") else Tool.of(each)
    except (ToolError, TypeError):  # told of where the agent takes it
        return ""
    return made.name
