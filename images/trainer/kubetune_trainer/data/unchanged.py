"""Are rows and base those that this run began with? Pure.

What was replaced under a run would be mixed with what the run has learned already, and its records would name one of
both. So such a run ends, permanently and with both digests.
"""

from __future__ import annotations

from kubetune_contract import Dataset, ExitCode, KubeTuneError

BASE_CHANGED = "BaseChanged"
SHOWN = 16
"""Digits of a digest that a person compares."""


def check_unchanged(dataset: Dataset, now: str, before: str | None, since: str) -> None:
    """Raises KubeTuneError (BAD_DATA, DataChanged) when the rows' digest is not the one known ``since`` then."""
    if before is None or before == now:
        return
    where = " and ".join(uri for uri in (dataset.uri, dataset.validation_uri) if uri)
    raise KubeTuneError(
        ExitCode.BAD_DATA,
        "DataChanged",
        f"the rows at {where} have changed since {since}: their digest was {before[:SHOWN]} and is {now[:SHOWN]} now. "
        "Nothing was mixed, and this job is over. To train on the new rows, delete this job and create it again, or "
        "create another; to train on the old ones, put them back first. A file name per version of the data avoids it",
    )


def check_same_base(uri: str, now: str, before: str | None, since: str) -> None:
    """Raises KubeTuneError (BAD_DATA, BaseChanged) when the base's content is not the one known ``since`` then."""
    if before is not None and before != now:
        raise base_changed(
            uri, f"holds another model than {since}: that was {_short(before)}, there is {_short(now)} now"
        )


def base_changed(uri: str, problem: str) -> KubeTuneError:
    """The refusal of a base that is not the one the run began with."""
    return KubeTuneError(
        ExitCode.BAD_DATA,
        "BaseChanged",
        f"{uri} {problem}. Nothing was mixed, and this job is over. To train on what is there now, delete this job and "
        "create it again, or create another; to finish this one, put the old files back first. A folder per version "
        "avoids it, or a commit after the @ of an hf:// URI",
    )


def _short(content: str) -> str:
    kind, _, digest = content.partition(":")
    return f"{kind}:{digest[:SHOWN]}"
