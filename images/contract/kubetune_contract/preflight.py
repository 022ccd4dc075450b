"""Contract of the trainer: what is found out before a GPU is taken."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from .train_results import RowSettings, Suggestion

UNUSED_LIMIT = 16


class Fit(enum.StrEnum):
    """Whether the run fits the memory of the GPUs it may land on."""

    FITS = "Fits"
    TIGHT = "Tight"
    DOES_NOT_FIT = "DoesNotFit"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes at the peak, per GPU or of main memory, by what they are for; the formulas are in the trainer's
    ``estimate`` and ``mainmemory`` modules."""

    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    overhead: int
    total: int
    available: int | None = None
    """Memory of the GPU the verdict is about, or what the pod may use of main memory."""
    accelerator: str | None = None
    """That GPU; None on a CPU."""


@dataclass(frozen=True)
class Range:
    """A central estimate and the interval it lies in with about 90 % probability."""

    low: float
    estimate: float
    high: float


@dataclass(frozen=True)
class PreflightSummary:
    """Termination message of ``preflight``: what was found out before a GPU is taken."""

    schema: int
    fit: Fit
    fit_message: str
    train_rows: int
    validation_rows: int
    dataset_sha256: str
    steps: int
    """Optimizer steps planned."""
    tokens_per_epoch: int
    """After truncation, without padding."""
    token_lengths: dict[str, int] = field(default_factory=dict)
    """``p50``, ``p90``, ``p99`` and ``max`` of the rows' lengths in tokens, before truncation."""
    histogram: dict[str, int] = field(default_factory=dict)
    """Upper bound of a bin in tokens -> rows."""
    truncated_rows: int = 0
    dropped_rows: int = 0
    masked_share: float = 0.0
    """Share of the tokens that carry no loss."""
    duplicate_rows: int = 0
    leaked_rows: int = 0
    """Validation rows that are training rows as well."""
    missing_rows: int = 0
    """Rows left out because a cell is missing."""
    unused_members: dict[str, int] = field(default_factory=dict)
    """Member that rows have and nothing is learned from, by its path -> rows that have it; at most UNUSED_LIMIT, and
    under ``...`` the rows of those beyond."""
    columns: dict[str, str] = field(default_factory=dict)
    """Our name of a member -> the column that was recognised as it; empty where nothing had to be recognised."""
    columns_confidence: float | None = None
    """Of ``columns``, in [0, 1]."""
    memory: MemoryEstimate | None = None
    disk_bytes: int = 0
    """Scratch space the run will need."""
    seconds: Range | None = None
    cost: Range | None = None
    kwh: Range | None = None
    checkpoint_bytes: int = 0
    upload_bytes_per_second: float | None = None
    """Measured while checking that the output can be written."""
    suggestions: tuple[Suggestion, ...] = ()
    settings: RowSettings | None = None
    """What the number of rows decides; the figures here are those of a run with it."""
