"""Pages of what is kept one by one, as the store gives them."""
from collections.abc import Callable, Sequence
from sqlite3 import Connection

from aioapp.store.embedded import request_log
from aioapp.usage.usage_store import Figures, Wanted


def latest(*, limit: int = 50, wanted: Wanted = Wanted()) -> Callable[[Connection], Sequence[Figures]]:
    def work(connection: Connection) -> Sequence[Figures]:
        return request_log.page(connection, wanted=wanted, limit=limit, cursor=None).requests

    return work
