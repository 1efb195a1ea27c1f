"""How many tokens a prompt may take, said before Claude has counted them."""
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from unicodedata import combining, decomposition, normalize

PER_TURN = 16
PER_PROMPT = 64
"""Tokens that mark a turn and a prompt: Claude's own marks are not public, and known ones take a third of these."""
GROWTH = 15
"""Bytes that a character of `GROWING` takes more in its compatible form, at most; `DOUBLY` twice as many."""
DOUBLY = "\ufdfa"
MOST_COUNTED = 10_000
"""Characters that are told apart. In a text that has more of those that grow, all may that are not ASCII."""


def most_tokens(turns: Sequence[str], *others: str) -> int:
    """Tokens of input: never less than Claude will count for `turns`, and `others` such as a system prompt.

    A tokenizer works on the bytes of UTF-8, and each token stands for one byte at least; so no text has more tokens
    than bytes. What stands around the text is counted by turn and by prompt. English has about four bytes to a token,
    so the bound is far above the truth, and whoever reserves by it must settle.
    """
    return PER_PROMPT + PER_TURN * len(turns) + size("".join((*turns, *others)))


def size(text: str) -> int:
    """In bytes of UTF-8; a lone surrogate, which has none, takes as many as what it is replaced by.

    A tokenizer may first bring text to its compatible form (NFKC), in which a character may become many. To make that
    form takes a time that grows with the square of the marks in a row; so what it takes at most is only counted.
    """
    if text.isascii():
        return len(text)
    _, growing = GROWING.subn("", text, MOST_COUNTED)
    taken = bytes_of(text)
    if growing == MOST_COUNTED:
        growing = min(len(text), taken - len(text))
    return taken + GROWTH * (growing + text.count(DOUBLY))


def bytes_of(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def growing() -> Iterator[str]:
    """The characters below U+10000 that may make a text's compatible form longer than the text.

    They are those whose own form is longer, and those that join what stands before them (UAX #15, `NFC_Quick_Check`):
    they may part, or take the place of, a mark that was one with its letter.
    """
    some = [chr(code) for code in chain(range(0x80, 0x3400), range(0xA600, 0xAC00), range(0xF900, 0x10000))]
    joining = {char for char in some if combining(char)} | set(map(chr, JAMO)) | set(second_parts(some))
    return (char for char in some
            if normalize("NFKD", char)[0] in joining or bytes_of(normalize("NFKC", char)) > bytes_of(char))


def second_parts(chars: Iterable[str]) -> Iterator[str]:
    for parts in map(str.split, map(decomposition, chars)):
        if len(parts) == 2 and not parts[0].startswith("<"):
            yield chr(int(parts[1], 16))


JAMO = (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))
"""The vowels and the last consonants that Korean syllables are made of."""
GROWING = re.compile(f"[{''.join(growing())}\U00010000-\U0001F2FF]")
"""Above U+FFFF it takes in some that do not grow: one range is quickly looked through."""
