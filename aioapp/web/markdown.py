"""Markdown as HTML: as much of CommonMark 0.31, and of GitHub's tables, as our own pages are written in.

Headings, paragraphs, flat lists, tables, fenced code; in them code, links, images, emphasis and backslash escapes. A
block of any other kind is refused: better no page than one that shows something as what it is not.
"""
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape, unescape

START = r"```|[#]{1,6}[ ]|[|]|[-*+][ ]|\d{1,9}[.)][ ]|[ \t<>~=]|[-*_]{3}|\[[^]]*\]:"
"""What begins a line that is no line of a paragraph."""
BLOCK = re.compile(rf"""
    (?P<blank>\n)
  | (?P<fence>```(?P<language>\w*)\n(?P<code>(?s:.*?))^```\n)
  | (?P<heading>(?P<marks>[#]{{1,3}})[ ](?P<title>\S.*)\n)
  | (?P<table>[|](?P<head>.*)[|]\n[|](?:[ ]?-+[ ]?[|])+\n(?P<rows>(?:[|].*[|]\n)*))
  | (?P<bullets>(?:-[ ]\S.*\n(?:[ ]{{2}}(?!{START})\S.*\n)*)+)
  | (?P<numbers>(?:\d[.][ ]\S.*\n(?:[ ]{{3}}(?!{START})\S.*\n)*)+)
  | (?P<paragraph>(?:(?!{START}).+\n)+)
    """, re.VERBOSE | re.MULTILINE)
ITEM = re.compile(r"^(?:-|\d\.) ", re.MULTILINE)
CELL = re.compile(r"(?<!\\)\|")
INLINE = re.compile(r"""
    (?P<code>(?P<ticks>`+)(?!`)(?P<said>.+?)(?<!`)(?P=ticks)(?!`))
  | (?P<image>!\[(?P<alt>[^][`*]*)\]\((?P<source>[^()\s]+)\))
  | (?P<link>\[(?P<label>(?:`[^`]*`|[^][`])+)\]\((?P<target>[^()\s]+)\))
  | (?P<strong>\*\*(?=\S)(?P<loud>(?:`[^`]*`|[^`*])+)(?<=\S)\*\*)
  | (?P<stress>\*(?=\S)(?P<soft>(?:`[^`]*`|[^`*])+)(?<=\S)\*)
  | (?P<escape>\\(?P<escaped>[!-/:-@[-`{-~]))
    """, re.VERBOSE | re.DOTALL)
TAG = re.compile(r"<[^>]*>")

Place = Callable[[str], str]
"""Where a link or an image of the source leads in what is made of it. Raises `ValueError` where it must not lead."""


@dataclass(frozen=True, slots=True)
class Heading:
    """`level` is 1 to 3; `anchor` is its id in the page, the same that GitHub gives it; `html` is what it says."""

    level: int
    anchor: str
    html: str


@dataclass(frozen=True, slots=True)
class Article:
    """A text as HTML, and its headings from the first to the last."""

    html: str
    headings: tuple[Heading, ...]


def article(text: str, *, place: Place) -> Article:
    """The text as HTML, in which nothing of it is markup but what is Markdown. Raises `ValueError` with the line."""
    headings: list[Heading] = []
    seen: Counter[str] = Counter()
    pieces = []
    for block in blocks(text):
        if block.lastgroup == "heading":
            headings.append(heading(block, place=place, seen=seen))
            pieces.append(shown(headings[-1]))
        else:
            pieces.append(as_html(block, place=place))
    return Article("\n".join(filter(None, pieces)) + "\n", tuple(headings))


def blocks(text: str) -> Iterator[re.Match[str]]:
    at = 0
    while at < len(text):
        block = BLOCK.match(text, at)
        if block is None:
            line = text[at:].partition("\n")[0]
            raise ValueError(f"Line {text.count(chr(10), 0, at) + 1} is no Markdown that is known here: {line}")
        yield block
        at = block.end()


def heading(block: re.Match[str], *, place: Place, seen: Counter[str]) -> Heading:
    html = inline(block["title"].rstrip(), place=place)
    name = re.sub(r"[^\w\- ]", "", unescape(TAG.sub("", html)).lower()).replace(" ", "-")
    seen[name] += 1
    return Heading(len(block["marks"]), name if seen[name] == 1 else f"{name}-{seen[name] - 1}", html)


def shown(heading: Heading) -> str:
    """A heading, with a link to itself beside it, for who wants to send it on."""
    anchor = escape(heading.anchor)
    link = f'<a class="here" href="#{anchor}" aria-label="Link to this part">#</a>' if heading.level > 1 else ""
    return f'<h{heading.level} id="{anchor}">{heading.html}{link}</h{heading.level}>'


def as_html(block: re.Match[str], *, place: Place) -> str:
    match block.lastgroup:
        case "fence":
            language = f' class="language-{block["language"]}"' if block["language"] else ""
            return f"<pre><code{language}>{escape(block['code'])}</code></pre>"
        case "table":
            return table(block, place=place)
        case "bullets":
            return listed("ul", block[0], place=place)
        case "numbers":
            return listed("ol", block[0], place=place)
        case "paragraph":
            return f"<p>{inline(block[0].strip(), place=place)}</p>"
    return ""


def listed(tag: str, text: str, *, place: Place) -> str:
    items = (re.sub(r"\n +", "\n", item.strip()) for item in ITEM.split(text)[1:])
    return f"<{tag}>\n" + "".join(f"<li>{inline(item, place=place)}</li>\n" for item in items) + f"</{tag}>"


def table(block: re.Match[str], *, place: Place) -> str:
    """A table; without a head where nothing stands in it, and in each cell what its column is called."""
    names = cells(block["head"], place=place)
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    rows = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells(line[1:-1], place=place)) + "</tr>\n"
        for line in block["rows"].splitlines())
    return (f"<table>\n<thead>\n<tr>{head}</tr>\n</thead>\n" if any(names) else "<table>\n") + (
        f"<tbody>\n{rows}</tbody>\n</table>")


def cells(line: str, *, place: Place) -> list[str]:
    return [inline(cell.strip().replace(r"\|", "|"), place=place) for cell in CELL.split(line)]


def inline(text: str, *, place: Place) -> str:
    """What stands within a block."""
    pieces: list[str] = []
    at = 0
    for part in INLINE.finditer(text):
        pieces += escape(text[at:part.start()], quote=False), inside(part, place=place)
        at = part.end()
    return "".join(pieces) + escape(text[at:], quote=False)


def inside(part: re.Match[str], *, place: Place) -> str:
    match part.lastgroup:
        case "code":
            said = part["said"].replace("\n", " ")
            padded = said[0] == said[-1] == " " and said.strip() != ""
            return f"<code>{escape(said[1:-1] if padded else said, quote=False)}</code>"
        case "image":
            return f'<img src="{escape(place(part["source"]))}" alt="{escape(part["alt"])}">'
        case "link":
            return f'<a href="{escape(place(part["target"]))}">{inline(part["label"], place=place)}</a>'
        case "strong":
            return f"<strong>{inline(part['loud'], place=place)}</strong>"
        case "stress":
            return f"<em>{inline(part['soft'], place=place)}</em>"
    return escape(part["escaped"], quote=False)
