"""What a caller may do in a minute and at once, and spend in a period."""
