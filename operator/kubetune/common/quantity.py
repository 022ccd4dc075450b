"""Kubernetes' quantities as numbers."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

_FACTORS = {
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
    **{suffix: Decimal(1000) ** -power for power, suffix in enumerate(("m", "u", "n"), start=1)},
}


def parse_quantity(text: str) -> Decimal:
    """The number a quantity stands for: bytes of memory, cores of CPU. Raises ValueError when it is none."""
    suffix = next((suffix for suffix in _FACTORS if text.endswith(suffix)), "")
    try:
        return Decimal(text.removesuffix(suffix)) * _FACTORS.get(suffix, Decimal(1))
    except InvalidOperation:
        raise ValueError(f"{text!r} is no quantity; write for example 500m, 2, 8Gi") from None


def smaller(first: str, second: str) -> str:
    """The lesser of two quantities, as it is written."""
    return first if parse_quantity(first) <= parse_quantity(second) else second
