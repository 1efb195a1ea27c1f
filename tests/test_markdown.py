"""Our documents are what another reader of Markdown makes of them, so each construct in them is one that is known."""
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from aioapp.web.markdown import article
from tests.documents import PAGES, ROOT


class Outline(HTMLParser):
    """The tags, their attributes and the text, white space aside."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
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


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: str(path.stem))
def test_every_document_is_what_another_reader_of_markdown_makes_of_it(path: Path) -> None:
    """So every construct in it is one that is known here; the links beside headings and empty heads of tables aside."""
    text = path.read_text(encoding="utf-8")
    ours = re.sub(r'<a class="here".*?</a>', "", article(text, place=same).html)
    theirs = MarkdownIt("commonmark").enable("table").render(text)
    theirs = re.sub(r"<thead>\s*<tr>\s*(<th></th>\s*)+</tr>\s*</thead>", "", theirs)
    assert outline(ours).found == outline(theirs).found


def test_anchors_are_those_of_github_and_no_two_are_the_same() -> None:
    text = "# A & `b`: c_d!\n## Two words\n## Two words\n"
    assert [heading.anchor for heading in article(text, place=same).headings] == [
        "a--b-c_d", "two-words", "two-words-1"]
