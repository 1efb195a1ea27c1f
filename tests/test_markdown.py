"""Markdown becomes HTML as CommonMark has it; no text becomes markup unasked, and what is not known is refused."""
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from aioapp.web.markdown import article
from tests.documents import DOCUMENTS

ATTRIBUTES = {"href", "src", "alt", "class", "id", "scope", "aria-label"}
TAGS = {"h1", "h2", "h3", "p", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "pre", "code", "a", "img",
        "strong", "em"}
PIECES = st.sampled_from((
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"', "'", "&", "&lt;", "`", "``", "```\n", "*", "**",
    "[", "](", ")", "!", "\\", "|", "|---|\n", "- ", "1. ", "# ", "## ", "\n", "\n\n", "  ", " ", "a", "_", "x.md",
    "\u202e", "\x00"))


class Outline(HTMLParser):
    """The tags, their attributes and the text, white space aside."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        told = sorted((name, value) for name, value in attrs if name in ("href", "src", "alt"))
        self.found.append(("begin", f"{tag} {told}"))
        if tag != "img":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.found.append(("end", tag))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.found.append(("text", " ".join(data.split())))


def outline(html: str) -> Outline:
    read = Outline()
    read.feed(html)
    read.close()
    assert read.open == []
    return read


def same(target: str) -> str:
    return target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_is_what_another_reader_of_markdown_makes_of_it(name: str) -> None:
    """So every construct in it is one that is known here; the links beside headings and empty heads of tables aside."""
    ours = re.sub(r'<a class="here".*?</a>', "", article(DOCUMENTS[name], place=same).html)
    theirs = MarkdownIt("commonmark").enable("table").render(DOCUMENTS[name])
    theirs = re.sub(r"<thead>\s*<tr>\s*(<th></th>\s*)+</tr>\s*</thead>", "", theirs)
    assert outline(ours).found == outline(theirs).found


@given(st.lists(PIECES, max_size=30).map("".join))
def test_no_text_becomes_markup_that_it_did_not_ask_for(text: str) -> None:
    try:
        made = article(text + "\n", place=lambda target: "/here").html
    except ValueError:
        return
    read = outline(made)
    assert {told.split(" ")[0] for kind, told in read.found if kind == "begin"} <= TAGS
    assert {name for name, _ in read.attributes} <= ATTRIBUTES
    assert {value for name, value in read.attributes if name in ("href", "src")} <= {"/here"} | {
        value for name, value in read.attributes if value is not None and value.startswith("#")}


@pytest.mark.parametrize("text", [
    "> quoted", "<b>raw</b>", "    indented", "~~~\ncode\n~~~", "---", "===", "  - nested", "* star", "1) one",
    "#### deep", "[x]: https://example.com", "| a |\n|:--|\n| b |", "```python\nnever ends", "| no table |", "+ plus"])
def test_what_is_not_known_is_refused_and_its_line_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="Line 3 is no Markdown that is known here"):
        article(f"One\n\n{text}\n", place=same)


def test_anchors_are_those_of_github_and_no_two_are_the_same() -> None:
    text = "# A & `b`: c_d!\n## Two words\n## Two words\n"
    assert [heading.anchor for heading in article(text, place=same).headings] == [
        "a--b-c_d", "two-words", "two-words-1"]


def test_where_links_lead_is_for_who_asks_to_say() -> None:
    assert 'href="/x?a=1&amp;b=&quot;"' in article("[x](y)\n", place=lambda target: '/x?a=1&b="').html
