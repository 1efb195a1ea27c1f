"""How many tokens a prompt may take, said before Claude has counted them."""
from unicodedata import normalize

from aioapp.generation import Prompt

PER_TURN = 16
PER_PROMPT = 64
"""Tokens that mark a turn and a prompt: Claude's own marks are not public, and known ones take a third of these."""


def most_tokens(prompt: Prompt) -> tuple[int, int]:
    """Never less than Claude will count: tokens of input, tokens of output.

    A tokenizer works on the bytes of UTF-8, and each token stands for one byte at least; so no text has more tokens
    than bytes. What stands around the text is counted by turn and by prompt. English has about four bytes to a token,
    so the bound is far above the truth, and whoever reserves by it must settle. The output is bounded by
    `max_tokens`, which covers thinking too.
    """
    texts = (prompt.system or "", *prompt.stop_sequences)
    turns = sum(PER_TURN + size(turn.content) for turn in prompt.messages)
    return PER_PROMPT + turns + sum(map(size, texts)), prompt.max_tokens


def size(text: str) -> int:
    """In bytes of UTF-8; a lone surrogate, which has none, takes as many as what it is replaced by.

    A tokenizer may first bring text to its compatible form, in which a character may become many: the longer counts.
    """
    if text.isascii():
        return len(text)
    return max(len(form.encode("utf-8", "surrogatepass")) for form in (text, normalize("NFKC", text)))
