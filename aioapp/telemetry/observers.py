"""Whoever is shown a generation that has ended."""
from collections.abc import Callable

from aioapp.generation import Generation, Observer
from aioapp.limits import Allowance
from aioapp.telemetry.metrics import Metrics
from aioapp.usage import Ledger


def refunding(allowance: Allowance) -> Observer:
    """Gives the request back that was counted at the edge, whoever refused it, unless Claude was asked."""
    def refund(generation: Generation) -> None:
        if generation.refused and not generation.meter.asked:
            allowance.refund(generation.admission.caller, generation.admission.counted)

    return refund


def accounting(ledger: Ledger) -> Observer:
    """Keeps it in the accounts. What never came to Claude, because we refused it, is no use of Claude."""
    def account(generation: Generation) -> None:
        if generation.meter.asked:
            ledger.add(generation)

    return account


def counting(metrics: Metrics, name: Callable[[str], str]) -> Observer:
    """Counts it. `name` is the row of the price table that a model is charged by."""
    def count(generation: Generation) -> None:
        metrics.in_flight(-1)
        if generation.meter.asked:
            metrics.generation(generation, model=name(generation.model or generation.asked_for))

    return count
