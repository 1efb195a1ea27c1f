"""The order in which a stream's events must come."""
import pytest

from aioapp.upstream.order import Order

START, OPEN, DELTA, CLOSE = "message_start", "content_block_start", "content_block_delta", "content_block_stop"
LAST, STOP = "message_delta", "message_stop"


@pytest.mark.parametrize("names", [
    [START, LAST, STOP],
    [START, OPEN, "ping", DELTA, DELTA, CLOSE, LAST, LAST, STOP],
    ["ping", START, OPEN, DELTA, CLOSE, OPEN, CLOSE, LAST, STOP],
    ["from_the_future", START, OPEN, OPEN, DELTA, CLOSE, DELTA, CLOSE, LAST, "from_the_future", STOP],
], ids=" ".join)
def test_an_answer_in_order_ends_well_however_it_arrives(names: list[str]) -> None:
    at_once, one_by_one = Order(), Order()
    assert at_once.fitting(names) == len(names)
    for name in names:
        assert not one_by_one.ended
        assert one_by_one.fitting([name]) == 1
    assert at_once.ended and one_by_one.ended


@pytest.mark.parametrize("names", [
    [DELTA], [OPEN], [CLOSE], [LAST], [STOP], [START, START], [START, DELTA], [START, CLOSE],
    [START, OPEN, CLOSE, DELTA], [START, OPEN, DELTA, LAST], [START, STOP], [START, OPEN, DELTA, CLOSE, STOP],
    [START, OPEN, DELTA, STOP], [START, LAST, OPEN, STOP],
], ids=" ".join)
def test_an_event_where_none_can_be_does_not_fit(names: list[str]) -> None:
    assert Order().fitting(names) < len(names)
