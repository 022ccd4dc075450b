"""The table of families says what the images' own rules say."""

from __future__ import annotations

import pytest

from kubetune_shared.lora_serving import not_served
from kubetune_trainer.data.isolation import isolates
from kubetune_trainer.exports.exportable import ARCHITECTURES
from tests.support.adapter_layers import LAYERS
from tests.support.family_rows import ROWS, YES, Row
from tests.support.points import Record

pytestmark = pytest.mark.intake


@pytest.mark.parametrize(("kind", "row"), ROWS.items(), ids=list(ROWS))
def test_a_row_says_what_happens(kind: str, row: Row, record_property: Record) -> None:
    layers = LAYERS[kind]
    assert layers.architecture == row.architecture
    assert (row.packed == YES) == isolates({"model_type": kind})
    assert (row.gguf == YES) == (row.architecture in ARCHITECTURES)
    experts = [name for name in layers.names if ".experts" in name]
    problem = not_served({"architectures": [row.architecture]}, {"target_parameters": experts})
    assert (row.served == YES) == (problem is None)
    said = {name: getattr(row, name) or "yes" for name in ("trained", "merged", "gguf", "served", "packed")}
    record_property("point", f"{kind}: " + "; ".join(f"{name}: {what}" for name, what in said.items()))
