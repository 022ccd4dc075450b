"""Datasets as the API names them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints

from kubetune_contract.types import COLUMNS, GROUP, Missing, RowFormat

from .model import ApiModel, Rule, checked
from .syntax import SEEN_RULE
from .uris import DataUri

ITEM_COLUMNS = (*COLUMNS, GROUP)
"""Those of an item to answer."""

ColumnName = Annotated[
    str, StringConstraints(min_length=1, max_length=128), Field(json_schema_extra=checked(SEEN_RULE))
]


def columns_of(names: tuple[str, ...]) -> Any:
    """The field ``columns`` of a dataset whose members have these names."""
    rule = Rule(
        f"self.all(key, key in {list(names)!r})",
        f"columns maps our names to the dataset's; the names are {', '.join(names)}",
    )
    return Field(default=None, max_length=len(names), json_schema_extra=checked(rule))


class Dataset(ApiModel):
    """Rows of JSON Lines, a JSON array, CSV with a header, or Parquet."""

    uri: DataUri
    """The file: `s3://bucket/file`, `pvc://claim/file`, `configmap://name/key`, or `hf://owner/name@revision` (its
    train split)."""
    format: RowFormat = RowFormat.AUTO
    """What a row looks like. `auto` decides by the rows' members; `messages` is a chat, `sharegpt` one under
    `conversations` with `from` and `value`, `promptCompletion` has `prompt` and `completion`, `instruction` has
    `instruction`, optional `input` and `output`, `text` has `text`."""
    columns: dict[str, ColumnName] | None = columns_of(COLUMNS)
    """Our name of a member -> the dataset's own name for it, for example `{prompt: question, completion: answer}`.
    Members not listed keep their name. Left out, well-known names of columns are recognised, with a confidence."""
    missing: Missing = Missing.REFUSE
    """What is done about rows in which a cell is missing that is needed (null, absent or empty): `Refuse` refuses the
    dataset and names them, `Drop` leaves them out and counts them."""
    system_prompt: str | None = Field(default=None, min_length=1, max_length=16_384)
    """System message of every chat that has none of its own; put before the prompt of other rows. Serve the model with
    the same one."""


class EvaluationDataset(Dataset):
    """Items to answer."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.format != 'text'",
            "rows of format text have no question and no expected answer; evaluate on messages, promptCompletion, "
            "instruction or sharegpt",
            "format",
        ),
    )

    columns: dict[str, ColumnName] | None = columns_of(ITEM_COLUMNS)
    """Our name of a member -> the dataset's own name for it, for example `{prompt: question, completion: answer, group:
    document}`. Members not listed keep their name. `group` is what items share, such as their document or conversation:
    items of one group, and items with equal prompts, are counted as one observation."""


class TrainingDataset(Dataset):
    """Rows to train on, and the rows held out to watch the loss."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.systemPrompt) || self.format != 'text'",
            "rows of format text are no chats and have no place for a systemPrompt",
            "systemPrompt",
        ),
        Rule(
            "!(has(self.validationUri) && has(self.validationShare))",
            "set at most one of validationUri and validationShare",
        ),
    )

    validation_uri: DataUri | None = None
    """File of rows that are never trained on, used for the validation loss; same format and columns as `uri`."""
    validation_share: float | None = Field(default=None, gt=0, le=0.5)
    """Share of the rows to hold out for the validation loss, above 0 and at most 0.5, chosen by a hash of the row."""
