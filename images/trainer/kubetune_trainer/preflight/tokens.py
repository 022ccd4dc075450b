"""Rows become token counts, exactly as the training will tokenise them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubetune_contract import Hyperparameters
from kubetune_shared.rows import Row
from kubetune_trainer.data.encoding import MASKED, Tokenised

from .profile import Lengths

SAMPLE = 2000
"""Rows whose labels are kept, to see how turns end."""

if TYPE_CHECKING:
    from kubetune_trainer.data.encoding import Encoder


def measure(encoder: Encoder, rows: Iterable[Row], limit: int) -> tuple[Lengths, Tokenised]:
    """Token counts of ``rows``, of which ``limit`` tokens each are learned from, and the labels of the first SAMPLE."""
    found, done = Lengths(limit), Tokenised()
    for row in rows:
        ids, labels = encoder.row(row, done)
        found.highest_id = max(found.highest_id, max(ids, default=0))
        found.add(len(ids), [position for position, label in enumerate(labels) if label != MASKED])
        if len(done.labels) < SAMPLE:
            done.truncated += len(ids) > limit
            done.labels.append(labels[:limit])
    found.reasoning_left_out = done.reasoning_left_out
    return found, done


def load(path: Path, uri: str) -> Any:
    """The tokenizer in ``path``."""
    from kubetune_trainer.data.tokenizer import load_tokenizer  # noqa: PLC0415 (takes seconds)

    return load_tokenizer(path, uri)


def end_ids(tokenizer: Any) -> frozenset[int]:
    """Tokens that may end a turn."""
    from kubetune_trainer.data.tokenizer import end_tokens  # noqa: PLC0415

    return end_tokens(tokenizer)


def encoder(tokenizer: Any, hyper: Hyperparameters) -> Encoder:
    """As the training chooses it."""
    from kubetune_trainer.data.tokenizer import encoder_for  # noqa: PLC0415

    return encoder_for(tokenizer, hyper)
