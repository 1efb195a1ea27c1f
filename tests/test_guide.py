"""The guide and the front door, as browsers and programs get them."""
import os
import re
from pathlib import Path

import aiohttp
import pytest

from aioapp.endpoints.guide import place
from aioapp.endpoints.root import PLACES
from aioapp.web.negotiation import prefers
from tests.browser import find_chromium, open_browser
from tests.conftest import Serve
from tests.documents import GUIDE
from tests.keyed import make_key
from tests.test_docs import assert_clean, chromium

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
LINKS = "[...document.querySelectorAll('a[href]')].map(link => link.href)"
IDS = "[...document.querySelectorAll('[id]')].map(element => element.id)"
TITLE = "document.querySelector('h1').textContent"
NESTED = """[...document.querySelectorAll('body *')].filter(element =>
  element.scrollWidth > element.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(element).overflowX)).length"""


def address(name: str) -> str:
    return "/guide" if name == "index" else f"/guide/{name}"


async def test_every_page_shows_in_a_browser_and_every_link_on_it_leads_somewhere(
        serve: Serve, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    url = await serve()
    anchors: dict[str, set[str]] = {}
    links: set[str] = set()
    async with open_browser(chromium(find_chromium(), os.environ), tmp_path / "profile") as browser:
        page = await browser.open_page(url)
        for path in ["/", *map(address, GUIDE)]:
            await page.call("Emulation.clearDeviceMetricsOverride")
            await page.visit(url + path)
            links |= set(await page.evaluate(LINKS))
            anchors[url + path] = set(await page.evaluate(IDS))
            assert await page.evaluate(TITLE)
            assert await page.evaluate("getComputedStyle(document.body).fontFamily") == "system-ui, sans-serif"
            await page.call("Emulation.setDeviceMetricsOverride", **PHONE)
            assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
            assert await page.evaluate(NESTED) == 0
        assert_clean(page, url)
    own = {link for link in links if link.startswith(url)}
    assert {address(name) for name in GUIDE} <= {link.removeprefix(url).partition("#")[0] for link in own}
    for link in own:
        path, _, anchor = link.partition("#")
        assert not anchor or anchor in anchors[path.rstrip("/") if path != f"{url}/" else path], link
    for path in {link.partition("#")[0] for link in own}:
        async with http.get(path) as response:
            assert response.status in (200, 403), path  # the administration needs an admin key


async def test_a_page_is_for_everybody_and_may_run_nothing(serve: Serve, http: aiohttp.ClientSession) -> None:
    make_key()
    url = await serve()
    for path in ("/guide", "/guide/keys", "/guide/assets/guide.css", "/guide/assets/admin.png"):
        async with http.get(url + path) as response:
            assert (response.status, response.headers["X-Content-Type-Options"]) == (200, "nosniff")
    async with http.get(f"{url}/guide/keys") as response:
        assert response.headers["Content-Security-Policy"] == (
            "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'none'; base-uri 'none'; "
            "frame-ancestors 'none'")
        assert "<script" not in await response.text()


@pytest.mark.parametrize("path", ["nonesuch", "guide.html", "home", "..%2fdocs", "keys.md", "assets/index.md"])
async def test_what_is_no_page_is_not_found(serve: Serve, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(f"{await serve()}/guide/{path}") as response:
        assert (response.status, (await response.json())["success"]) == (404, False)


@pytest.mark.parametrize(("target", "leads_to"), [
    ("keys.md", "/guide/keys"), ("index.md", "/guide"), ("#limits", "#limits"),
    ("keys.md#limits", "/guide/keys#limits"),
    ("admin.png", "/guide/assets/admin.png"), ("https://example.com/a", "https://example.com/a")])
def test_links_of_the_sources_lead_to_pages_of_the_server(target: str, leads_to: str) -> None:
    assert place(target) == leads_to


@pytest.mark.parametrize("target", [
    "javascript:alert(1)", "data:text/html,x", "../README.md", "//evil.example", "http://x"])
def test_a_link_that_would_lead_nowhere_or_run_something_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="no place"):
        place(target)


# The front door.

@pytest.mark.parametrize(("accept", "page"), [
    (BROWSER, True), ("text/html", True), ("TEXT/HTML", True), ("text/*", True), ("text/html;q=0.5", True),
    ("application/json;q=0.4, text/html;q=0.5", True), ("*/*, application/json;q=0.1", True),
    ("", False), ("*/*", False), ("application/json", False), ("text/html, application/json", False),
    ("text/html;q=0", False), ("text/html;q=0.5, */*", False), ("text/html;q=2", False), ("text/html;q=", False),
    ("text/plain", False), ("html", False), (",,;q=1,", False), ("text/html;level=1", True)])
def test_a_page_is_for_those_who_like_it_better_than_json(accept: str, page: bool) -> None:
    assert prefers(accept, "text/html", over="application/json") is page


async def test_a_browser_gets_the_front_door_and_a_program_what_it_always_got(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    url = await serve()
    async with http.get(url, headers={"Accept": BROWSER}) as response:
        assert (response.status, response.content_type) == (200, "text/html")
        assert "Accept" in response.headers.getall("Vary")
        text = await response.text()
    async with http.get(url) as response:
        assert response.content_type == "application/json" and "Accept" in response.headers.getall("Vary")
        told = await response.json()
    assert set(told["endpoints"]) == set(PLACES)
    assert f"curl {url}/api/generate -H 'Content-Type: application/json'" in text and "X-API-Key: " not in text
    links = set(re.findall(r'href="([^"]+)"', text))
    assert {"/docs", "/redoc", "/openapi.json", "/guide", "/admin", "/health"} <= links


async def test_the_front_door_of_a_server_with_keys_shows_where_one_goes(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    make_key()
    url = await serve()
    async with http.get(url, headers={"Accept": BROWSER, "Host": "api.example.com"}) as response:
        text = await response.text()
    assert "curl http://api.example.com/api/generate -H 'X-API-Key: aio_…'" in text


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/admin"])
async def test_the_other_pages_lead_to_the_guide(serve: Serve, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(await serve() + path) as response:
        assert 'href="/guide"' in await response.text()
