"""Which of two forms of an answer a caller likes better (RFC 9110 §12.5.1)."""
import re

RANGE = re.compile(r"\s*([\w!#$&^.+*-]+/[\w!#$&^.+*-]+)\s*((?:;[^;]*)*)", re.ASCII)
QUALITY = re.compile(r";\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*(?:;|$)", re.ASCII | re.IGNORECASE)
LARGEST = 4096
"""Characters of a header that are looked at."""


def prefers(accept: str, kind: str, *, over: str) -> bool:
    """Whether the header `Accept` gives the media type `kind` a higher quality than `over`."""
    ranges = dict(qualities(accept[:LARGEST]))
    return quality(ranges, kind) > quality(ranges, over)


def qualities(accept: str) -> list[tuple[str, float]]:
    """The media ranges of the header, each with its quality: 1 unless told, and 0 where what is told is none."""
    found = []
    for part in accept.split(","):
        if asked := RANGE.fullmatch(part):
            told = QUALITY.search(asked[2])
            named = re.search(r";\s*q\s*=", asked[2], re.IGNORECASE)
            found.append((asked[1].lower(), float(told[1]) if told else 0.0 if named else 1.0))
    return found


def quality(ranges: dict[str, float], kind: str) -> float:
    """Of the ranges that hold the media type, the narrowest counts."""
    narrowest = (kind, f"{kind.partition('/')[0]}/*", "*/*")
    return next((ranges[name] for name in narrowest if name in ranges), 0.0)
