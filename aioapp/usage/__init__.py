"""What the tokens that went to Claude cost, and who spent them."""
from aioapp.usage.ledger import Ledger
from aioapp.usage.prices import DEFAULT_PRICES, Prices, parse_prices

__all__ = ["DEFAULT_PRICES", "Ledger", "Prices", "parse_prices"]
