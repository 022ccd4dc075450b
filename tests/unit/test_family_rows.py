"""The table of families says what the images' own rules say."""

from __future__ import annotations

import pytest

from kubetune_shared.intake.families import FAMILIES, YES, Family
from kubetune_shared.lora_serving import not_served
from kubetune_trainer.data.isolation import isolates
from kubetune_trainer.exports.exportable import ARCHITECTURES
from tests.support.adapter_layers import LAYERS
from tests.support.points import Record

pytestmark = pytest.mark.intake


@pytest.mark.parametrize("row", FAMILIES, ids=[row.model_type for row in FAMILIES])
def test_a_row_says_what_happens(row: Family, record_property: Record) -> None:
    layers = LAYERS[row.model_type]
    assert (row.packed == YES) == isolates({"model_type": row.model_type})
    assert (row.gguf == YES) == (layers.architecture in ARCHITECTURES)
    experts = [name for name in layers.names if ".experts" in name]
    problem = not_served({"architectures": [layers.architecture]}, {"target_parameters": experts})
    assert (row.served == YES) == (problem is None)
    said = {name: getattr(row, name) or "yes" for name in ("trained", "merged", "gguf", "served", "packed")}
    record_property("point", f"{row.model_type}: " + "; ".join(f"{name}: {what}" for name, what in said.items()))
