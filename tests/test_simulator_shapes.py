"""Hostile bodies: none is an internal error."""
import json
from io import BytesIO

import pytest
from aiohttp import ClientSession

from tests.simulated import body, connected, running

base = pytest.fixture(running)
http = pytest.fixture(connected)


@pytest.mark.parametrize(("raw", "message"), [
    (b"", "is not valid JSON"), (b"{", "is not valid JSON"), (b"\xff{}", "is not valid JSON"),
    (b"\xef\xbb\xbf{}", "is not valid JSON"), (b"[]", "Input should be an object"), (b"null", "should be an object"),
    (b"[" * 100_000, "too deeply"), (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "too deeply"),
])
async def test_bodies_that_are_no_json_object_are_bad_requests(http: ClientSession, raw: bytes, message: str) -> None:
    async with http.post("/v1/messages", data=raw) as response:
        error = (await response.json())["error"]
    assert (response.status, error["type"]) == (400, "invalid_request_error")
    assert message in error["message"]


@pytest.mark.parametrize("value", [
    b"NaN", b"1e999", b"-Infinity", b'"\\ud800"', b'"\xff"', b"9" * 5000, b'{"a": "\\udfff"}',
])
async def test_values_that_python_reads_but_json_has_not_are_bad_requests(http: ClientSession, value: bytes) -> None:
    raw = json.dumps(body(metadata={"user_id": "x"})).encode()
    async with http.post("/v1/messages", data=raw) as response:
        assert response.status == 200
    async with http.post("/v1/messages", data=raw.replace(b'"x"', value)) as response:
        assert response.status == 400
        assert "is not valid JSON" in (await response.json())["error"]["message"]


async def test_no_depth_of_nesting_is_an_internal_error(http: ClientSession) -> None:
    seen = set()
    for depth in range(700, 1000):
        raw = json.dumps(body(tools=["x"])).replace('"x"', "[" * depth + "]" * depth)
        async with http.post("/v1/messages", data=raw) as response:
            seen.add(response.status)
    assert seen == {200, 400}


async def test_a_body_that_is_not_what_its_encoding_says_is_a_bad_request(http: ClientSession) -> None:
    async with http.post("/v1/messages", data=b"no gzip", headers={"content-encoding": "gzip"}) as response:
        assert response.status == 400


async def test_bodies_end_at_32_megabytes(http: ClientSession) -> None:
    async with http.post("/v1/messages", data=BytesIO(b" " * (32 * 2**20 + 1))) as response:
        assert (response.status, (await response.json())["error"]) == (
            413, {"type": "request_too_large", "message": "Request exceeds the maximum size"})
