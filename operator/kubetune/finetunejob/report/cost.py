"""What a training has cost so far, from the time it has really trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kubetune.finetunejob.api.spec import FineTuneJobSpec
from kubetune.finetunejob.api.status_types import CostStatus
from kubetune.prices import class_of
from kubetune.settings import Settings

HOUR = 3600.0
DIGITS = 6
"""Of a sum that grows with every look; rounding must not add up to anything."""


@dataclass(frozen=True)
class Rate:
    """What one hour of a training costs; None is not known."""

    amount: float | None = None
    kwh: float | None = None


def rate(spec: FineTuneJobSpec, settings: Settings, product: str | None) -> Rate:
    """By the price of the GPU's class; where it has none by the electricity, on the CPU of the node."""
    gpus = spec.resources.gpu
    known = class_of(product, settings.gpu_classes) if gpus else None
    watts = (known.watts if known else None) if gpus else settings.cpu_watts
    kwh = watts * max(gpus, 1) / 1000 if watts else None
    if known and known.price_per_hour is not None:
        return Rate(known.price_per_hour * gpus, kwh)
    tariff = settings.electricity_per_kwh
    return Rate(kwh * tariff if kwh is not None and tariff is not None else None, kwh)


def charge(
    old: CostStatus | None, reported: float | None, spec: FineTuneJobSpec, settings: Settings, product: str | None
) -> CostStatus | None:
    """``old`` and the time since then. ``reported`` is the trainer's own count over all attempts.

    A pod that was killed takes with it what it had counted since its last checkpoint: its successor counts from there,
    and only what it adds is new.
    """
    if reported is not None and (not math.isfinite(reported) or reported < 0):
        reported = None
    if reported is None and product is None:
        return old
    old = old or CostStatus()
    reported = old.reported_seconds if reported is None else reported
    added = max(0.0, reported - old.reported_seconds)
    product = product or old.accelerator
    price = rate(spec, settings, product)
    active = round(old.active_seconds + added, 3)
    if not math.isfinite(active * max(1, spec.resources.gpu)):
        return old
    amount = _add(old.amount, price.amount, added)
    return CostStatus(
        active_seconds=active,
        gpu_seconds=round(old.gpu_seconds + added * spec.resources.gpu, 3),
        reported_seconds=round(reported, 3),
        amount=amount,
        currency=(settings.currency or None) if amount is not None else None,
        kwh=_add(old.kwh, price.kwh, added),
        accelerator=product,
        display=f"{amount:.2f} {settings.currency}".strip() if amount is not None else None,
    )


def _add(old: float | None, per_hour: float | None, seconds: float) -> float | None:
    if per_hour is None:
        return old
    return round((old or 0.0) + per_hour * seconds / HOUR, DIGITS)
