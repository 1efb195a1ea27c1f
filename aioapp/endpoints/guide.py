"""The guide: Markdown that is also read where the code is hosted, served as plain HTML, which runs nothing."""
import re
from collections.abc import Sequence
from functools import cache
from html import escape

from aiohttp import web

from aioapp.web.endpoint import Endpoint, Handler
from aioapp.web.markdown import Article, Heading, article
from aioapp.web.pages import PAGES, STILL, html, parts_of, scripts_in

FOLDER = PAGES / "guide"
FIRST = "index"
ROW = re.compile(r"^\| \[([^]]+)\]\((\w+)\.md\) \|", re.MULTILINE)
"""A row of the first page's table, which says what pages there are, and in which order."""
TARGET = re.compile(r"(?:(\w+)\.md)?(#[\w-]+)?")
SAFE = ("https://", "http://127.0.0.1:")


def guide() -> tuple[Endpoint, ...]:
    """The guide's pages and what they need, for everybody."""
    def part(name: str, path: str, *, handler: Handler, summary: str) -> Endpoint:
        return Endpoint(name=name, path=path, handler=handler, summary=summary, access="open", documented=False)

    page = pages()
    return (
        part("guide", "/guide", handler=page, summary="The guide"),
        part("guidePage", "/guide/{page}", handler=page, summary="A page of it"),
        part("guideAsset", "/guide/assets/{name}", handler=parts_of(FOLDER, scripts_in(FOLDER)),
             summary="Parts of the pages"),
    )


def pages() -> Handler:
    """Sends the page that is asked for. Each is made once, when it is first asked for: that takes two milliseconds."""
    @cache
    def names() -> dict[str, str]:
        return contents((FOLDER / f"{FIRST}.md").read_text(encoding="utf-8"))

    @cache
    def made(name: str) -> str:
        return whole(name, names())

    async def handle(request: web.Request) -> web.Response:
        name = request.match_info.get("page", FIRST)
        if name not in names():
            raise web.HTTPNotFound()
        return html(made(name), policy=STILL, headers={"Referrer-Policy": "no-referrer"})

    return handle


def contents(first: str) -> dict[str, str]:
    """The titles of all pages by their names, in order."""
    return {FIRST: "The guide", **{name: title for title, name in ROW.findall(first)}}


def whole(name: str, names: dict[str, str]) -> str:
    """A page with its frame: what pages there are, what stands on this one, and what comes before and after it."""
    text = article((FOLDER / f"{name}.md").read_text(encoding="utf-8"), place=place)
    parts = {"title": escape(names[name]), "contents": menu(name, names, text=text), "article": text.html,
             "around": around(name, names)}
    frame = (FOLDER / "guide.html").read_text(encoding="utf-8")
    return re.sub(r"<!-- (\w+) -->", lambda mark: parts[mark[1]], frame)


def place(target: str) -> str:
    """Where a link of the sources leads here. Raises `ValueError` for any that would lead nowhere."""
    if found := TARGET.fullmatch(target):
        page = "" if found[1] is None else address(found[1])
        return page + (found[2] or "")
    if target.startswith(SAFE):
        return target
    if (FOLDER / target).suffix == ".png" and "/" not in target:
        return f"/guide/assets/{target}"
    raise ValueError(f"{target} is no place that a page of the guide leads to")


def address(name: str) -> str:
    return "/guide" if name == FIRST else f"/guide/{name}"


def menu(name: str, names: dict[str, str], *, text: Article) -> str:
    """All pages, and under the one that is shown its parts."""
    entries = []
    for other, title in names.items():
        here = ' aria-current="page"' if other == name else ""
        parts = inner(text.headings) if other == name else ""
        entries.append(f'<li><a href="{address(other)}"{here}>{escape(title)}</a>{parts}</li>')
    return "<ul>" + "\n".join(entries) + "</ul>"


def inner(headings: Sequence[Heading]) -> str:
    parts = [heading for heading in headings if heading.level == 2]
    links = "".join(f'<li><a href="#{escape(part.anchor)}">{part.html}</a></li>' for part in parts)
    return f"<ul>{links}</ul>" if parts else ""


def around(name: str, names: dict[str, str]) -> str:
    order = list(names)
    at = order.index(name)
    before = order[at - 1] if at else None
    after = order[at + 1] if at + 1 < len(order) else None
    return "".join(f'<a href="{address(other)}" rel="{rel}">{escape(names[other])}</a>'
                   for other, rel in ((before, "prev"), (after, "next")) if other)
