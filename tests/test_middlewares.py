"""What happens to every request, whatever its handler does: your handlers too."""
import asyncio
import logging
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web

from aioapp.app import create_app
from aioapp.credentials import fixed
from aioapp.settings import Settings
from aioapp.web.endpoint import Handler
from tests.conftest import start


async def redirected(request: web.Request) -> web.Response:
    raise web.HTTPFound("/health/live")


async def refused(request: web.Request) -> web.Response:
    raise web.HTTPConflict(headers={"X-Pot": "short"})


async def broken(request: web.Request) -> web.Response:
    raise LookupError("canary internals")


async def cut_off(request: web.Request) -> web.Response:
    raise ConnectionResetError("a database, say, not the caller")


async def broken_in_the_middle(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"begun")
    raise web.HTTPConflict()


async def serving(stack: AsyncExitStack, handler: Handler, *, debug: bool = False) -> str:
    app = create_app(Settings(debug=debug), credentials=fixed("k", "test"))
    app.router.add_get("/own", handler)
    return await start(app, stack) + "/own"


async def test_a_redirect_is_no_failure(stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    async with http.get(await serving(stack, redirected), allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/health/live")


async def test_a_refusal_of_aiohttps_gets_the_error_shape_and_keeps_its_headers(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    async with http.get(await serving(stack, refused)) as response:
        body = await response.json()
    assert (response.status, response.headers["X-Pot"]) == (409, "short")
    assert (body["success"], body["error"]) == (False, "Conflict")
    assert body["request_id"] == response.headers["X-Request-ID"]


@pytest.mark.parametrize("handler", [broken, cut_off])
@pytest.mark.parametrize("debug", [False, True])
async def test_a_fault_names_its_internals_only_to_who_debugs(
        stack: AsyncExitStack, http: aiohttp.ClientSession, handler: Handler, debug: bool) -> None:
    async with http.get(await serving(stack, handler, debug=debug)) as response:
        body = await response.json()
    assert (response.status, body["error"]) == (500, "Internal server error")
    assert ("detail" in body) is debug


async def test_trap_5_no_second_response_is_written_into_one_that_has_begun(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    async with http.get(await serving(stack, broken_in_the_middle)) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert response.status == 200


async def test_a_request_whose_caller_left_has_a_line_in_the_log_too(
        stack: AsyncExitStack, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aioapp.requests")
    begun = asyncio.Event()

    async def waiting(request: web.Request) -> web.Response:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError("never")

    asking = asyncio.create_task(http.get(await serving(stack, waiting)))
    await begun.wait()
    asking.cancel()
    async with asyncio.timeout(2):
        while "left" not in caplog.text:
            await asyncio.sleep(0.005)
    assert "GET /own left" in caplog.text
