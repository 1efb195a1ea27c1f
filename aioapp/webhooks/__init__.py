"""Webhooks as Standard Webhooks 1.0.0 has them: what is sent, signed, and how. It knows nothing of what it is about."""
