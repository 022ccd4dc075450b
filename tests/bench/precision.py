"""``python -m tests.bench.precision``: CPU seconds of a LoRA step in float32 and in bfloat16, by size of the model.

Needs the trainer's requirements in this Python. Weights are random: what a step costs does not depend on them. CPU time
is measured, so that other work on the machine does little to it.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from kubetune_shared.cpus import computes_bfloat16
from tests.bench.markdown import table

STEPS = 3
ROWS, TOKENS = 8, 128


@dataclass(frozen=True)
class Size:
    """A Llama's measures."""

    name: str
    hidden: int
    inner: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int


SIZES = (
    Size("2.4 million", 192, 512, 4, 6, 2, 4096),
    Size("135 million", 576, 1536, 30, 9, 3, 49152),
)


@dataclass(frozen=True)
class Measured:
    """CPU seconds of a step, in float32 and in bfloat16."""

    size: Size
    wide: float
    narrow: float


def adapted(size: Size, dtype: torch.dtype) -> Any:
    """A model of random weights with an adapter on all linear layers, as the trainer makes it."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).to(dtype)
    return get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))


def cpu_seconds(size: Size, dtype: torch.dtype) -> float:
    """Of one step: the median of STEPS after one that is not counted."""
    model = adapted(size, dtype).train()
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=2e-4)
    rows = torch.randint(0, size.vocabulary, (ROWS, TOKENS))
    taken = []
    for _ in range(STEPS + 1):
        begun = time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            loss = model(input_ids=rows, labels=rows).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        taken.append(time.process_time() - begun)
    return statistics.median(taken[1:])


COLUMNS: list[tuple[str, Callable[[Measured], str]]] = [
    ("parameters", lambda one: one.size.name),
    ("float32, CPU s", lambda one: f"{one.wide:.2f}"),
    ("bfloat16, CPU s", lambda one: f"{one.narrow:.2f}"),
    ("times as fast", lambda one: f"{one.wide / one.narrow:.2f}"),
]


def main() -> None:
    """Prints the table."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    print(f"the CPU {'has' if computes_bfloat16() else 'lacks'} bfloat16; {ROWS} rows of {TOKENS} tokens a step\n")
    rows = [Measured(size, cpu_seconds(size, torch.float32), cpu_seconds(size, torch.bfloat16)) for size in SIZES]
    print(table(COLUMNS, rows))


if __name__ == "__main__":
    main()
