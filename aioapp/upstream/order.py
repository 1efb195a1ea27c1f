"""The order in which a stream's events must come, so that no half of an answer is taken for a whole one."""
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Order:
    """Follows a stream by its events' names alone; their payloads are for whoever looks."""

    begun: bool = False
    open_blocks: int = 0
    stopped: bool = False
    ended: bool = False

    def fitting(self, names: Sequence[str]) -> int:
        """Take the next events in, as far as they can come here, and give how many those are; unknown ones always can.
        """
        if self.open_blocks > 0 and names.count("content_block_delta") == len(names):  # as nearly always
            return len(names)
        for index, name in enumerate(names):
            if not (self.open_blocks > 0 if name == "content_block_delta" else self._fits(name)):
                return index
        return len(names)

    def _fits(self, name: str) -> bool:
        match name:
            case "message_start":
                fits, self.begun = not self.begun, True
            case "content_block_start":
                fits, self.open_blocks = self.begun, self.open_blocks + 1
            case "content_block_stop":
                fits, self.open_blocks = self.open_blocks > 0, self.open_blocks - 1
            case "message_delta":
                fits, self.stopped = self.begun and not self.open_blocks, True
            case "message_stop":
                fits, self.ended = self.stopped and not self.open_blocks, True
            case _:
                fits = True
        return fits
