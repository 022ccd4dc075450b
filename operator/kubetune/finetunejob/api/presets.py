"""Named starting points: values for what a user leaves out.

They are starting points for models of 1 to 8 billion parameters and some hundred to some ten thousand rows, not optima;
what they differ in is what the purposes differ in: how much is to be learned (rank, epochs), how long the rows are, and
how easily the base model's own abilities are lost (learning rate).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .hyperparameters import Hyperparameters, Lora
from .spec import Preset


@dataclass(frozen=True)
class PresetValues:
    """Only the members a preset is about are set."""

    why: str
    """What it is for and what its values are owed to; docs/api.md shows it."""
    lora: Lora
    hyperparameters: Hyperparameters
    """With the learning rate for an adapter."""


PRESETS: Mapping[Preset, PresetValues] = {
    Preset.SUPPORT: PresetValues(
        "Dialogues whose tone and procedure are learned. Few directions of the weights suffice (low rank) and may move "
        "far (high rate); rows are short, so that they are packed; noise on the embeddings keeps their wording from "
        "being parroted.",
        Lora(rank=8, alpha=16, dropout=0.05),
        Hyperparameters(
            learning_rate=3e-4,
            num_train_epochs=3.0,
            max_sequence_length=1024,
            packing=True,
            neftune_noise_alpha=5.0,
        ),
    ),
    Preset.TECHNICAL_QA: PresetValues(
        "Facts and longer answers. Facts take repetition, hence more passes, with dropout and weight decay against "
        "learning rows by heart, and room for an answer with its context.",
        Lora(rank=16, alpha=32, dropout=0.05),
        Hyperparameters(
            learning_rate=2e-4,
            num_train_epochs=5.0,
            max_sequence_length=2048,
            warmup_ratio=0.05,
            weight_decay=0.01,
        ),
    ),
    Preset.CODE: PresetValues(
        "Files of source code. They are long, so that memory goes to the sequence: one row at a time, activations "
        "recomputed. Base models know code already; a low rate and few passes keep that, while a higher rank takes up "
        "a code base's own idioms.",
        Lora(rank=32, alpha=64, dropout=0.0),
        Hyperparameters(
            learning_rate=1e-4,
            num_train_epochs=2.0,
            max_sequence_length=4096,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=16,
            gradient_checkpointing=True,
        ),
    ),
}
