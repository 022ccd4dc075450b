"""Contract of the model server: the fetch step's configuration and its termination message."""

from __future__ import annotations

from dataclasses import dataclass, field

from .types import Contents, ModelRef, ObjectStore, Owner


@dataclass(frozen=True)
class Engine:
    """vLLM's own words; see ``vllm serve --help``."""

    max_model_len: int | None = None
    max_num_seqs: int | None = None
    gpu_memory_utilization: float | None = None
    dtype: str = "auto"
    enforce_eager: bool = False
    extra_args: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServeConfig:
    """What to fetch and how to serve it.

    ``model.name`` is the name clients ask for; with an adapter the bare base answers as ``<name>-base``.
    """

    schema: int
    owner: Owner
    version: str
    model: ModelRef
    store: ObjectStore
    engine: Engine = field(default_factory=Engine)
    gpus: int = 0
    drain_seconds: int = 30
    """Time in-flight requests get to finish after SIGTERM."""
    keeps_cache: bool = False
    """Whether the cache is there for the next pod, too. Models whose contents are prescribed are then copied into it
    from a claim as well, so that they outlive a change of their folder."""


@dataclass(frozen=True)
class FetchSummary:
    """Termination message of the fetch step on success."""

    schema: int
    model_bytes: int
    adapter_bytes: int
    cached: bool
    """True when nothing had to be downloaded."""
    contents: Contents | None = None
    """What is served, as far as it was looked at."""
