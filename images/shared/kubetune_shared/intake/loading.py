"""Loads a model without its weights, by transformers' own loader: what is missing, renamed, tied or of another shape
is found by the code that would find it. Imports torch when asked, which takes seconds.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .complete import Compared, Shape


def on_meta(folder: Path) -> Any:
    """The model of the folder's ``config.json`` as training and evaluation make it, on the device ``meta``.

    Raises what transformers raises for a configuration it cannot make a model of.
    """
    import torch  # noqa: PLC0415 (seconds)
    from transformers import AutoConfig  # noqa: PLC0415

    from kubetune_shared.classes import auto_class  # noqa: PLC0415

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with torch.device("meta"):
        return auto_class(config).from_config(config)


def compare(model: Any, tensors: Mapping[str, Shape]) -> Compared:
    """What loading files with ``tensors`` (name -> shape) into the class of ``model`` would find.

    Both are on ``meta``: nothing is read, and converting, tying and joining tensors costs nothing there.
    """
    import torch  # noqa: PLC0415 (seconds)

    state = {name: torch.empty(shape, device="meta") for name, shape in tensors.items()}
    with _quiet():
        _, found = type(model).from_pretrained(
            None,
            config=model.config,
            state_dict=state,
            device_map={"": "meta"},
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    return compared(found)


def compared(found: Mapping[str, Any]) -> Compared:
    """The report that transformers gives with ``output_loading_info``."""
    return Compared(
        missing=frozenset(found["missing_keys"]),
        unexpected=frozenset(found["unexpected_keys"]),
        mismatched=tuple((name, tuple(ours), tuple(theirs)) for name, ours, theirs in found["mismatched_keys"]),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing is loaded, and no progress and no report of it belongs into the log."""
    from transformers.utils import logging as library  # noqa: PLC0415

    level, shows = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity(logging.CRITICAL)
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.set_verbosity(level)
        if shows:
            library.enable_progress_bar()
