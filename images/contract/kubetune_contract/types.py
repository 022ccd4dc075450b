"""Parts shared by several configurations and summaries."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class RowFormat(enum.StrEnum):
    """How one row of a dataset is read."""

    AUTO = "auto"
    """Decided by the first row's members."""
    MESSAGES = "messages"
    PROMPT_COMPLETION = "promptCompletion"
    INSTRUCTION = "instruction"
    SHAREGPT = "sharegpt"
    """A chat under ``conversations``, with ``from`` and ``value`` in place of role and content."""
    TEXT = "text"


class Missing(enum.StrEnum):
    """What is done about rows in which a cell is missing that the row's shape needs."""

    REFUSE = "Refuse"
    """The dataset is refused, and the rows are named."""
    DROP = "Drop"
    """They are left out, and counted."""


@dataclass(frozen=True)
class Owner:
    """The custom resource a workload runs for."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class ObjectStore:
    """Where ``s3://`` URIs lead. Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""

    endpoint: str | None = None
    """None means AWS itself."""
    region: str = "us-east-1"


COLUMNS = (
    "messages",
    "conversations",
    "prompt",
    "completion",
    "instruction",
    "input",
    "output",
    "text",
    "tools",
    "system",
    "history",
)
"""Members of a row that ``Dataset.columns`` may name."""
GROUP = "group"
"""One more, of an evaluation's items: what an example shares with others."""


@dataclass(frozen=True)
class Dataset:
    """Rows to train on or to score; URIs are s3://, pvc://, configmap:// or hf://."""

    uri: str
    format: RowFormat = RowFormat.AUTO
    columns: dict[str, str] = field(default_factory=dict)
    """Our member name (COLUMNS, and GROUP of items) -> the dataset's column."""
    validation_uri: str | None = None
    validation_share: float | None = None
    """Share of the training rows held out, in (0, 0.5]; chosen by a hash of the row, so that it survives reordering."""
    system_prompt: str | None = None
    """System message put before every chat that has none of its own."""
    missing: Missing = Missing.REFUSE


@dataclass(frozen=True)
class Contents:
    """What a model's folders hold, whatever they are called; a part is None where nobody knows it.

    A part is ``manifest:`` with the SHA-256 of a published folder's manifest, ``files:`` with one over the names and
    digests of all files of a folder without, or ``commit:`` with the hub's commit. Equal parts are the same files.
    """

    model: str | None = None
    adapter: str | None = None


@dataclass(frozen=True)
class ModelRef:
    """A model to load: a base, or a base with an adapter on top."""

    name: str
    uri: str
    adapter_uri: str | None = None
    contents: Contents | None = None
    """What must be there for the model to be loaded; None: whatever is there."""


@dataclass(frozen=True)
class Artifact:
    """A published folder in the object store; readers trust its ``manifest.json`` only."""

    uri: str
    kind: str
    """``adapter``, ``model``, ``merged`` (base and adapter as one model) or ``gguf``."""
    manifest_sha256: str
    bytes: int
