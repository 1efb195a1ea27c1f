"""The pipeline's stages, outermost first: one file, one job, one word in `compose`.

A layer closes what it wraps in a `finally` (`aclosing` would do, for three calls each), so that closing the
outermost closes them all, down to the connection. It never holds a timeout or a task group across a `yield` (PEP 789).
"""
from aioapp.layers.budgeted import budgeted
from aioapp.layers.drained import Drain, drained
from aioapp.layers.metered import metered
from aioapp.layers.observed import observed
from aioapp.layers.timed import timed

__all__ = ["Drain", "budgeted", "drained", "metered", "observed", "timed"]
