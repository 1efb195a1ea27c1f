"""What an operator is told without asking: budgets, Claude's refusal of the credentials, and the database."""
