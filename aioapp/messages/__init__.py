"""Claude's own values: a prompt, the events of an answer, and the message that they tell."""
