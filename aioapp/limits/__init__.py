"""What a caller may do in a minute and at once, and spend in a period, held by all processes of a machine together."""
from aioapp.limits.board import Board, PrivateBoard, open_board
from aioapp.limits.limiter import Limiter, Reservation
from aioapp.limits.purse import Stale
from aioapp.limits.standing import Standing, policy_field, standing_field

__all__ = ["Board", "Limiter", "PrivateBoard", "Reservation", "Stale", "Standing", "open_board",
           "policy_field", "standing_field"]
