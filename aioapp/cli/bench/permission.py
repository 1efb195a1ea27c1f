"""Whether a server may be put under load: one behind which a real Claude stands costs money."""
import aiohttp

from aioapp.cli.bench.connections import Target
from aioapp.cli.bench.measure import Plan
from aioapp.cli.bench.replies import parsed
from aioapp.money import NANO
from aioapp.usage import DEFAULT_PRICES

REFUSED = (401, 403)


async def simulates(target: Target) -> bool:
    """Whether the server says that the built-in simulator stands in for Claude.

    Its `/auth-status` names where the credentials come from. Only `simulator` will do: whatever else it answers, be it
    nothing that is known here, there may be a real Claude behind it. Raises `ValueError` where no call can succeed.
    """
    try:
        async with aiohttp.ClientSession() as http:
            async with http.get(
                    f"{target.url}/auth-status", headers=target.headers, allow_redirects=False) as response:
                said = parsed(await response.read())
    except (aiohttp.ClientError, OSError) as error:
        raise ValueError(f"{target.url} does not answer: {str(error) or type(error).__name__}") from None
    if response.status in REFUSED:
        match said:
            case {"error": str(title)}:
                raise ValueError(f"{target.url} answers {response.status}: {title}")
    match said:
        case {"success": True, "status": {"source": "simulator"}}:
            return response.status == 200
    return False


def estimate(plan: Plan, target: Target) -> str:
    """What the plan would cost at most, rounded up: by the price of the model that is asked, or of the dearest."""
    prompt = target.prompt
    one = DEFAULT_PRICES.most(prompt.model or "", input=prompt.most_input, output=prompt.max_tokens)
    cents = -(-plan.calls * one * 100 // NANO)
    whose = prompt.model or "the dearest model"
    return (f"up to {plan.calls} calls of at most {prompt.most_input} tokens in and {prompt.max_tokens} out, "
            f"${cents / 100:.2f} at most at the price of {whose}")
