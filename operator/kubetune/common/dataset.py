"""Datasets as the API names them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from kubetune_contract.types import RowFormat

from .model import ApiModel, Rule, checked
from .uris import DataUri

COLUMNS = ("messages", "prompt", "completion", "instruction", "input", "output", "text")
"""Members of a row that ``columns`` may rename."""

ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class Dataset(ApiModel):
    """Rows of JSON Lines, a JSON array or CSV with a header."""

    uri: DataUri
    """The file: `s3://bucket/file`, `pvc://claim/file`, `configmap://name/key`, or `hf://owner/name@revision` (its
    train split)."""
    format: RowFormat = RowFormat.AUTO
    """What a row looks like. `auto` decides by the members of the first row; `messages` is a chat, `promptCompletion`
    has `prompt` and `completion`, `instruction` has `instruction`, optional `input` and `output`, `text` has `text`."""
    columns: dict[str, ColumnName] | None = Field(
        default=None,
        max_length=len(COLUMNS),
        json_schema_extra=checked(
            Rule(
                f"self.all(key, key in {list(COLUMNS)!r})",
                f"columns maps our names to the dataset's; the names are {', '.join(COLUMNS)}",
            )
        ),
    )
    """Our name of a member -> the dataset's own name for it, for example `{prompt: question, completion: answer}`.
    Members not listed keep their name."""


class TrainingDataset(Dataset):
    """Rows to train on, and the rows held out to watch the loss."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.validationUri) && has(self.validationShare))",
            "set at most one of validationUri and validationShare",
        ),
    )

    validation_uri: DataUri | None = None
    """File of rows that are never trained on, used for the validation loss; same format and columns as `uri`."""
    validation_share: float | None = Field(default=None, gt=0, le=0.5)
    """Share of the rows to hold out for the validation loss, above 0 and at most 0.5, chosen by a hash of the row."""
