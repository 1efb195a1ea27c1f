"""The Messages API on loopback, for trying and testing: real HTTP, no credentials, no bill, no model.

    python -m aioapp.simulator --port 8099          # then ANTHROPIC_BASE_URL=http://127.0.0.1:8099, any key

It behaves as the sources of `anthropic` 2.12.0, the public documentation and reports of others say that Claude does;
nothing in it was held against the real API. The same prompt gets the same answer; "count to 20" gets just that.
A key or token with `invalid` in it is refused, and some model names ask for trouble:

    simulate-429        429 rate_limit_error, with `retry-after: 1`
    simulate-500        500 api_error
    simulate-529        529 overloaded_error
    simulate-slow       answers, but the first byte takes half a minute (`create_simulator(slow=…)`)
    simulate-cut        the connection ends in the middle of the stream, or of the body
    simulate-error      an `error` event (overloaded_error) in the middle of the stream; 529 when not streamed
    simulate-refusal    an empty answer with stop reason `refusal` and its stop details

It calls a tool of the caller's when `tool_choice` asks for one, or a mark in the last user message does, with the input
that stands there or else with what the tool's schema requires: `[use get_weather {"city": "Rome"}]`, `[use get_time]`.
Each mark is a call. When results of tools come back, its answer is their text. With the header `anthropic-beta`, or
`?beta=true`, fields that it does not know are taken and passed over; `thread` too, so nothing is remembered.

Other `simulate-` names, unknown `claude-` names and all that begin with `missing-` get 404; models from before 4.5,
like `claude-1.3`, are not listed but answer. Any further name is taken for a custom deployment: it answers like the
newest Sonnet, but thinks only when asked to. `GET /v1/models/{id}` shows it when it is well-formed: words of letters
and digits, two at least, with one of `-_.:@` between them. A well-formed cursor that names no model is passed over.
"""
import argparse
import asyncio
import math
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from aiohttp import web

from aioapp.simulator import handlers
from aioapp.simulator.admission import add_headers, in_claudes_shape

BODY_LIMIT = 32 * 2**20     # bytes
FIRST_TOKEN = 0.3           # seconds, at pace 1
TOKEN = 0.02                # seconds, at pace 1
SLOW = 30.0                 # seconds, at any pace


def create_simulator(*, pace: float = 1.0, slow: float = SLOW) -> web.Application:
    """The simulated API.

    `pace` stretches every wait: 1 is a human pace (0.3 s to the first token, then 50 a second), 0 is at once and in
    one write. `slow` is the wait of `simulate-slow` in seconds, at any pace. Run it with `handler_cancellation=True`
    and an answer ends as soon as its reader is gone; else with the next token. Raises ValueError for a bad pace.
    """
    if not 0 <= pace < math.inf:
        raise ValueError(f"a pace is a number from 0 on, not {pace}")
    app = web.Application(client_max_size=BODY_LIMIT, middlewares=[in_claudes_shape])
    app[handlers.TIMING] = handlers.Timing(first=FIRST_TOKEN * pace, token=TOKEN * pace, slow=slow)
    app.on_response_prepare.append(add_headers)
    app.add_routes([
        web.get("/", handlers.greet),
        web.get("/api/hello", handlers.greet),
        web.post("/v1/messages", handlers.create_message),
        web.post("/v1/messages/count_tokens", handlers.count_tokens),
        web.get("/v1/models", handlers.list_models),
        web.get("/v1/models/{id}", handlers.show_model),
    ])
    return app


def number(kind: Callable[[str], float], end: float, *, takes: str) -> Callable[[str], float]:
    """Reads a number from 0 up to, but not including, `end`."""
    def parse(text: str) -> float:
        with suppress(ValueError):
            if 0 <= kind(text) < end:
                return kind(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not {takes}")

    return parse


def to_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Raises argparse.ArgumentError, in one line."""
    parser = argparse.ArgumentParser("aioapp.simulator", exit_on_error=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=number(int, 2**16, takes="a whole number from 0 to 65535"), default=0,
                        help="0, the default, takes any free one")
    parser.add_argument("--pace", type=number(float, math.inf, takes="a number from 0 on"), default=1.0,
                        help="1: human, 0: at once")
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        raise argparse.ArgumentError(None, f"unrecognized arguments: {' '.join(unknown)}")
    return options


async def serve(host: str, port: int, *, pace: float) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when the address cannot be had."""
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    runner = web.AppRunner(
        create_simulator(pace=pace), handler_cancellation=True, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(one, stopped.set)
        name = f"[{host}]" if ":" in host else host
        print(f"http://{name}:{runner.addresses[0][1]}", flush=True)
        await stopped.wait()
    finally:
        await runner.cleanup()


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 after a signal, 1 without the address, 2 for a bad command line."""
    try:
        options = to_options(argv)
        asyncio.run(serve(options.host, options.port, pace=options.pace))
    except (argparse.ArgumentError, OSError) as fault:
        print(f"aioapp.simulator: {fault}", file=sys.stderr)
        return 1 if isinstance(fault, OSError) else 2
    return 0
