"""Which families keep packed rows apart: the list that packing goes by, measured family by family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf

from kubetune_trainer.data.isolation import ISOLATING
from kubetune_trainer.data.packing import LENGTHS, Collator
from tests.support.points import Record

from . import families

pytestmark = pytest.mark.intake

SAME = 2e-5
"""What the order of sums may do to a logit."""
VOCABULARY = 200
_IDS = {"vocab_size": VOCABULARY, "eos_token_id": 0, "pad_token_id": 1, "bos_token_id": None}
_MOE = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
_PLAIN = {name: value for name, value in families.TEXT.items() if name != "head_dim"}
_MAMBA = {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8, "n_groups": 1}
LEAKING: dict[str, dict[str, Any]] = {
    "qwen3_next": {
        **families.TEXT,
        **_MOE,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "shared_expert_intermediate_size": 64,
    },
    "mamba": _MAMBA,
    "mamba2": {**_MAMBA, "num_heads": 8, "head_dim": 16},
    "falcon_h1": {**_PLAIN, "mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16},
    "lfm2": {**_PLAIN, "layer_types": ["conv", "full_attention"]},
    "opt": {
        "hidden_size": 64,
        "ffn_dim": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "word_embed_proj_dim": 64,
    },
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4},
}
"""Families known to leak -> a tiny one's dimensions."""


def model(family: str) -> Any:
    if family in families.CONFIGS:
        return families.randomised(families.CONFIGS[family](dict(_IDS)))
    shape = LEAKING.get(family) or {**_PLAIN, "sliding_window": 32}
    if "moe" in family:
        shape |= _MOE
    return families.randomised(hf.AutoConfig.for_model(family, **shape, **_IDS))


def leak(made: Any) -> float:
    """How much a row's logits change with its neighbour and with being packed at all."""
    generator = torch.Generator().manual_seed(0)
    first, row, other = (torch.randint(2, VOCABULARY, (n,), generator=generator).tolist() for n in (13, 9, 30))

    def packed(neighbour: list[int]) -> torch.Tensor:
        sequence, lengths = [*neighbour, *row], [len(neighbour), len(row)]
        rows = [(sequence, lengths), (other, [len(other)])]
        batch = Collator(1)([{"input_ids": ids, "labels": ids, LENGTHS: parts} for ids, parts in rows])
        inputs = {name: batch[name] for name in ("input_ids", "position_ids")}
        with torch.no_grad():
            try:
                found: torch.Tensor = made(**inputs, use_cache=False).logits
            except TypeError:
                # Some have no positions at all.
                found = made(input_ids=inputs["input_ids"], use_cache=False).logits
        return found[0, len(neighbour) : len(sequence)]

    with torch.no_grad():
        alone = made(input_ids=torch.tensor([row]), use_cache=False).logits[0]
    return max(float((packed(first) - other_).abs().max()) for other_ in (packed(first[::-1]), alone))


@pytest.mark.parametrize("family", sorted(ISOLATING))
def test_a_family_that_is_packed_keeps_rows_apart(family: str, record_property: Record) -> None:
    found = leak(model(family))
    assert found < SAME
    record_property("point", f"packing {family}: a neighbour changes a row's logits by {found:.0e}")


@pytest.mark.parametrize("family", ["qwen3_5", "granitemoehybrid", "gpt_oss", *LEAKING])
def test_a_family_that_leaks_is_not_packed(family: str, record_property: Record) -> None:
    assert family not in ISOLATING
    found = leak(model(family))
    assert found > 10 * SAME
    record_property("point", f"not packed: {family}, where a neighbour changes a row's logits by {found:.0e}")
