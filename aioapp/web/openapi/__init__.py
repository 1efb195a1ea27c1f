"""The OpenAPI document: of endpoints, and of what is said on streams."""
