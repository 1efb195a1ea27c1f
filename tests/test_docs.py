"""The pages in a real browser: what documents the server, and pages of other origins that call it."""
import asyncio
import base64
import hashlib
import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from aioapp.app import create_app
from aioapp.endpoints.docs import LIBRARIES, library_folder
from aioapp.settings import Settings
from tests.browser import Browser, Page, find_chromium, open_browser
from tests.conftest import Serve, start
from tests.contract import contract

INSTALL = "No Chromium was found: install one (Debian: apt install chromium), or name its path in $CHROMIUM."
TAG = re.compile(r"<(?:script|link)\s[^>]*>")
ATTRIBUTE = re.compile(r'([a-z]+)="([^"]*)"')
POST = """fetch("%s/api/generate", {
  method: "POST", headers: {"Content-Type": "application/json", "X-Request-ID": "asked-by-a-page"}, body: `%s`,
}).then(async answer => [answer.status, answer.headers.get("X-Request-ID"), await answer.json()])"""
STREAM = """fetch("%s/api/stream", {
  method: "POST", headers: {"Content-Type": "application/json"}, body: `{"prompt": "count to 20"}`,
}).then(async answer => {
  const pieces = [];
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) pieces.push(piece);
  return pieces;
})"""
SOCKET = """new Promise((resolve, reject) => {
  const socket = new WebSocket("%s/ws/generate".replace("http", "ws"));
  socket.onopen = () => socket.send(`{"prompt": "Hi", "id": "1"}`);
  socket.onmessage = message => resolve(JSON.parse(message.data));
  socket.onerror = () => reject(new Error("It did not open."));
})"""


def chromium(found: str | None, environ: Mapping[str, str]) -> str:
    """Its path; without one the test is skipped, but on CI it fails, lest nobody notice that it never runs."""
    if found is None and environ.get("CI") == "true":
        pytest.fail(INSTALL)
    return found or pytest.skip(INSTALL)


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with open_browser(chromium(find_chromium(), os.environ), tmp_path / "profile") as browser:
        yield browser


@pytest.fixture
async def elsewhere(stack: AsyncExitStack) -> str:
    """The origin of a blank page that is none of the server's."""
    async def blank(request: web.Request) -> web.Response:
        return web.Response(text="<!DOCTYPE html><link rel=icon href=data:,>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", blank)
    runner = web.AppRunner(app)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return "http://{}:{}".format(*runner.addresses[0])


def assert_clean(page: Page, url: str) -> None:
    """Nothing went wrong in the page, and it asked nobody but the server."""
    assert (page.console, page.blocked) == ([], [])
    assert page.requests and [asked for asked in page.requests if not asked.startswith((f"{url}/", "data:"))] == []


