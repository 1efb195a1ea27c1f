"""The head of the OpenAPI document: how to show a key, what limits and errors look like, and what the tags are."""

TEXT = """\
Claude behind HTTP: REST, server-sent events and a native WebSocket. The [guide](/guide) tells the rest.

**Authentication.** Send your key as `X-API-Key`, or as `Authorization: Bearer`. A browser's WebSocket, which can send
neither, shows it in its first frame: `{"type": "auth", "key": "aio_…"}`. A server without keys serves programs of its
own machine alone, unless it was told otherwise. Without a key that is known, has not expired and was not revoked:
401.

**Limits.** A key may have limits of requests and tokens a minute and of generations at once, a budget, and models of
its own. `RateLimit-Policy` and `RateLimit` tell limits and what is left of them. Beyond a limit: 429, with
`Retry-After` in seconds. Beyond the key's budget, or that of the whole server: 402. A request that alone is more than
a limit or a budget: 400, since waiting does not help. A model that the key may not use: 403. `GET /api/usage` tells
what was used, and costs nothing.

**Errors.** Each failure is JSON: `{"success": false, "error": "…", "detail": "…", "timestamp": "…", "request_id":
"…"}`; `error` is one title for each kind, `detail` says what happened and what to do. 422 has a list of rows in
`detail`, each with `loc`, `msg` and `type`. On `/v1` they have Anthropic's shape, and Claude's own come word for
word. Once a stream has begun, its last event tells the failure. 502, 503 and 504 are Claude's or this server's, and
may be tried again.

**Request ids.** Each answer has an `X-Request-ID`: yours, if you sent a sane one, else a new one. It stands in the
log and in the accounts: name it when you ask for help.
"""
TAGS = (
    {"name": "Claude", "description": "Ask Claude with a few plain fields: in one piece, as a stream, or as frames."},
    {"name": "Anthropic", "description": (
        "Anthropic's own Messages API, byte for byte, for Claude Code and the SDKs: only the base URL and the key are "
        "this server's.")},
    {"name": "Server", "description": (
        "How the server and its credentials are, what your key has used, and figures for Prometheus. Probes need"
        " no key.")},
    {"name": "Administration", "description": (
        "Make, change, rotate and revoke keys, and see what everybody used. All of it needs an admin key; the first is "
        "made on the command line.")},
)
