"""The OpenAPI document: valid, complete, and exactly as strict as the server."""
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import jsonschema_rs
import openapi_spec_validator
import pytest
from marshmallow import fields

from aioapp.app import create_app
from aioapp.endpoints import OPERATIONS, endpoints
from aioapp.endpoints.generate import GENERATE
from aioapp.settings import Settings
from aioapp.web.openapi.document import document
from aioapp.web.operations.operation import Operation
from aioapp.web.schemas import Answer
from tests.conftest import Serve, start
from tests.contract import Contract, Json, contract
from tests.test_fields import REFUSED, TAKEN

ANSWER = {
    "success": True, "response": "", "prompt": "Hi", "model": "m", "timestamp": "2026-11-23T09:30:00+00:00",
    "tokens_used": 0, "stop_reason": None, "warnings": [], "request_id": "r",
    "usage": {"input_tokens": 0, "output_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
}


def examples(content: Json) -> Iterator[Any]:
    yield from ([content["example"]] if "example" in content else [])
    yield from (example["value"] for example in content.get("examples", {}).values())


def objects(node: Any) -> Iterator[Json]:
    """Every schema of an object, however deep."""
    if isinstance(node, dict) and node.get("type") == "object":
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from objects(child)


async def test_the_document_is_valid_openapi_3_1(serve: Serve, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{await serve()}/openapi.json") as response:
        told = await response.json()
    openapi_spec_validator.validate(told)
    assert told["openapi"] == "3.1.0"
    assert {name: told[name] for name in contract().document} == contract().document


@pytest.mark.parametrize(("headers", "server"), [
    ({}, "http://127.0.0.1:{port}"),
    ({"Host": "api.example.com"}, "http://api.example.com"),
    ({"Host": "[::1]:8443", "X-Forwarded-Proto": "https"}, "https://[::1]:8443"),
    ({"Host": "api.example.com", "X-Forwarded-Proto": "HTTPS, http"}, "https://api.example.com"),
])
async def test_the_server_is_where_the_caller_reached_it(
        serve: Serve, http: aiohttp.ClientSession, headers: dict[str, str], server: str) -> None:
    url = await serve(allow_anonymous=True)
    async with http.get(f"{url}/openapi.json", headers=headers) as response:
        assert (await response.json())["servers"] == [{"url": server.format(port=url.rpartition(":")[2])}]


@pytest.mark.parametrize("host", ["a b", "a\"b", "x:99999", "x/y", ":80", "[::1", "a@b"])
async def test_a_host_that_is_none_is_refused(serve: Serve, http: aiohttp.ClientSession, host: str) -> None:
    url = await serve(allow_anonymous=True)
    async with http.get(f"{url}/openapi.json", headers={"Host": host}) as response:
        assert (response.status, (await response.json())["detail"]) == (400, "The Host header names no host.")


def test_every_operation_has_an_id_of_its_own_that_stays() -> None:
    assert Counter(operation["operationId"] for *_, operation in contract().operations()) == Counter([
        "generate", "generateStream", "chat", "chatStream", "websocket", "root", "health", "healthReady", "healthLive",
        "authStatus", "usage", "metrics", "listKeys", "createKey", "showKey", "updateKey", "revokeKey", "rotateKey",
        "audit", "allUsage", "latestRequests", "messages", "countTokens", "listModels", "showModel"])


def test_the_document_is_the_same_every_time() -> None:
    assert document(endpoints(), OPERATIONS) == contract().document


def test_every_body_and_every_good_json_answer_has_an_example() -> None:
    told = [content for *_, operation in contract().operations() for content in (
        *operation.get("requestBody", {}).get("content", {}).values(),
        *operation["responses"].get("200", operation["responses"].get("201", {})).get("content", {}).values())]
    assert len(told) == 10 + 28
    assert all("example" in content or "examples" in content["schema"] for content in told)


def test_every_example_is_what_its_schema_says() -> None:
    checked = 0
    for *_, operation in contract().operations():
        for described in (operation.get("requestBody", {}), *operation["responses"].values()):
            content = described.get("content", {}).get("application/json", {})
            for example in examples(content):
                contract().check(example, content["schema"])
                checked += 1
    assert checked > 60


def test_the_example_of_a_stream_is_a_stream_of_its_events() -> None:
    streams = [operation["responses"]["200"]["content"]["text/event-stream"] for path, _, operation
               in contract().operations() if path.endswith("/stream")]
    assert len(streams) == 2
    for content in streams:
        contract().check_events(content["example"], content["schema"])


def test_every_operation_names_its_headers_and_our_own_fault() -> None:
    for *_, operation in contract().operations():
        assert "500" in operation["responses"]
        assert all({"X-Request-ID", "X-Process-Time"} <= set(answer["headers"])
                   for answer in operation["responses"].values())


def test_every_error_that_shares_a_status_is_named() -> None:
    told = contract().document["paths"]["/api/generate"]["post"]["responses"]["503"]
    assert set(told["content"]["application/json"]["examples"]) == {
        "NotInitialized", "CredentialsRefused", "Overloaded", "ShuttingDown", "StoreUnavailable", "Unavailable"}
    assert "Retry-After" in told["headers"]


PASSED_ON = ("MessagesBody", "CountTokensBody")
"""What they hold beside what is named is Claude's to take or to refuse."""


def test_every_object_is_closed() -> None:
    schemas = contract().document["components"]["schemas"]
    found = list(objects({name: schema for name, schema in schemas.items() if name not in PASSED_ON}))
    assert len(found) > 35
    assert [schema for schema in found if schema.get("additionalProperties") is not False] == []


def bounds_missing(schema: Json, path: str) -> Iterator[str]:
    """Where a caller may send any number of characters or items."""
    if "$ref" in schema:
        schema = contract().schema(schema["$ref"].rpartition("/")[2])
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    if "string" in kinds and not {"enum", "maxLength"} & set(schema):
        yield f"{path}: maxLength"
    if "array" in kinds and "maxItems" not in schema:
        yield f"{path}: maxItems"
    for name, below in schema.get("properties", {}).items():
        yield from bounds_missing(below, f"{path}.{name}")
    parts = *schema.get("oneOf", ()), *schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())
    for below in parts:
        yield from bounds_missing(below, path)


def test_all_that_a_caller_sends_has_documented_bounds() -> None:
    sent = [operation["requestBody"]["content"]["application/json"]["schema"]
            for *_, operation in contract().operations() if "requestBody" in operation]
    assert len(sent) == 9
    assert [gap for schema in (*sent, contract().schema("SocketRequest")) for gap in bounds_missing(schema, "")] == []
    history = contract().schema("ChatBody")["properties"]["history"]
    assert history["maxItems"] == 500
    assert contract().schema("TurnBody")["properties"]["content"]["maxLength"] == 500_000


@pytest.mark.parametrize("name", ["GenerateBody", "GenerateStreamBody", "GenerateRequest"])
@pytest.mark.parametrize("value", TAKEN, ids=lambda value: repr(value)[:30])
def test_what_the_server_takes_the_document_allows(name: str, value: tuple[str, Any]) -> None:
    contract().check_named({"prompt": "Hi", value[0]: value[1]}, name)


@pytest.mark.parametrize(("field", "value"), [
    (field, value) for field, value, _ in REFUSED if not (isinstance(value, float) and math.isinf(value))
], ids=lambda value: repr(value)[:30])
def test_what_the_server_refuses_the_document_forbids(field: str, value: Any) -> None:
    with pytest.raises(jsonschema_rs.ValidationError):
        contract().check_named({"prompt": "Hi", field: value}, "GenerateBody")


@pytest.mark.parametrize("name", ["GenerateBody", "ChatBody", "GenerateStreamBody", "ChatStreamBody"])
def test_only_what_is_optional_may_be_null_and_its_default_is_told(name: str) -> None:
    schema = contract().schema(name)
    nullable = {field for field, told in schema["properties"].items() if "null" in told["type"]}
    assert nullable == set(schema["properties"]) - set(schema["required"])
    defaults = {"max_tokens": 1000 if "Chat" in name else 4096} | ({"format": "text"} if "Stream" in name else {})
    assert {field: told["default"] for field, told in schema["properties"].items() if "default" in told} == defaults


@pytest.mark.parametrize("field", ANSWER)
@pytest.mark.parametrize("change", ["missing", "mistyped"])
def test_an_answer_with_a_field_missing_or_mistyped_breaks_the_contract(field: str, change: str) -> None:
    contract().check_named(ANSWER, "Answer")
    rest = {name: value for name, value in ANSWER.items() if name != field}
    with pytest.raises(jsonschema_rs.ValidationError):
        contract().check_named(rest if change == "missing" else {**rest, field: {"x": 0}}, "Answer")


@pytest.mark.parametrize(("frame", "name"), [
    ({"prompt": "Hi"}, "GenerateRequest"),
    ({"prompt": "Hi", "type": "generate", "id": "1", "stream": True}, "GenerateRequest"),
    ({"message": "Hi", "type": "chat", "id": None, "stream": None}, "ChatRequest"),
    ({"type": "cancel", "id": "1"}, "CancelRequest"),
])
def test_every_frame_that_can_be_sent_is_exactly_one_of_those_described(frame: Json, name: str) -> None:
    contract().check_named(frame, name)
    contract().check_named(frame, "SocketRequest")


@pytest.mark.parametrize("frame", [
    {"message": "Hi"}, {"type": "chat", "prompt": "Hi"}, {"type": "cancel"}, {"prompt": "Hi", "id": ""},
    {"prompt": "Hi", "id": 1}, {"prompt": "Hi", "format": "text"}, {"prompt": "Hi", "type": "nonesuch"},
])
def test_no_other_frame_is_described(frame: Json) -> None:
    with pytest.raises(jsonschema_rs.ValidationError):
        contract().check_named(frame, "SocketRequest")


class AnalysisAnswer(Answer):
    length = fields.Integer(required=True)


async def test_an_operation_of_ones_own_is_documented_in_every_form(
        http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    analyze = Operation(
        name="analyze", path="/custom/analyze", stream_path="/custom/analyze/stream", summary="Analyse a text",
        body=GENERATE.body, prompt=GENERATE.prompt, answer=AnalysisAnswer, extra=lambda prompt: {"length": 2},
        example={"prompt": "Hi"})
    url = await start(create_app(Settings(simulate=True), operations=(*OPERATIONS, analyze)), stack)
    async with http.get(f"{url}/openapi.json") as response:
        told = await response.json()
    openapi_spec_validator.validate(told)
    assert {"/custom/analyze", "/custom/analyze/stream"} <= set(told["paths"])
    Contract(told).check_named({"type": "analyze", "prompt": "Hi"}, "SocketRequest")
    Contract(told).check_named({**ANSWER, "length": 2, "type": "done"}, "SocketFrame")
