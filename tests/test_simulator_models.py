"""The models: listed, paged, shown, and true to what they say of themselves."""
from typing import Any

import pytest
from aiohttp import ClientSession
from anthropic import AsyncAnthropic
from anthropic.types import ModelParam
from yarl import URL

from aioapp.simulator.models import MODELS
from tests.simulated import asynchronous, connected, post, running

base = pytest.fixture(running)
http = pytest.fixture(connected)
claude = pytest.fixture(asynchronous)


async def page(http: ClientSession, query: str) -> tuple[list[str], bool]:
    async with http.get(f"/v1/models?{query}") as response:
        answer = await response.json()
    ids = [model["id"] for model in answer["data"]]
    assert (answer["first_id"], answer["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    return ids, answer["has_more"]


async def test_models_are_paged_forwards_and_backwards(http: ClientSession) -> None:
    everything, more = await page(http, "limit=1000")
    assert not more and everything == (await page(http, ""))[0]
    assert await page(http, "limit=3") == (everything[:3], True)
    assert await page(http, f"limit=3&after_id={everything[2]}") == (everything[3:6], True)
    assert await page(http, f"limit=3&before_id={everything[6]}") == (everything[3:6], True)
    assert await page(http, f"limit=3&before_id={everything[3]}") == (everything[:3], False)
    assert await page(http, f"after_id={everything[-1]}") == ([], False)


async def test_a_well_formed_cursor_that_names_no_model_is_passed_over(http: ClientSession) -> None:
    first = await page(http, "limit=3")
    for query in ("after_id=after_id", "before_id=before_id", "after_id=after_id&before_id=before_id"):
        assert await page(http, f"limit=3&{query}") == first
    assert await page(http, f"before_id={first[0][2]}&after_id=after_id") == (first[0][:2], False)


async def test_the_sdk_lists_models_from_cursors_that_name_none(claude: AsyncAnthropic) -> None:
    for models in (claude.models, claude.beta.models):
        listed = await models.list(after_id="after_id", before_id="before_id", limit=1)
        assert [model.id for model in listed.data] == ["claude-fable-5-2"] and listed.has_more


async def test_the_sdk_pages_through_all_models_once_backwards_too(claude: AsyncAnthropic) -> None:
    forwards = [model.id async for model in claude.models.list(limit=5)]
    backwards = [model.id async for model in claude.beta.models.list(limit=5, before_id=forwards[-1])]
    assert sorted([*backwards, forwards[-1]]) == sorted(forwards)


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=99999", "after_id=me", "before_id=%ff"])
async def test_bad_pages_are_bad_requests(http: ClientSession, query: str) -> None:
    async with http.get(URL(f"/v1/models?{query}", encoded=True)) as response:
        assert response.status == 400


async def test_retired_models_are_listed_when_asked_for_and_shown_by_name(http: ClientSession) -> None:
    assert await page(http, "lifecycle[]=retired") == (["claude-mythos-preview"], False)
    async with http.get("/v1/models/claude-mythos-preview") as response:
        shown = await response.json()
    assert (shown["display_name"], shown["lifecycle"]) == ("Claude Mythos Preview", "retired")


@pytest.mark.parametrize(("name", "shown", "status"), [
    ("claude-fable-5-2", "Claude Fable 5.2", 200), ("claude-opus-5", "Claude Opus 5", 200),
    ("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5", 200), ("claude-haiku-4-5", "Claude Haiku 4.5", 200),
    ("custom", None, 404), ("simulate-slow", None, 404), ("simulate-429", None, 404), ("claude-opus-4-9", None, 404),
    ("missing-model", None, 404), ("a%20b", None, 404), ("model_id", "model_id", 200),
    ("claude-1.3", "claude-1.3", 200), ("anthropic.claude-v1:0", "anthropic.claude-v1:0", 200),
])
async def test_a_model_is_shown_under_its_name(http: ClientSession, name: str, shown: str | None, status: int) -> None:
    async with http.get(URL(f"/v1/models/{name}", encoded=True)) as response:
        assert (response.status, (await response.json()).get("display_name")) == (status, shown)


async def test_the_sdk_reads_what_is_told_of_a_model_that_is_not_listed(claude: AsyncAnthropic) -> None:
    for models in (claude.models, claude.beta.models):
        model = await models.retrieve("model_id")
        assert (model.id, model.display_name, model.line, model.created_at.year) == ("model_id", "model_id", None, 1970)


@pytest.mark.parametrize(("model", "thinks"), [
    ("claude-1.3", False), ("claude-2.1", False), ("claude-instant-1.2", False), ("claude-3-opus-20240229", True),
    ("claude-3-7-sonnet-latest", True), ("claude-3-7-sonnet-20250219", True), ("claude-opus-4-1-20250805", True),
    ("claude-sonnet-4-20250514", True),
])
async def test_models_from_before_the_list_answer_and_are_shown(
        http: ClientSession, model: str, thinks: bool) -> None:
    more: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 1024}} if thinks else {}
    status, message = await post(http, model=model, max_tokens=2000, **more)
    assert (status, message.get("model")) == (200, model), message
    async with http.get(f"/v1/models/{model}") as response:
        assert ((await response.json())["id"], response.status) == (model, 200)
    assert not [known for known in (await page(http, ""))[0] if known == model]


