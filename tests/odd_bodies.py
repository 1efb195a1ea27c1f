"""Random bodies for the relay: nearly requests of a model that a key may use, with another one hidden in them."""
import json
import random
from collections.abc import Iterator
from typing import Any

MINE, OTHER = "claude-haiku-5-5", "claude-opus-5-5"
FIELDS = ("model", r"mod\u0065l", "Model", "models", "fallback_model", "fallbacks", "tools", "messages", "content",
          "system", "stream", "max_tokens", "metadata", "input_schema", "source", "data", "type", "", "output_config")
ODD_TEXTS = (r'"\ud800"', r'"\u0000"', '"\ufeff"', r'"cl\u0061ude-opus-5-5"', r'"a,[{\""', '"é"', '"')


def odd_value(luck: random.Random, depth: int = 0) -> str:
    """JSON, nearly always, that may name models at any depth."""
    kind = luck.randrange(14 if depth < 4 else 9)
    match kind:
        case 0:
            return luck.choice(["0", "-0", "1e5", "-1", "9" * 40, "1e999", "NaN", "Infinity", "01", "0.5", "null"])
        case 1 | 2:
            return f'"{luck.choice([MINE, OTHER])}"'
        case 3:
            return luck.choice(ODD_TEXTS)
        case 4 | 5 | 6 | 7 | 8:
            return luck.choice(["5", '"x"', '"user"', "[]", "{}", "false"])
        case 9 | 10:
            return "[" + ",".join(odd_value(luck, depth + 1) for _ in range(luck.randrange(4))) + "]"
    return odd_object(luck, depth + 1)


def odd_object(luck: random.Random, depth: int) -> str:
    pairs = (f'"{luck.choice(FIELDS)}":{odd_value(luck, depth)}' for _ in range(luck.randrange(5)))
    return "{" + ",".join(pairs) + "}"


def odd_body(luck: random.Random) -> bytes:
    """A body that is a request of a model for all that can be seen, with something else in it, or about it."""
    pairs = [f'"model":"{MINE}"', '"max_tokens":5', '"messages":[]']
    for _ in range(luck.randrange(5)):
        pairs.insert(luck.randrange(len(pairs) + 1), f'"{luck.choice(FIELDS)}":{odd_value(luck)}')
    if luck.random() < 0.2:
        pairs.pop(luck.randrange(len(pairs)))
    text = "{" + ",".join(pairs) + "}" + luck.choice(["", "", "", "", " ", "\n", "\0", "{}", "//", ","])
    raw = text.encode(luck.choice(["utf-8"] * 12 + ["utf-16", "utf-16-le", "utf-8-sig", "utf-32", "utf-7"]))
    if luck.random() < 0.1:
        at = luck.randrange(len(raw))
        raw = raw[:at] + luck.randbytes(luck.randrange(4)) + raw[at + luck.randrange(3):]
    return raw


def large_bodies(luck: random.Random) -> Iterator[bytes]:
    """Of about 30 MB each."""
    head = f'{{"model":"{MINE}","max_tokens":5,"messages":['.encode()
    size = 30_000_000
    yield head + b'{"role":"user","content":"' + b"1,2\\n" * (size // 5) + b'"}]}'
    yield head + b"0," * (size // 2) + b"0]}"
    yield head + b'"' + b"x" * size + f'"],"tools":[{{"model":"{OTHER}"}}]}}'.encode()
    yield head + b"[" * size
    yield head + b'],"model":' + b" " * size + f'"{OTHER}"}}'.encode()
    yield luck.randbytes(size)


def named(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object as the most generous reader takes it: of a name that comes twice, all values count."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        found[name] = [found[name], value] if name in found else value
    return found


def texts_under(value: Any, *, named: bool) -> Iterator[str]:
    """The models that a generous reader may find."""
    match value:
        case str() if named:
            yield value
        case list():
            for inner in value:
                yield from texts_under(inner, named=named)
        case dict():
            for name, inner in value.items():
                if named or name not in ("input_schema", "messages", "system", "metadata"):
                    yield from texts_under(inner, named=named or name in ("model", "models", "fallback_model"))


def forbidden_in(raw: bytes) -> set[str]:
    """The models that a body names which the key may not use, whichever of two values is taken for a name."""
    value = json.loads(raw, object_pairs_hook=named)
    return {name for name in texts_under(value, named=False) if name == OTHER}
