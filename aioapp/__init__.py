"""Claude behind HTTP: REST, server-sent events and a native WebSocket, on aiohttp."""

__version__ = "0.1.0"