async def test_the_tokens_of_a_retired_model_may_still_be_counted(http: ClientSession) -> None:
    more: dict[str, Any] = {"model": "claude-mythos-preview", "max_tokens": ...}
    assert (await post(http, path="/v1/messages/count_tokens", **more))[0] == 200


def test_the_table_of_models_holds_all_that_the_sdk_names() -> None:
    listed = set(MODELS) | {model.id for model in MODELS.values()}
    assert {*ModelParam.__args__[0].__args__} == listed  # type: ignore[attr-defined]


async def test_what_a_model_says_it_supports_is_what_it_accepts(http: ClientSession) -> None:
    async with http.get("/v1/models") as response:
        models = (await response.json())["data"]
    for model in models:
        kinds, efforts = model["capabilities"]["thinking"]["types"], model["capabilities"]["effort"]
        for kind, flag in kinds.items():
            thinking = {"type": kind, **({"budget_tokens": 1024} if kind == "enabled" else {})}
            status, _ = await post(http, model=model["id"], thinking=thinking, max_tokens=2000)
            assert (status == 200) is flag["supported"], (model["id"], kind)
        for level in ("low", "medium", "high", "xhigh", "max"):
            status, _ = await post(http, model=model["id"], output_config={"effort": level})
            assert (status == 200) is efforts[level]["supported"], (model["id"], level)
        for tokens, expected in ((model["max_tokens"], 200), (model["max_tokens"] + 1, 400)):
            assert (await post(http, model=model["id"], max_tokens=tokens))[0] == expected


@pytest.mark.parametrize(("model", "adaptive", "between_tools", "disabled", "enabled"), [
    ("claude-sonnet-4-5", False, False, True, True), ("claude-opus-4-6", True, False, True, True),
    ("claude-opus-4-7", True, False, True, False), ("claude-sonnet-5", True, True, True, False),
    ("claude-opus-5-5", True, True, False, False), ("claude-sonnet-5-5", True, True, False, False),
    ("claude-haiku-5-5", True, True, True, False), ("claude-fable-5", True, True, False, False),
    ("claude-mythos-5-2", True, True, False, False),
])
async def test_thinking_types_follow_the_generation(
        http: ClientSession, model: str, adaptive: bool, between_tools: bool, disabled: bool, enabled: bool) -> None:
    async with http.get(f"/v1/models/{model}") as response:
        types = (await response.json())["capabilities"]["thinking"]["types"]
    assert [types[kind]["supported"] for kind in ("adaptive", "between_tools", "disabled", "enabled")] == [
        adaptive, between_tools, disabled, enabled]
