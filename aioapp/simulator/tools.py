"""Tools: which are called, with what, and what is said of their results.

A tool is called when `tool_choice` says so, or when the last user message has a mark like `[use NAME {"city": "Rome"}]`
in it, or `[use NAME]`. What no mark gives is made from the tool's schema. Only tools that the caller runs are called;
marks with other names, or with something else than a JSON object, are plain text.
"""
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from aioapp.simulator.errors import Json
from aioapp.simulator.examples import example_of

MARK = re.compile(r"\[use ([\w-]+)\s*")
END = re.compile(r"\s*\]")
RUN_BY_CLAUDE = ("web_search_", "web_fetch_", "code_execution_", "tool_search_tool_", "advisor_", "mcp_toolset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool that the model wants to be used, and its input."""

    name: str
    given: Json


def written(given: Json) -> str:
    """The input of a call as the model writes it."""
    return json.dumps(given, ensure_ascii=False)


def calls_in(body: Json, prompt: str) -> Sequence[Call]:
    """The calls that `tool_choice` and the marks in `prompt` ask for, in the order of the marks."""
    tools, choice = callable_tools(body), body.get("tool_choice", {})
    match choice:
        case {"type": "none"}:
            return ()
        case {"type": "tool", "name": str(name)}:
            tools = {known: schema for known, schema in tools.items() if known == name}
    calls = [*marked_calls(prompt, tools)]
    if not calls and choice.get("type") in ("any", "tool"):
        calls = [Call(name=name, given=example_of(schema)) for name, schema in [*tools.items()][:1]]
    return calls[:1] if choice.get("disable_parallel_tool_use") is True else calls


def callable_tools(body: Json) -> Mapping[str, Any]:
    """The tools that the caller runs, each with the schema of its input, where it has one."""
    tools = {}
    for tool in body.get("tools", ()):
        match tool:
            case {"type": str(kind)} if kind.startswith(RUN_BY_CLAUDE):
                pass
            case {"name": str(name), **rest}:
                tools[name] = rest.get("input_schema")
    return tools


def marked_calls(prompt: str, tools: Mapping[str, Any]) -> Iterator[Call]:
    for mark in MARK.finditer(prompt):
        if mark[1] in tools:
            with suppress(ValueError):
                given = given_at(prompt, mark.end())
                yield Call(name=mark[1], given=example_of(tools[mark[1]]) if given is None else given)


def given_at(text: str, start: int) -> Json | None:
    """The JSON object from `start` to the end of the mark; None where the mark ends at once. Raises ValueError."""
    if text.startswith("]", start):
        return None
    given, end = json.JSONDecoder().raw_decode(text, start)
    # A second look refuses what Python reads but JSON has not, as with bodies.
    json.dumps(given, ensure_ascii=False, allow_nan=False).encode()
    if not isinstance(given, dict) or not END.match(text, end):
        raise ValueError("no JSON object, or more than one")
    return given


def told_results(messages: Sequence[Json]) -> Sequence[str]:
    """What the model says of the results of tools in the last user turn: their text, in a sentence each."""
    turn = [*takewhile(lambda message: message["role"] != "assistant", reversed(messages))]
    contents = [message["content"] for message in reversed(turn) if message["role"] == "user"]
    results = [block for content in contents if isinstance(content, list)
               for block in content if block["type"] == "tool_result"]
    return [f"The tool {'failed' if result.get('is_error') is True else 'answered'}: {result_text(result)}"
            for result in results]


def result_text(block: Json) -> str:
    match block.get("content"):
        case str(text):
            return text
        case list(parts):
            return "\n".join(part["text"] for part in parts if isinstance(part, dict)
                             and isinstance(part.get("text"), str))
        case _:
            return ""
