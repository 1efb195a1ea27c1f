"""Programs of one's own, as the documentation has them: each is run as it stands there."""
import json
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import openapi_spec_validator
import pytest
from aiohttp import web

import aioapp
from aioapp.settings import Settings
from tests.conftest import start
from tests.contract import Contract
from tests.keyed import make_key, shown

GUIDE = (Path(__file__).parent.parent / "aioapp" / "pages" / "guide" / "extending.md").read_text(encoding="utf-8")
SIMULATED = Settings(simulate=True, simulate_pace=0.0, shutdown_timeout=0.2)
Own = Callable[[str], Any]


@pytest.fixture
def own(stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> Own:
    """Serves the program that the guide tells to save under a name, and gives its URL: only `main` is ours."""
    async def serve(file: str) -> str:
        [code] = re.findall(
            rf"Save as `{re.escape(file)}`(?:(?!```python).)*```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
        built: list[web.Application] = []

        def main(*, build: Callable[[Settings], web.Application]) -> int:
            built.append(build(SIMULATED))
            return 0

        monkeypatch.setattr(aioapp, "main", main, raising=False)
        with pytest.raises(SystemExit, match="0"):
            exec(compile(code, file, "exec"), {"__name__": "__main__"})
        return await start(built[0], stack)

    return serve


async def test_a_handler_asks_claude_as_the_guide_says(http: aiohttp.ClientSession, own: Own) -> None:
    key, dear = make_key("web", usd=1.0), make_key("dear", models=("claude-haiku-*",))
    url = await own("haiku.py")
    async with http.get(f"{url}/haiku/rain", headers=shown(key)) as response:
        told = await response.json()
    assert response.status == 200 and "rain" in told["haiku"] and told["model"] == "claude-sonnet-5-5"
    async with http.get(f"{url}/api/usage", headers=shown(key)) as response:
        assert (await response.json())["budget"]["spent_usd"] == told["cost_usd"] > 0
    async with http.get(f"{url}/haiku/rain", headers=shown(dear)) as response:
        assert response.status == 403 and "may not use the model" in (await response.json())["detail"]


async def test_several_answers_side_by_side_and_one_as_it_comes(http: aiohttp.ClientSession, own: Own) -> None:
    url = await own("panel.py")
    async with http.get(f"{url}/panel", params={"plan": "We sell umbrellas."}) as response:
        told = await response.json()
    assert set(told) == {"an optimist", "a pessimist", "a lawyer"}
    assert all("umbrellas" in said for said in told.values())
    url = await own("story.py")
    async with http.get(f"{url}/story") as response:
        text = await response.text()
    assert re.fullmatch(r"You wrote about .+\n\n\([1-9]\d* tokens\)\n", text, re.DOTALL)


async def test_an_operation_looks_up_wants_json_and_finishes_in_every_form(
        http: aiohttp.ClientSession, own: Own) -> None:
    url, body = await own("ticket.py"), {"customer": "ada", "complaint": "Late again!"}
    async with http.post(f"{url}/ticket", json=body) as response:
        rest = await response.json()
    said = {"queue": "now", "triage": {"mood": "calm", "urgency": 1, "summary": "text"}}
    assert response.status == 200 and rest == {**said, "request_id": response.headers["X-Request-ID"]}
    async with http.post(f"{url}/ticket", json=body | {"customer": "eve"}) as response:
        assert response.status == 404 and (await response.json())["detail"] == "There is no such customer."
    async with http.post(f"{url}/ticket/stream", json=body | {"format": "events"}) as response:
        events = [json.loads(line[6:]) for line in (await response.text()).split("\n") if line.startswith("data: ")]
    assert events[0]["type"] == "start" and events[-1] == {
        "type": "done", **said, "request_id": response.headers["X-Request-ID"]}
    async with http.post(f"{url}/ticket/stream", json=body) as response:
        assert (await response.text()).endswith("data: [DONE]\n\n")
    async with http.ws_connect(f"{url}/ws/generate") as talk:
        last: list[Any] = []
        for more in ({}, {"customer": "eve"}, {"stream": True}):
            await talk.send_json({"type": "ticket", **body, **more})
            async for message in talk:
                if "timestamp" in (frame := message.json()) or "queue" in frame:
                    break
            last.append(frame)
    assert [frame.get("queue", frame.get("error")) for frame in last] == ["now", "Not found", "now"]
    async with http.get(f"{url}/openapi.json") as response:
        document = await response.json()
    openapi_spec_validator.validate(document)
    Contract(document).check_named(rest, "TicketAnswer")
    assert {"404", "422", "502"} <= set(document["paths"]["/ticket"]["post"]["responses"])


async def test_an_endpoint_is_documented_and_validated_as_ours_are(http: aiohttp.ClientSession, own: Own) -> None:
    key = make_key()
    url = await own("translate.py")
    answers: list[tuple[int, Any]] = []
    sent: list[tuple[str, dict[str, Any]]] = [
        ("?to=fr", {"json": {"text": "Hi"}}), ("?to=xx", {"json": {"text": "Hi"}}), ("", {"json": {"text": 5}}),
        ("", {"data": b"text"}), ("", {"json": {"text": "Hi"}})]
    for query, more in sent:
        headers = shown(key) if len(answers) < 4 else {}
        async with http.post(f"{url}/translate{query}", headers=headers, **more) as response:
            answers.append((response.status, await response.json()))
    assert [status for status, _ in answers] == [200, 422, 422, 415, 401]
    assert answers[0][1]["to"] == "fr"
    assert [rows["detail"][0]["loc"] for _, rows in answers[1:3]] == [["query", "to"], ["body", "text"]]
    async with http.get(f"{url}/openapi.json") as response:
        document = await response.json()
    openapi_spec_validator.validate(document)
    told = document["paths"]["/translate"]["post"]
    assert (told["operationId"], told["tags"]) == ("translate", ["Mine"])
    assert {"key": []} in told["security"] and {"200", "401", "402", "422", "429", "502"} <= set(told["responses"])
    [parameter] = told["parameters"]
    assert parameter["name"] == "to" and parameter["schema"]["enum"][:3] == ["de", "fr", "es"]
    Contract(document).check_named(answers[0][1], "TranslateAnswer")
    async with http.options(f"{url}/translate", headers={
            "Origin": "https://example.com", "Access-Control-Request-Method": "POST"}) as response:
        assert response.status == 200 and response.headers["Access-Control-Allow-Origin"] == "https://example.com"
