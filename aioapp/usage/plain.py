"""What callers and Claude say, made fit for the database: one value that it cannot hold would keep all others out."""
from aioapp.messages.events import Usage

LONGEST_NAME = 256
LONGEST_PROMPT = 10_000
MOST_TOKENS = 10**9
MOST_NANODOLLARS = 10**15
"""A million dollars. What is more than these is nonsense; thousands of such still add up to less than 2**63."""


def plain(text: object, *, most: int = LONGEST_NAME) -> str:
    """At most so many characters, and only such as UTF-8 can write."""
    return str(text)[:most].encode("utf-8", "replace").decode()


def tokens(usage: Usage) -> tuple[int, int, int, int]:
    """Input, output, cache written, cache read: the order of every table here."""
    counts = (usage.input_tokens, usage.output_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens)
    return bounded(counts[0]), bounded(counts[1]), bounded(counts[2]), bounded(counts[3])


def bounded(count: int, *, most: int = MOST_TOKENS) -> int:
    return int(min(max(count, 0), most))
