"""One answer in a conversation: the history goes to Claude as real turns."""
from collections.abc import Mapping
from typing import Any

from marshmallow import fields

from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.web.fields import choice, many, one, text, whole
from aioapp.web.operations.operation import Operation, prompt_of
from aioapp.web.schemas import MOST_TEXT, Answer, Body, Options

MOST_TURNS = 500


class TurnBody(Body):
    role = choice(("user", "assistant"), required=True)
    content = text(least=1, most=MOST_TEXT, blank=False, required=True)


class ChatBody(Options):
    message = text(least=1, most=10_000, blank=False, required=True)
    history = many(one(TurnBody, required=True), most=MOST_TURNS,
                   description="The conversation so far, oldest turn first.")
    max_tokens = whole(1, 8000, load_default=1000, description="Most tokens of the answer.")


class ChatAnswer(Answer):
    message_count = fields.Integer(required=True, metadata={"description": "Turns so far, this answer included."})


def chat(body: Mapping[str, Any]) -> TextPrompt:
    history = [Turn(turn["role"], turn["content"]) for turn in body.get("history", ())]
    return prompt_of(body, *history, Turn("user", body["message"]))


CHAT = Operation(
    name="chat",
    path="/api/chat",
    stream_path="/api/chat/stream",
    summary="Answer in a conversation",
    body=ChatBody,
    prompt=chat,
    answer=ChatAnswer,
    extra=lambda prompt: {"message_count": len(prompt.messages) + 1},
    example={
        "message": "And in one sentence?",
        "history": [
            {"role": "user", "content": "What is a coroutine?"},
            {"role": "assistant", "content": "A function that can wait and be resumed."},
        ],
    },
)
