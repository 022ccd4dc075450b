"""What computing costs: GPU classes, and the budgets of namespaces, as the chart's values name them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kubetune.common.quantity import parse_quantity

_MEMBERS = {"name", "pricePerHour", "watts", "tflops", "memory", "computeCapability"}


@dataclass(frozen=True)
class GpuClass:
    """One class of GPUs; what is None is not known."""

    name: str
    """Beginning of the node label ``nvidia.com/gpu.product``."""
    price_per_hour: float | None = None
    """Of one GPU, in the operator's currency; where it is set, electricity is taken to be part of it."""
    watts: float | None = None
    """Power of one GPU at work."""
    tflops: float | None = None
    """Dense 16-bit tera-operations per second."""
    memory_bytes: int | None = None
    compute_capability: str | None = None


def class_of(product: str | None, classes: Iterable[GpuClass]) -> GpuClass | None:
    """The class whose name is the longest beginning of ``product``."""
    matching = [one for one in classes if product and product.startswith(one.name)]
    return max(matching, key=lambda one: len(one.name), default=None)


def read_gpu_classes(text: str) -> tuple[GpuClass, ...]:
    """Reads a JSON list. Raises ValueError saying which entry is wrong and what belongs there."""
    if not text.strip():
        return ()
    entries = _json(text)
    if not isinstance(entries, list):
        raise ValueError("must be a JSON list of GPU classes")
    return tuple(_gpu_class(entry, f"entry {index}") for index, entry in enumerate(entries))


def _gpu_class(entry: Any, where: str) -> GpuClass:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise ValueError(f"{where} must be an object with a name: the beginning of the label nvidia.com/gpu.product")
    where = f"{where} ({entry['name']})"
    unknown = sorted(entry.keys() - _MEMBERS)
    if unknown:
        raise ValueError(f"{where} has unknown members: {', '.join(unknown)}; known are {', '.join(sorted(_MEMBERS))}")
    capability = entry.get("computeCapability")
    if capability is not None and not re.fullmatch(r"[0-9]+\.[0-9]+", str(capability)):
        raise ValueError(f"{where}: computeCapability must be written like '8.6', not {capability!r}")
    memory = entry.get("memory")
    return GpuClass(
        name=entry["name"],
        price_per_hour=_amount(entry.get("pricePerHour"), f"{where}: pricePerHour"),
        watts=_amount(entry.get("watts"), f"{where}: watts"),
        tflops=_amount(entry.get("tflops"), f"{where}: tflops"),
        memory_bytes=None if memory is None else int(parse_quantity(str(memory))),
        compute_capability=None if capability is None else str(capability),
    )


def read_budgets(text: str) -> dict[str, float]:
    """Reads a JSON object of namespace -> amount. Raises ValueError naming what is wrong."""
    if not text.strip():
        return {}
    entries = _json(text)
    if not isinstance(entries, dict):
        raise ValueError("must be a JSON object of namespace and amount")
    return {name: _amount(value, f"the budget of {name}") or 0.0 for name, value in entries.items()}


def _amount(value: Any, what: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise ValueError(f"{what} must be a number from 0 on, not {value!r}")
    return float(value)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None
