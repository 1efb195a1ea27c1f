"""The dearest requests that anybody could think of, each as large as it may be: up to 1 MiB, a query up to 8 KiB."""
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

MOST = 2**20
"""Bytes of a body or a frame."""
QUERY = 7500
"""Bytes: aiohttp takes a request line of 8190."""
TURN = '{"role":"user","content":"%s"},'
MARKS = "\u0300\u0316"
"""They sort each other's places: a run of them takes quadratic time to normalise."""
EXPANDING = "\ufdfa"
"""Three bytes that are 33 in its compatible form; no character grows more."""

TEXTS: Mapping[str, str] = {
    "ASCII": "x", "accents": "\u00e9", "Korean": "\uac00", "emoji": "\U0001f600", "marks out of order": MARKS,
    "marks that block each other": "\u0308", "the character that expands most": EXPANDING,
    "letters with marks": "e\u0301", "escaped line breaks": "\\n", "escaped quotes": '\\"', "escapes": "\\u0061",
    "escaped controls": "\\u0001", "escaped surrogates": "\\ud83d\\ude00", "commas": "1,", "brackets": "[{",
    "all at once": 'e\u0301,\\"', "blanks": " ", "odd blanks": "\ufeff\u3000",
}
VALUES: Mapping[str, str] = {
    "empty objects": "[%s{}]/{},", "empty lists": "[%s[]]/[],", "zeros": "[%s0]/0,", "fractions": "[%s0]/1.5,",
    "numbers of 4,000 digits": f"[%s0]/{'9' * 4000},", "short texts": '[%s""]/"a",',
    "objects with many fields": '[%s{}]/{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0},',
    "one huge number": "%s0/9", "one huge fraction": "0.%s1/9", "blanks before it": "%s0/ ", "a huge text": '"%s"/x',
    "one field again and again": '{%s"a":0}/"a":0,',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dear:
    """`where` is a method and a path, or `FRAME`, or `FIRST FRAME` of a caller who has shown no key."""

    name: str
    where: str
    body: bytes = b""
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def filled(before: str, again: str, after: str, *, most: int = MOST) -> bytes:
    """`again` as often as `most` bytes hold, between the others."""
    start, part, end = before.encode(), again.encode(), after.encode()
    return start + part * ((most - len(start) - len(end)) // len(part)) + end


def lists(start: str, name: str) -> Iterator[tuple[str, bytes]]:
    """Bodies that begin with `start` and whose field `name` is anything but what it should be."""
    for said, shape in VALUES.items():
        form, again = shape.split("/")
        before, after = form.split("%s")
        yield f"{name}: {said}", filled(f'{start}"{name}":{before}', again, after + "}")


def unknown(start: str) -> Iterator[tuple[str, bytes]]:
    """Bodies that begin with `start`, with more fields than anybody knows."""
    fields = "".join(f'"{number:x}":0,' for number in range(MOST // 10))
    yield "116,000 unknown fields", f"{start}{fields}".encode()[:MOST].rpartition(b",")[0] + b"}"
    few = "".join(f'"{number:090}":0,' for number in range(9900))
    yield "9,900 unknown fields", f"{start}{few[:-1]}}}".encode()
    yield "an unknown field with a name of 1 MiB", filled(f'{start}"', "x", '":0}')
    yield "an unknown field with a name of escapes", filled(f'{start}"', "\\u0001", '":0}')
    yield "20 unknown fields with names of 50 kB", filled(
        start + "".join(f'"{number}{"n" * 50_000}":0,' for number in range(20)) + '"', "n", '":0}')
    yield "no JSON: deep nesting", b"[" * MOST
    yield "no JSON: deep objects", filled("", '{"a":', "")
    yield "no JSON: a text without end", filled(start + '"', '\\"', "")
    yield "no JSON: null bytes", b"\0" * MOST
    yield "no JSON: no UTF-8", b'"' + b"\xff" * (MOST - 1)


def texts(start: str, end: str) -> Iterator[tuple[str, bytes]]:
    for said, again in TEXTS.items():
        yield f"1 MiB of {said}", filled(start, again, end)


def options(start: str) -> Iterator[tuple[str, bytes]]:
    """What every operation's body takes."""
    yield from unknown(start)
    for name in ("stop_sequences", "max_tokens", "temperature", "nonesuch", "model", "effort"):
        yield from lists(start, name)
    for said, body in texts(start + '"system":"', '"}'):
        yield f"system: {said}", body
    for said, body in texts(start + f'"system":"{"x" * 10}","stop_sequences":["', '"]}'):
        yield f"stop_sequences: {said}", body
    for length in (100_000, 500_000):
        for said, again in TEXTS.items():
            text = '"%s"' % (again * (length // len(json.loads(f'"{again}"'))))
            if len((start + text).encode()) < MOST - 100:
                yield f"system: {length:,} characters, {said}", f'{start}"system":{text}}}'.encode()


def histories(start: str) -> Iterator[tuple[str, bytes]]:
    yield from lists(start, "history")
    for said, body in texts(start + '"history":[' + TURN.removesuffix('"},').replace("%s", ""), '"}]}'):
        yield f"history: one turn, {said}", body
    for turns in (100, 500, 2000):
        for said in ("ASCII", "accents", "emoji", "marks out of order", "letters with marks", "all at once", "blanks"):
            room = (MOST - len(start) - 14) // turns - len(TURN)
            text = TEXTS[said] * (room // len(TEXTS[said].encode()))
            yield f"history: {turns} turns, {said}", f'{start}"history":[{(TURN % text * turns)[:-1]}]}}'.encode()
    wrong = '{"role":"user","content":0,"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":0},'
    many = "{%s}," % "".join(f'"{number}":0,' for number in range(450))[:-1]
    yield "history: 21 turns with 450 unknown fields", f'{start}"history":[{(many * 21)[:-1]}]}}'.encode()
    for turns in (21, 500):
        yield f"history: {turns} turns with 11 faults", f'{start}"history":[{(wrong * turns)[:-1]}]}}'.encode()


def bodies() -> Iterator[Dear]:
    for where, start, more in (
            ("POST /api/generate", '{"prompt":"Hi",', ()), ("POST /api/stream", '{"prompt":"Hi",', ()),
            ("POST /api/chat", '{"message":"Hi",', histories('{"message":"Hi",')),
            ("POST /api/chat/stream", '{"message":"Hi",', histories('{"message":"Hi",'))):
        for name, body in (*options(start), *more):
            yield Dear(name=name, where=where, body=body)
    for again in ("x", "\\n", "\u00e9", MARKS, EXPANDING):
        yield Dear(name=f"prompt: 1 MiB of {again!a}", where="POST /api/generate",
                   body=filled('{"prompt":"', again, '"}'))
        yield Dear(name=f"prompt: 10,000 of {again[0]!a}", where="POST /api/generate",
                   body=('{"prompt":"%s"}' % (again * 10_000)[:10_000]).encode())


def frames() -> Iterator[Dear]:
    for name, body in (*options('{"prompt":"Hi",'), *options('{"prompt":"Hi","stream":true,'),
                       *histories('{"type":"chat","message":"Hi",')):
        yield Dear(name=name, where="FRAME", body=body)
    for field_name, start in (("id", '{"prompt":"Hi",'), ("type", "{"), ("key", '{"type":"auth",')):
        for said, again in TEXTS.items():
            yield Dear(name=f"{field_name}: 1 MiB of {said}", where="FRAME",
                       body=filled(f'{start}"{field_name}":"', again, '"}'))
    yield from (Dear(name=name, where="FIRST FRAME", body=body) for name, body in first())


def first() -> Iterator[tuple[str, bytes]]:
    for start in ('{"type":"chat","message":"x",', '{"type":"auth","key":"x",'):
        yield from unknown(start)
        for name in ("history", "key", "id"):
            yield from lists(start, name)
    yield "a key of 1 MiB", filled('{"type":"auth","key":"', "x", '"}')
    for said, again in (("empty objects", "{},"), ("zeros", "0,")):
        yield f"4 KiB of {said}", filled('{"type":"auth","key":[', again, "0]}", most=4096)
    yield "4 KiB of unknown fields", filled('{"type":"auth",', '"%x":0,', '"key":0}', most=4096)


def administration() -> Iterator[Dear]:
    for where, start, names in (
            ("POST /admin/keys", '{"name":"a",', ("models", "budget", "expires_at", "admin", "requests_per_minute")),
            ("POST /admin/keys/web/rotate", "{", ("grace_seconds", "nonesuch"))):
        for name, body in (*unknown(start), *(pair for name in names for pair in lists(start, name))):
            yield Dear(name=name, where=where, body=body)
    for said, again in TEXTS.items():
        yield Dear(name=f"models: 1 MiB of {said}", where="POST /admin/keys",
                   body=filled('{"name":"a","models":["', again, '"]}'))
        yield Dear(name=f"name: 1 MiB of {said}", where="POST /admin/keys", body=filled('{"name":"', again, '"}'))
    stars = ",".join(['"%s"' % ("*a" * 64)] * 50)
    yield Dear(name="models: 50 patterns of stars", where="POST /admin/keys",
               body=f'{{"name":"a","models":[{stars}],"budget":{{"usd":0,"per":"day"}}}}'.encode())
    yield Dear(name="a path of 7,500 bytes", where=f"GET /admin/keys/{'%F0%9F%98%80' * 600}")


def forms() -> Iterator[Dear]:
    """What the page for administrators is signed in to by."""
    for name, body in (
            ("a key of 1 MiB", filled("key=", "x", "")), ("blanks", filled("key=", "+", "")),
            ("many fields", filled("", "a=1&", "key=x")), ("no fields", filled("", "&", "key=x")),
            ("no text", b"\xff" * MOST)):
        yield Dear(name=f"form: {name}", where="POST /admin/session", body=body,
                   headers={"Content-Type": "application/x-www-form-urlencoded"})


def lines() -> Iterator[Dear]:
    """What stands in a request's first line and in its headers."""
    for name, query in (
            ("one name again and again", "a=1&" * (QUERY // 4)),
            ("a known name again and again", "by=1&" * (QUERY // 5)),
            ("many names", "".join(f"{number:x}=1&" for number in range(QUERY // 6))), ("no names", "&" * QUERY),
            ("escapes", "by=" + "%41" * (QUERY // 3)), ("an escaped name", "%F0%9F%98%80" * (QUERY // 12) + "=1"),
            ("controls", "%01" * (QUERY // 3) + "=1"), ("a long number", "limit=" + "9" * QUERY)):
        for path in ("/admin/usage", "/admin/requests", "/api/usage", "/health"):
            yield Dear(name=f"query: {name}", where=f"GET {path}", query=query)
    for coding, packed in (("deflate", zlib.compress(b"x" * 2**27)), ("gzip", gzip.compress(b"x" * 2**27))):
        for where in ("POST /api/generate", "POST /admin/session", "GET /health/live"):
            yield Dear(name=f"128 MiB, by {coding}", where=where, body=packed, headers={"Content-Encoding": coding})
    for header in ("X-Request-ID", "X-API-Key", "Cookie", "Authorization", "Origin", "Host", "X-Forwarded-For"):
        yield Dear(name=f"{header}: 8,000 bytes", where="GET /api/usage", headers={header: "x;=," * 2000})


def catalogue() -> Iterator[Dear]:
    """All of them, one at a time: together they take a gigabyte."""
    yield from bodies()
    yield from frames()
    yield from administration()
    yield from forms()
    yield from lines()
