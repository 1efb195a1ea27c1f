"""The guide and the front door: read by everybody, made of Markdown once, and running nothing."""
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioapp.endpoints.guide import FOLDER, contents, whole
from aioapp.web.markdown import article
from aioapp.web.negotiation import prefers
from tests.browser import Browser, find_chromium, open_browser
from tests.conftest import Serve
from tests.keyed import make_key
from tests.test_docs import assert_clean, chromium

ROOT = Path(__file__).parent.parent
PAGES = contents((FOLDER / "index.md").read_text(encoding="utf-8"))
MARKUP = st.text(alphabet=st.sampled_from("<>&\"'`*[]()|#-+~=\\!:/. \nab1é"), max_size=60)
TAG = re.compile(r"<(/?)([a-z0-9]+)((?: [a-z-]+=\"[^\"<>]*\")*)>")
TAGS = {"h1", "h2", "h3", "p", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "pre", "code", "a", "img",
        "strong", "em"}


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with open_browser(chromium(find_chromium(), os.environ), tmp_path / "profile") as browser:
        yield browser


def nowhere(target: str) -> str:
    return "#there"


def test_the_readme_fits_its_reader_and_leads_to_every_page_of_the_guide() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 250
    linked = set(re.findall(r"aioapp/pages/guide/(\w+)\.md", readme))
    assert linked == {path.stem for path in FOLDER.glob("*.md")} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_page_leads_to_a_page_and_a_part_that_there_is(name: str) -> None:
    ids = {other: set(re.findall(r' id="([^"]+)"', whole(other, PAGES))) for other in PAGES}
    for path, anchor in re.findall(r'href="(/guide(?:/\w+)?)?(?:#([^"]*))?"', whole(name, PAGES)):
        other = name if not path else path.removeprefix("/guide").removeprefix("/") or "index"
        assert other in PAGES and (not anchor or anchor in ids[other]), (path, anchor)


@given(MARKUP)
def test_no_text_becomes_markup_but_what_markdown_says(text: str) -> None:
    try:
        made = article(text, place=nowhere).html
    except ValueError:
        return  # what is not known is refused
    assert {tag for _, tag, _ in TAG.findall(made)} <= TAGS
    assert "<" not in TAG.sub("", made) and '"' not in re.sub(r"<[^>]*>", "", made).replace('"', "", text.count('"'))


@pytest.mark.parametrize(("text", "expected"), [
    ("# A `b` & *c*\n", '<h1 id="a-b--c">A <code>b</code> &amp; <em>c</em></h1>\n'),
    ("a\nb **c**\n\n- d\n  e\n- f\n", "<p>a\nb <strong>c</strong></p>\n<ul>\n<li>d\ne</li>\n<li>f</li>\n</ul>\n"),
    ("| a | b |\n|---|---|\n| `x \\| y` | <b> |\n", (
        '<table>\n<thead>\n<tr><th scope="col">a</th><th scope="col">b</th></tr>\n</thead>\n'
        "<tbody>\n<tr><td><code>x | y</code></td><td>&lt;b&gt;</td></tr>\n</tbody>\n</table>\n")),
    ("```sh\n<a> & 'b'\n```\n", '<pre><code class="language-sh">&lt;a&gt; &amp; &#x27;b&#x27;\n</code></pre>\n'),
    ("[a *b*](c.md) \\*d\\*\n", '<p><a href="#there">a <em>b</em></a> *d*</p>\n')])
def test_markdown_is_what_it_is_elsewhere(text: str, expected: str) -> None:
    assert article(text, place=nowhere).html == expected


@pytest.mark.parametrize("text", ["> quoted\n", "    code\n", "<b>\n", "#### deep\n", "* star\n", "---\n"])
def test_what_is_not_known_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ValueError, match="^Line 3 "):
        article("fine\n\n" + text, place=nowhere)


@pytest.mark.parametrize(("accept", "expected"), [
    ("", False), ("*/*", False), ("application/json", False), ("text/html", True), ("text/html;q=0", False),
    ("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8", True),
    ("application/json, text/html", False), ("application/json;q=0.9, text/*", True), ("text/html;q=0.5, */*", False),
    ("TEXT/HTML ; Q=0.5", True), ("text/html;q=2", False), ("text/html;q=x, nonsense", False)])
def test_a_page_is_for_whoever_likes_it_better(accept: str, expected: bool) -> None:
    assert prefers(accept, "text/html", over="application/json") is expected


async def test_the_front_door_is_for_browsers_and_programs_get_what_they_got(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    make_key()
    url = await serve()
    async with http.get(url, headers={"Accept": "*/*"}) as response:
        assert (response.status, response.content_type) == (200, "application/json")
        assert "Accept" in response.headers["Vary"]
    async with http.get(url, headers={"Accept": "text/html"}) as response:
        assert (response.status, response.content_type) == (200, "text/html")
        assert "Accept" in response.headers["Vary"] and "X-API-Key: aio_…" in await response.text()
    for path, status in (
            ("/guide", 200), ("/guide/keys", 200), ("/guide/nothing", 404), ("/guide/index.md", 404),
            ("/guide/..%2f..%2fapp", 404), ("/guide/assets/admin.png", 200), ("/guide/assets/keys.md", 404)):
        async with http.get(url + path) as response:
            assert response.status == status, path


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/admin"])
async def test_the_other_pages_lead_to_the_guide(serve: Serve, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(await serve() + path) as response:
        assert 'href="/guide"' in await response.text()


async def test_every_page_is_shown_without_internet_and_fits_a_phone(serve: Serve, browser: Browser) -> None:
    url = await serve()
    page = await browser.open_page(url)
    assert await page.evaluate("document.querySelector('a[href=\"/guide\"]') !== null")
    for name in PAGES:
        await page.visit(f"{url}/guide/{name}")
        assert await page.evaluate("document.querySelector('h1') !== null"), name
        for width in (1280, 390):
            await page.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
    assert_clean(page, url)
