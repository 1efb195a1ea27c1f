"""Makes one message of the events that tell it."""
from collections.abc import Iterable, Mapping
from io import StringIO
from typing import Any

from aioapp.errors import UpstreamFailed
from aioapp.messages.billing import told
from aioapp.messages.events import Deltas, Event, Message, payload


class Fold:
    """Gathers a stream's events into the message that they tell, one event at a time."""

    __slots__ = ("_body", "_message", "_texts")

    def __init__(self) -> None:
        self._body: dict[str, Any] = {}
        self._message: Message | None = None  # once it is found to be whole, until another event comes
        self._texts: dict[int, StringIO] = {}  # a list of pieces would take ten times as much memory

    def add(self, event: Event) -> str:
        """Take one event in, and give the text that it adds to the answer, most often none.

        Raises `UpstreamFailed` where it does not fit those before it.
        """
        try:
            return self._take(event)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError):
            raise UpstreamFailed(f"Claude sent a {event.name} event that makes no sense here.") from None

    def add_all(self, batch: Iterable[Event]) -> tuple[list[str], UpstreamFailed | None]:
        """Take events in; gives the pieces of text that they add, and what is wrong with the one behind those."""
        pieces: list[str] = []
        for event in batch:
            try:
                if piece := self.add(event):
                    pieces += event.texts if type(event) is Deltas else (piece,)
            except UpstreamFailed as error:
                return pieces, error
        return pieces, None

    def so_far(self) -> Mapping[str, Any]:
        """The message's body as far as it is known: empty before the stream has begun."""
        return self._body

    def message(self) -> Message:
        """The message. Raises `UpstreamFailed` where what was taken in tells none, or only a part of one."""
        if self._message is not None:
            return self._message
        match self._body:
            case {"model": str(), "content": [*blocks]} if all(map(is_block, blocks)) and self._is_sound():
                self._message = Message(self._body)
                return self._message
        raise UpstreamFailed("Claude's answer is not a message.")

    def _is_sound(self) -> bool:
        """Whether every block has ended, and what callers are told of the answer is of the kind they are told."""
        reason, usage = self._body.get("stop_reason"), self._body.get("usage")
        return not self._texts and isinstance(reason, str | None) and isinstance(usage, dict | None)

    def _take(self, event: Event) -> str:
        self._message = None
        match event.name:
            case "content_block_delta" if type(event) is Deltas:
                return self._extend(event.block, {"type": "text_delta", "text": "".join(event.texts)})
            case "content_block_delta":
                data = payload(event)
                return self._extend(data["index"], data["delta"])
            case "message":
                self._begin(payload(event))
                return self.message().text
            case "message_start":
                self._begin(payload(event)["message"])
            case "content_block_start":
                data = payload(event)
                return self._open(data["index"], data["content_block"])
            case "content_block_stop":
                self._close(payload(event)["index"])
            case "message_delta":
                data = payload(event)
                self._body.update(data["delta"])
                # Cumulative: overwrite, never add; what is not named keeps the value that message_start gave it.
                self._body.setdefault("usage", {}).update(told(data.get("usage") or {}))
            case "message_stop":
                self.message()
        return ""

    def _begin(self, body: object) -> None:
        if not isinstance(body, dict):
            raise TypeError("A message is an object.")
        self._body = body

    def _open(self, index: int, block: Mapping[str, Any]) -> str:
        blocks = self._body["content"]
        if type(index) is not int or index != len(blocks) or not is_block(block):
            raise ValueError("A block begins behind those that there are.")
        blocks.append(block)
        return str(block["text"]) if block["type"] == "text" else ""

    def _block(self, index: int) -> dict[str, Any]:
        if type(index) is not int or index < 0:
            raise ValueError("Blocks are counted from 0.")
        block: dict[str, Any] = self._body["content"][index]
        return block

    def _extend(self, index: int, delta: Mapping[str, Any]) -> str:
        block = self._block(index)
        # Looked up by hand: this runs for every delta of every stream, and a mapping pattern takes three times as long.
        match delta.get("type"):
            case "text_delta":
                if block["type"] != "text":
                    raise ValueError("A block of another kind has no text.")
                return self._gather(index, delta["text"])
            case "thinking_delta":
                self._gather(index, delta["thinking"])
            case "input_json_delta":
                self._gather(index, delta["partial_json"])
            case "signature_delta":
                block["signature"] = delta["signature"]
            case "citations_delta":
                if not block.get("citations"):  # null, or none yet
                    block["citations"] = []
                block["citations"].append(delta["citation"])
        return ""

    def _gather(self, index: int, piece: object) -> str:
        if not isinstance(piece, str):
            raise TypeError("A piece is text.")
        written = self._texts.get(index)
        if written is None:
            written = self._texts[index] = StringIO()
        written.write(piece)
        return piece

    def _close(self, index: int) -> None:
        block, written = self._block(index), self._texts.pop(index, None)
        text = written.getvalue() if written else ""
        match block["type"]:
            case "text" | "thinking" as kind:
                block[kind] += text
            case _ if text:
                block["input"] = payload(Event("input_json", text.encode()))


def is_block(block: object) -> bool:
    match block:
        case {"type": "text", "text": str()}:
            return True
        case {"type": str(kind)}:
            return kind != "text"
    return False


def fold(events: Iterable[Event]) -> Message:
    """The message that a whole stream tells. Raises `UpstreamFailed` where it tells none."""
    folded = Fold()
    for event in events:
        folded.add(event)
    return folded.message()
