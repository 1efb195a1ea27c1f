"""What goes over the answers."""
import json

import pytest

from aioapp import errors
from aioapp.web import answers


def test_json_is_utf_8_on_one_line_for_every_way_of_breaking_lines() -> None:
    value = {"text": "é😀\n\r\u0085\u2028\u2029\x00\x0b\x0c\x1c"}
    sent = answers.encode(value)
    assert json.loads(sent) == value
    assert len(sent.decode().splitlines()) == 1
    assert "é😀".encode() in sent


def test_a_failed_validation_has_its_own_shape_over_http_and_the_common_one_in_frames() -> None:
    failed = errors.ValidationFailed([{"loc": ["body"], "msg": "m", "type": "t"}])
    assert answers.rejection(failed, request_id="r") == {"detail": failed.problems}
    frame = answers.problem(failed)
    assert (frame["success"], frame["error"], frame["detail"]) == (False, "Validation failed", failed.problems)


@pytest.mark.parametrize("detail", [None, "why"])
def test_an_error_says_what_happened_and_only_if_there_is_more_to_say_more(detail: str | None) -> None:
    body = answers.rejection(errors.Overloaded(detail), request_id="r")
    assert body.get("detail") == detail
    assert (body["error"], body["request_id"]) == ("Claude is overloaded", "r")
    assert body["timestamp"].endswith("+00:00")


def test_an_error_quotes_so_much_and_no_more() -> None:
    body = answers.problem(errors.BadRequest("\0" * 2**20))
    assert body["detail"] == "\0" * answers.LONGEST_DETAIL
    assert len(answers.encode(body)) < 2**16