def test_without_a_browser_these_tests_fail_on_ci_and_are_skipped_elsewhere() -> None:
    with pytest.raises(pytest.fail.Exception, match="apt install chromium"):
        chromium(None, {"CI": "true"})
    with pytest.raises(pytest.skip.Exception, match="apt install chromium"):
        chromium(None, {})
    assert chromium("/usr/bin/chromium", {"CI": "true"}) == "/usr/bin/chromium"


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_a_page_may_load_nothing_but_what_this_server_serves(
        serve: Serve, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(await serve() + path) as response:
        policy = dict(rule.split(" ", 1) for rule in response.headers["Content-Security-Policy"].split("; "))
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert policy.pop("style-src") == "'self' 'unsafe-inline'"
    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", "'self'", "'self'")
    assert (policy["base-uri"], policy["frame-ancestors"]) == ("'none'", "'none'")
    assert not re.search(r"unsafe|\*|https?:", " ".join(policy.values()))


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_a_page_holds_the_hash_of_every_installed_file_that_it_loads(
        serve: Serve, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(await serve() + path) as response:
        tags = [dict(ATTRIBUTE.findall(tag)) for tag in TAG.findall(await response.text())]
    held = {Path(tag.get("src") or tag["href"]).name: tag.get("integrity") for tag in tags}
    loaded = {name: held[name] for name in LIBRARIES if name in held}
    assert loaded and loaded == {name: integrity(library_folder() / name) for name in loaded}


def integrity(path: Path) -> str:
    return "sha384-" + base64.b64encode(hashlib.sha384(path.read_bytes()).digest()).decode()


async def test_swagger_ui_lists_every_operation(serve: Serve, browser: Browser) -> None:
    page = await browser.open_page(f"{(url := await serve())}/docs")
    await page.wait_for(f"document.querySelectorAll('.opblock').length === {len(list(contract().operations()))}")
    shown = await page.evaluate("[...document.querySelectorAll('.opblock')].map(block => block.id)")
    assert {block.rpartition("-")[2] for block in shown} == {
        operation["operationId"] for *_, operation in contract().operations()}
    assert_clean(page, url)


async def test_swagger_ui_sends_a_request_and_shows_the_answer(serve: Serve, browser: Browser) -> None:
    page = await browser.open_page(f"{(url := await serve())}/docs#/Claude/generate")
    block = "#operations-Claude-generate"
    await page.wait_for(f"document.querySelector('{block} textarea').value.includes('async programming')")
    await page.type(f"{block} textarea", '{"prompt": "count to 3"}')
    await page.click(f"{block} button.execute")
    await page.wait_for(f"document.querySelector('{block} .live-responses-table .response-col_status')")
    shown = await page.evaluate(f"document.querySelector('{block} .live-responses-table').textContent")
    assert "200" in shown and '"response": "1' in shown and '"model": "claude-sonnet-5-5"' in shown
    assert f"{url}/api/generate" in page.requests
    assert_clean(page, url)


async def test_swagger_ui_keeps_the_key_of_a_tab_when_it_is_loaded_again_and_of_no_other(
        serve: Serve, browser: Browser) -> None:
    url = await serve()
    page, shown = await browser.open_page(f"{url}/docs"), "ui.authSelectors.authorized().toJS().key?.value ?? null"
    await page.wait_for("document.querySelector('.opblock')")
    await page.evaluate("ui.authActions.authorizeWithPersistOption({key: {name: 'key', value: 'aio_mine', "
                        "schema: {type: 'apiKey', in: 'header', name: 'X-API-Key'}}})")
    await page.visit(f"{url}/docs")
    await page.wait_for("document.querySelector('.opblock')")
    assert await page.evaluate(shown) == "aio_mine"
    other = await browser.open_page(f"{url}/docs")
    await other.wait_for("document.querySelector('.opblock')")
    assert await other.evaluate(f"[{shown}, localStorage.length]") == [None, 0]
    await page.evaluate("ui.authActions.logoutWithPersistOption(['key'])")
    await page.visit(f"{url}/docs")
    await page.wait_for("document.querySelector('.opblock')")
    assert await page.evaluate(shown) is None


async def test_redoc_shows_the_operations(serve: Serve, browser: Browser) -> None:
    page = await browser.open_page(f"{(url := await serve())}/redoc")
    await page.wait_for("document.querySelector('h1').textContent.startsWith('aioapp')")
    # It makes what is in the window alone.
    await page.call("Emulation.setDeviceMetricsOverride", width=1280, height=4000, deviceScaleFactor=1, mobile=False)
    await page.click("[data-testid=show-more-operations]")  # of a tag, eight are shown unasked
    for *_, operation in contract().operations():
        place = f"#/{operation['tags'][0]}/{operation['operationId']}".lower()
        await page.wait_for(f"""document.querySelector("a[href='{place}']")""")
    await page.click("a[href='#/claude/generate']")
    await page.wait_for("document.body.innerText.includes('Left out, with a warning')")
    assert url in await page.evaluate("document.body.innerText")
    assert_clean(page, url)


@pytest.mark.parametrize("named", [False, True], ids=["any origin", "this origin"])
async def test_a_page_of_an_origin_that_may_call_can_do_all_that_a_caller_can(
        browser: Browser, elsewhere: str, stack: AsyncExitStack, named: bool) -> None:
    origins = (elsewhere,) if named else ("*",)
    url = await start(create_app(Settings(simulate=True, simulate_pace=0.1, cors_origins=origins)), stack)
    page = await browser.open_page(elsewhere)
    status, request_id, answer = await page.evaluate(POST % (url, '{"prompt": "Hi"}'))
    assert (status, request_id, answer["success"]) == (200, "asked-by-a-page", True)
    status, request_id, answer = await page.evaluate(POST % (url, '{"prompt": ""}'))
    assert (status, request_id, answer["detail"][0]["loc"]) == (422, "asked-by-a-page", ["body", "prompt"])
    pieces = await page.evaluate(STREAM % url)
    assert len(pieces) > 1 and pieces[-1].endswith("data: [DONE]\n\n")
    answer = await page.evaluate(SOCKET % url)
    assert (answer["success"], answer["id"]) == (True, "1")
    assert page.blocked == []


@pytest.mark.parametrize(("script", "told"), [
    (POST, "blocked by CORS policy"), (STREAM, "blocked by CORS policy"), (SOCKET, "Unexpected response code: 403")])
async def test_a_page_of_any_other_origin_can_do_nothing(
        serve: Serve, browser: Browser, elsewhere: str, script: str, told: str) -> None:
    url = await serve(cors_origins=("https://ours.example",))
    page = await browser.open_page(elsewhere)
    with pytest.raises(AssertionError, match="Failed to fetch|did not open"):
        await page.evaluate(script % ((url, json.dumps({"prompt": "Hi"})) if script is POST else url))
    async with asyncio.timeout(10):
        while not any(told in line for line in page.console):  # the console's events may come after the page's own
            await asyncio.sleep(0.02)
