"""What can be asked of Claude, in each of its forms: REST, server-sent events and a WebSocket."""
