"""What the rows amount to in tokens: lengths, cuts, masks, packing, duplicates and leaks. Pure."""

from __future__ import annotations

import bisect
import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kubetune_contract import Hyperparameters
from kubetune_shared.rows import Row, spoken

PACK_ROWS = 1000
"""Rows that are packed with each other: datasets.map's batch."""
BINS = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
"""Upper bounds in tokens; longer rows are counted under ``more``."""
_SPACE = re.compile(r"\s+")


@dataclass
class Lengths:
    """Token counts of one set of rows; filled row by row so that the ids need not be kept."""

    limit: int
    """``max_sequence_length``."""
    full: list[int] = field(default_factory=list)
    """Before truncation, every row."""
    kept: list[int] = field(default_factory=list)
    """After truncation, rows with something to learn."""
    learned: int = 0
    """Tokens that carry loss."""
    truncated: int = 0
    dropped: int = 0
    reasoning_left_out: int = 0
    """Chats of which the template does not write all reasoning."""
    highest_id: int = 0
    """Of all tokens: the embedding must have a row for it."""

    def add(self, length: int, labelled: Sequence[int]) -> None:
        """One row: its length in tokens and the positions of those that carry loss."""
        self.full.append(length)
        self.truncated += length > self.limit
        # The first token is never predicted.
        counted = sum(1 for position in labelled if 0 < position < self.limit)
        if counted:
            self.kept.append(min(length, self.limit))
            self.learned += counted
        else:
            self.dropped += 1

    @property
    def tokens(self) -> int:
        """Of one pass over the rows, without padding."""
        return sum(self.kept)

    @property
    def masked_share(self) -> float:
        """Share of ``tokens`` without loss."""
        return 1 - self.learned / self.tokens if self.tokens else 0.0


def percentiles(lengths: Sequence[int]) -> dict[str, int]:
    """``p50``, ``p90``, ``p99`` (nearest rank) and ``max``."""
    ordered = sorted(lengths)
    if not ordered:
        return {}
    ranks = {f"p{share}": max(0, math.ceil(share / 100 * len(ordered)) - 1) for share in (50, 90, 99)}
    return {name: ordered[rank] for name, rank in ranks.items()} | {"max": ordered[-1]}


def histogram(lengths: Sequence[int]) -> dict[str, int]:
    """Upper bound of a bin -> rows, from the first to the last bin that has any."""
    counts = [0] * (len(BINS) + 1)
    for length in lengths:
        counts[bisect.bisect_left(BINS, length)] += 1
    used = [position for position, count in enumerate(counts) if count]
    if not used:
        return {}
    names = [*map(str, BINS), "more"]
    return {names[position]: counts[position] for position in range(used[0], used[-1] + 1)}


def packed(lengths: Sequence[int], limit: int) -> list[int]:
    """Lengths of the sequences that TRL's packing (``bfd``: best fit, longest rows first) makes of rows."""
    made: list[int] = []
    for start in range(0, len(lengths), PACK_ROWS):
        made += _best_fit(lengths[start : start + PACK_ROWS], limit)
    return made


def _best_fit(lengths: Iterable[int], limit: int) -> list[int]:
    spaces: list[int] = []
    for length in sorted((min(length, limit) for length in lengths if length), reverse=True):
        place = bisect.bisect_left(spaces, length)
        space = spaces.pop(place) if place < len(spaces) else limit
        bisect.insort(spaces, space - length)
    return [limit - space for space in spaces]


@dataclass(frozen=True)
class Plan:
    """The run in numbers."""

    sequences: int
    """Of one epoch, after packing."""
    steps: int
    """Optimizer steps."""
    micro_batches: int
    """Of one process, over the run."""
    tokens: int
    """That one process computes over the run, with padding."""


def plan(lengths: Sequence[int], hyper: Hyperparameters, processes: int) -> Plan:
    """How transformers' Trainer goes through rows of these lengths (after truncation)."""
    sequences = packed(lengths, hyper.max_sequence_length) if hyper.packing else list(lengths)
    batch, accumulation = hyper.per_device_train_batch_size, hyper.gradient_accumulation_steps
    batches = max(1, math.ceil(math.ceil(len(sequences) / batch) / processes))
    per_epoch = max(1, math.ceil(batches / accumulation))
    steps = hyper.max_steps or math.ceil(hyper.num_train_epochs * per_epoch)
    micro_batches = round(steps / per_epoch * batches)
    return Plan(len(sequences), steps, micro_batches, round(micro_batches * padded(sequences, batch)))


def padded(lengths: Sequence[int], batch: int) -> float:
    """Mean tokens of a micro-batch of rows drawn at random, each padded to the longest of them."""
    ordered, count = sorted(lengths), len(lengths)
    batch = min(batch, count)
    # The longest of a batch is no longer than the n-th row with probability (n / count) ** batch.
    longest = sum(
        length * ((rank / count) ** batch - ((rank - 1) / count) ** batch) for rank, length in enumerate(ordered, 1)
    )
    return longest * batch


def duplicates(rows: Iterable[Row]) -> int:
    """Rows that repeat an earlier one exactly."""
    everything = [row.key() for row in rows]
    return len(everything) - len(set(everything))


def leaks(train: Iterable[Row], validation: Iterable[Row]) -> int:
    """Validation rows that are training rows as well, whatever their case and white space."""
    known = {_normalised(row) for row in train}
    return sum(_normalised(row) in known for row in validation)


def _normalised(row: Row) -> bytes:
    if row.messages is not None:
        text = "\n".join([*map(spoken, row.messages), *map(json.dumps, row.tools)])
    else:
        text = row.text if row.text is not None else f"{row.prompt}\n{row.completion}"
    folded = _SPACE.sub(" ", text).strip().casefold()
    return hashlib.sha256(folded.encode("utf-8", "surrogatepass")).digest()
