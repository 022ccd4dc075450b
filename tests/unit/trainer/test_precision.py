"""A run stays in the precision it began in, or says that it could not."""

from __future__ import annotations

import pytest

from kubetune_shared.store import Store
from kubetune_trainer.checkpoints.runstate import RunState
from kubetune_trainer.model.capability import Precision
from kubetune_trainer.model.device import Device, as_begun
from kubetune_trainer.reporting.advice import precision_changed
from tests.support.s3 import S3Server


@pytest.mark.parametrize(
    ("node", "recorded", "has_checkpoint", "expected", "told"),
    [
        ("bfloat16", None, False, "bfloat16", False),
        ("float32", None, False, "float32", False),
        ("bfloat16", None, True, "float32", False),
        ("bfloat16", "float32", True, "float32", False),
        ("bfloat16", "float32", False, "float32", False),
        ("bfloat16", "bfloat16", True, "bfloat16", False),
        ("float32", "bfloat16", True, "float32", True),
    ],
    ids=["new", "new, 32 bits", "an earlier release's", "32 bits", "before a checkpoint", "same", "not on this node"],
)
def test_on_cpus(node: Precision, recorded: str | None, has_checkpoint: bool, expected: str, told: bool) -> None:
    device = as_begun(Device("cpu", node), recorded, has_checkpoint=has_checkpoint)
    assert device.precision == expected
    found = precision_changed(recorded, device.precision)
    assert (found is not None) is told
    if found:
        assert found.reason == "PrecisionChanged"
        assert "began in bfloat16 and goes on in float32" in found.message


def test_a_gpu_computes_as_it_can() -> None:
    card = Device("cuda", "bfloat16", "a card", (8, 6))
    assert as_begun(card, None, has_checkpoint=True) == card


def test_it_is_remembered(known_server: S3Server) -> None:
    store, folder = Store(known_server.store), "s3://out/precision"
    RunState.claim(store, folder, "sha").computes_in("float32")
    assert RunState.claim(store, folder, "sha").precision == "float32"
    assert RunState.claim(store, folder, "other").precision is None, "another run"
