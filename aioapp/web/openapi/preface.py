"""What the OpenAPI document says before any operation: how to show a key, what limits do, what errors look like."""

PREFACE = """\
aioapp puts Claude behind HTTP: an answer in one piece, as server-sent events, or over a WebSocket. The whole guide is
at [/guide](/guide).

**Authentication.** Send a key of this server as `X-API-Key: aio_…` or `Authorization: Bearer aio_…`; it is never
looked for in an address. A browser's WebSocket shows it in its first frame, `{"type": "auth", "key": "aio_…"}`. As
long as a server has no keys it answers anybody, but only programs of its own machine unless it was told otherwise.
What is under *Administration* needs an admin key.

**Limits.** A key may have limits of requests and of tokens a minute, of generations at once, and a budget in dollars
a day or month. A minute is any 60 seconds. Tokens and dollars are set aside before Claude is asked, by `max_tokens`
and a bound for the prompt, and settled to what was used. `RateLimit-Policy` and `RateLimit` tell what is left. Beyond
a limit is 429 with `Retry-After`; a spent budget is 402; a call that can never fit is 400. `GET /api/usage` is free.

**Errors.** `{"success": false, "error": …, "detail": …, "timestamp": …, "request_id": …}`: `error` is what happened,
always in the same words, `detail` what to do, where there is more to say. A body that does not fit is 422 with a list
of what is wrong in `detail`. Below `/v1` they have Anthropic's shape. 502, 503 and 504 are Claude's or the server's
doing; what may pass was tried again before you heard of it. A stream that has begun ends with `event: error`, and
nothing after.

**Each answer** has `X-Request-ID`, yours if you sent one, under which the log has it. A caller who hangs up stops
Claude.
"""

TAGS = (
    {"name": "Claude", "description": "Ask Claude: one answer to a prompt or in a conversation, in one piece, as "
                                      "server-sent events or over a WebSocket. Settings that a model does not take are "
                                      "left out, and told as `warnings`."},
    {"name": "Anthropic", "description": "Anthropic's own Messages API, passed on byte for byte, for Claude Code, the "
                                         "SDKs and whatever else speaks it: this server is their base URL, and a key "
                                         "of it their API key."},
    {"name": "Server", "description": "What is where, whether the server can answer and which part is ill, where its "
                                      "credentials come from, what your key has used, and figures for Prometheus."},
    {"name": "Administration", "description": "Make, change, rotate and revoke keys, see what each has used and what "
                                              "was done to it. For admin keys, none of which grants more than it has "
                                              "itself."},
)
