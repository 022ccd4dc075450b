"""Speed and power of common cards, for clusters whose chart values do not state them. Pure.

Dense 16-bit tera-operations per second with 32-bit accumulation, as training uses it, and board power in watts; from
NVIDIA's data sheets (A100, A30, A40, H100, H200, L4, L40S, T4, V100, RTX A-series, RTX 6000 Ada) and architecture
white papers (Turing, GA102, Ada, RTX Blackwell: the "FP16 with FP32 accumulate" row, without sparsity). GeForce boards
between those listed there have twice their FP32 rate from Ampere on. Cards before Turing, and the GTX 16 series, have
no (or no usable) tensor cores: their FP32 rate stands here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_VENDOR = re.compile(r"^(nvidia|tesla|geforce|quadro)[- ]+", re.IGNORECASE)
_SLICE = re.compile(r"[- ]mig[- ](\d)g\.", re.IGNORECASE)
SLICES = 7
"""Compute slices of a card that MIG can divide."""


@dataclass(frozen=True)
class Card:
    """A model of a GPU."""

    tflops: float
    watts: float


_CARDS = {
    "B200": Card(2250, 1000),
    "GH200": Card(989, 900),
    "H200": Card(989, 700),
    "H100-PCIe": Card(756, 350),
    "H100-NVL": Card(835, 400),
    "H100": Card(989, 700),
    "A100-PCIE": Card(312, 300),
    "A100": Card(312, 400),
    "A30": Card(165, 165),
    "A40": Card(149.7, 300),
    "A10G": Card(70, 300),
    "A10": Card(125, 150),
    "A2": Card(18, 60),
    "L40S": Card(362, 350),
    "L40": Card(181, 300),
    "L4": Card(121, 72),
    "T4": Card(65, 70),
    "V100-PCIE": Card(112, 250),
    "V100": Card(125, 300),
    "P100": Card(18.7, 250),
    "P40": Card(11.8, 250),
    "RTX-PRO-6000-Blackwell": Card(503, 600),
    "RTX-6000-Ada": Card(364, 300),
    "RTX-5000-Ada": Card(261, 250),
    "RTX-4000-Ada": Card(107, 130),
    "RTX-A6000": Card(154.8, 300),
    "RTX-A5000": Card(111.1, 230),
    "RTX-A4000": Card(76.7, 140),
    "RTX-5090": Card(209.5, 575),
    "RTX-5080": Card(112.6, 360),
    "RTX-5070-Ti": Card(87.9, 300),
    "RTX-5070": Card(61.7, 250),
    "RTX-5060-Ti": Card(47.4, 180),
    "RTX-5060": Card(38.4, 145),
    "RTX-4090": Card(165.2, 450),
    "RTX-4080": Card(97.5, 320),
    "RTX-4070-Ti": Card(80.2, 285),
    "RTX-4070": Card(58.3, 200),
    "RTX-4060-Ti": Card(44.1, 165),
    "RTX-4060": Card(30.2, 115),
    "RTX-3090-Ti": Card(80, 450),
    "RTX-3090": Card(71, 350),
    "RTX-3080-Ti": Card(68.2, 350),
    "RTX-3080": Card(59.5, 320),
    "RTX-3070-Ti": Card(43.5, 290),
    "RTX-3070": Card(40.6, 220),
    "RTX-3060-Ti": Card(32.4, 200),
    "RTX-3060": Card(25.5, 170),
    "RTX-3050": Card(18.2, 130),
    "TITAN-RTX": Card(65.2, 280),
    "RTX-2080-Ti": Card(53.8, 250),
    "RTX-2080": Card(40.3, 215),
    "RTX-2070": Card(29.9, 175),
    "RTX-2060": Card(25.8, 160),
    "GTX-1660": Card(5.0, 120),
    "GTX-1650": Card(3.0, 75),
    "GTX-1080-Ti": Card(11.3, 250),
    "GTX-1080": Card(8.9, 180),
    "GTX-1070": Card(6.5, 150),
    "GTX-1060": Card(4.4, 120),
    "GTX-980": Card(4.6, 165),
    "GTX-970": Card(3.5, 145),
}


def card(product: str) -> Card | None:
    """The card of a node's ``nvidia.com/gpu.product`` label, for example ``NVIDIA-GeForce-RTX-3060``.

    A MIG profile (``NVIDIA-A100-SXM4-40GB-MIG-1g.5gb``) is that share of its card. None for a card not known here.
    """
    name = product
    while (shorter := _VENDOR.sub("", name)) != name:
        name = shorter
    name = name.replace(" ", "-").lower()
    # The longest name first, so that a Ti is not taken for its smaller sister.
    for known in sorted(_CARDS, key=len, reverse=True):
        if re.match(re.escape(known.lower()) + r"(?![a-z0-9])", name):
            found = _CARDS[known]
            mig = _SLICE.search(product)
            share = min(int(mig[1]), SLICES) / SLICES if mig else 1.0
            return Card(found.tflops * share, found.watts * share)
    return None
