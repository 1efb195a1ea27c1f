"""What is answered: the text, its tokens, and where they end."""
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from aioapp.simulator.errors import Json
from aioapp.simulator.examples import example_of
from aioapp.simulator.models import Model
from aioapp.simulator.tools import Call, calls_in, told_results, written

LONGEST_COUNT = 128_000     # more numbers than any model may say

TOKEN = re.compile(r"\s*\w{1,6}|\s*[^\w\s]|\s+")
COUNTING = re.compile(r"\bcount (?:up )?to ([0-9]{1,9})", re.IGNORECASE)
TOPIC = re.compile(r"[^\W\d_]{4,24}")
THOUGHT = "The user writes about {topic}. A few sentences and a short list should do; I need not look anything up."
ANSWER = """You wrote about {topic} — and this is the simulator's answer, which has counted your {words} words and \
understood none of them. It is turn {turn} of our conversation.

What you may rely on:
- The same prompt gets the same answer, to the last character.
- Limits and stop sequences are kept, and every token is counted.
- No model was asked, however naïve the question.

Ask me to count to a number when you need an answer of a known length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model thought and said, in tokens, the tools it calls, and why it stopped."""

    thought: Sequence[str] = ()
    said: Sequence[str] = ()
    calls: Sequence[Call] = ()
    stop_reason: str
    stop_sequence: str | None = None

    @property
    def tokens(self) -> int:
        """How many all that took."""
        return len(self.thought) + len(self.said) + sum(len(TOKEN.findall(written(call.given))) for call in self.calls)


def generate(body: Json, model: Model) -> Answer:
    """The answer within `max_tokens`, which covers thinking and text."""
    if model.id == "simulate-refusal":
        return Answer(stop_reason="refusal")
    prompt, results = prompt_of(body["messages"]), told_results(body["messages"])
    thought, text = compose(body["messages"], prompt)
    match body.get("output_config"):
        case {"format": {"type": "json_schema", "schema": schema}}:
            text = written(example_of(schema))
    thinking = TOKEN.findall(thought) if thinks(body, model) else []
    if not results and (calls := calls_in(body, prompt)):
        return within(body["max_tokens"], Answer(thought=thinking, calls=calls, stop_reason="tool_use"))
    text, stop = cut_at("\n".join(results) or text, body.get("stop_sequences", ()))
    return within(body["max_tokens"], Answer(
        thought=thinking, said=TOKEN.findall(text), stop_reason="stop_sequence" if stop else "end_turn",
        stop_sequence=stop))


def within(limit: int, answer: Answer) -> Answer:
    """The answer as far as `limit` tokens go; a call that is not whole is left out."""
    if answer.tokens <= limit:
        return answer
    thought = answer.thought[:limit]
    return Answer(thought=thought, said=answer.said[:limit - len(thought)], stop_reason="max_tokens")


def prompt_of(messages: Sequence[Json]) -> str:
    """The text of the last user message."""
    return next((text_of(turn["content"]) for turn in reversed(messages) if turn["role"] == "user"), "")


def compose(messages: Sequence[Json], prompt: str) -> tuple[str, str]:
    """The thought and the text that answer the conversation; the same for the same."""
    topic = ", ".join(list(dict.fromkeys(TOPIC.findall(prompt)))[:3]) or "nothing in particular"
    turns = sum(role == "user" for role, _ in groupby(turn["role"] for turn in messages))
    text = ANSWER.format(topic=topic, words=len(prompt.split()), turn=turns)
    if counting := COUNTING.search(prompt):
        text = ", ".join(map(str, range(1, min(int(counting[1]), LONGEST_COUNT) + 1)))
    return THOUGHT.format(topic=topic), text


def text_of(content: str | list[Json]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content if block["type"] == "text")


def cut_at(text: str, stops: Iterable[str]) -> tuple[str, str | None]:
    """`text` up to the stop sequence that is complete first, and that sequence."""
    ends = [(text.index(stop) + len(stop), stop) for stop in stops if stop in text]
    end, stop = min(ends, default=(len(text), ""))
    return text[:end - len(stop)], stop or None


def thinks(body: Json, model: Model) -> bool:
    if "thinking" not in body:
        return model.thinks_unasked
    return body["thinking"]["type"] in ("adaptive", "enabled")
