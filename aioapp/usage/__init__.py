"""What the tokens that went to Claude cost, and who spent them."""
from aioapp.usage.buffer import Refusal
from aioapp.usage.ledger import Ledger
from aioapp.usage.prices import DEFAULT_PRICES, Prices, parse_prices
from aioapp.usage.reserves import Reserves

__all__ = ["DEFAULT_PRICES", "Ledger", "Prices", "Refusal", "Reserves", "parse_prices"]
