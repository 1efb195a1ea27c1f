"""The models: listed, paged, shown, and true to what they say of themselves."""
import pytest
from aiohttp import ClientSession
from anthropic.types import ModelParam
from yarl import URL

from aioapp.simulator.models import MODELS
from tests.simulated import connected, post, running

base = pytest.fixture(running)
http = pytest.fixture(connected)


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
    ("custom", None, 404), ("simulate-slow", None, 404),
])
async def test_a_model_is_shown_under_its_name(http: ClientSession, name: str, shown: str | None, status: int) -> None:
    async with http.get(f"/v1/models/{name}") as response:
        assert (response.status, (await response.json()).get("display_name")) == (status, shown)


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
