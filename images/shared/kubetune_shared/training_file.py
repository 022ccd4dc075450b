"""Which file of a dataset repository is the one to train on, told by the words of the names. Pure."""

from __future__ import annotations

import re

from kubetune_contract import ExitCode, KubeTuneError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
TRAIN = frozenset({"train", "training", "trainset"})
HELD_OUT = frozenset({"test", "testing", "eval", "evaluation", "valid", "validation", "val", "dev", "holdout"})
ABOUT = frozenset({"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "config.json"})
"""Files that libraries write beside the rows."""
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def training_file(names: list[str], uri: str) -> str:
    """The one file of a dataset repository to train on.

    Of its data files those with ``train`` as a word of the file's name, else of a folder's; else those without a word
    that says that they are held out. Raises KubeTuneError (BAD_DATA, AmbiguousDataset) when that is not one file.
    """
    data = [name for name in sorted(names) if _is_data(name)]
    steps = (
        [name for name in data if TRAIN & _words(_file(name)) and not HELD_OUT & _words(_file(name))],
        [name for name in data if TRAIN & _words(name) and not HELD_OUT & _words(name)],
        [name for name in data if not HELD_OUT & _words(name)],
    )
    chosen = next((step for step in steps if step), data)
    if len(chosen) == 1:
        return chosen[0]
    raise KubeTuneError(
        ExitCode.BAD_DATA,
        "AmbiguousDataset",
        f"{uri} has {len(chosen)} possible training files "
        f"({', '.join(chosen[:5]) or 'no JSONL, JSON, CSV or Parquet'}); put the one to use into a bucket or a claim",
    )


def _is_data(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and _file(name).lower() not in ABOUT


def _file(name: str) -> str:
    return name.rpartition("/")[2]


def _words(name: str) -> set[str]:
    """The words of a path: ``train`` is one of ``trainData`` and ``train-00000``, and none of ``constraints``."""
    return {word.lower() for word in _WORD.findall(name)}
