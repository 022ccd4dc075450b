"""Stands for the card itself: Python imports this first in a container that the device plugin's double gave a GPU.

The trainer then computes on the CPU where it would use the card. Everything around it is real: the request, the
scheduler, the kubelet's allocation, the training and the release.
"""

from __future__ import annotations

import importlib.util
from typing import Any

if importlib.util.find_spec("kubetune_trainer"):
    from kubetune_trainer.model import device

    def detect(gpus: int, torch: Any, index: int = 0) -> device.Device:
        return device.Device("cpu", "float32", "test double")

    device.detect = detect
