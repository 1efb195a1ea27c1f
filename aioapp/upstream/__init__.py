"""Claude over HTTP: the innermost `Generate`, on aiohttp's client.

The `anthropic` SDK is not on this path: it costs five to ten times the CPU of the bytes it would wrap (see the README).
"""
