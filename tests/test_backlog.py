"""Who takes what waits for it is left alone, and who does not is not."""
import asyncio

from aioapp.web.server.backlog import Backlog


class Buffer(asyncio.WriteTransport):
    def __init__(self, size: int) -> None:
        self.size = size

    def get_write_buffer_size(self) -> int:
        return self.size


def test_who_takes_a_little_all_the_time_is_not_stuck_though_ever_more_waits() -> None:
    backlog, waiting = Backlog(patience=60), Buffer(17_000)
    backlog.watch(0)
    assert not backlog.is_stuck(waiting, 0)
    waiting.size = 1_400_000
    for second in range(1, 600):
        waiting.size -= 2000
        assert not backlog.is_stuck(waiting, second)


def test_who_takes_next_to_nothing_is_stuck_and_who_has_taken_all_is_forgotten() -> None:
    backlog, waiting = Backlog(patience=60), Buffer(100_000)
    backlog.watch(0)
    assert not backlog.is_stuck(waiting, 0)
    waiting.size -= 10_000
    assert not backlog.is_stuck(waiting, 59) and backlog.is_stuck(waiting, 60)
    backlog.forget()
    assert not backlog.is_stuck(waiting, 1000)
    backlog.watch(1000)
    backlog.watch(1050)
    assert backlog.is_stuck(waiting, 1060)
