"""Keeps torch out of processes that only want a tokenizer."""

from __future__ import annotations

import importlib.util
import os
import sys


def without_torch() -> None:
    """Makes torch look absent to the libraries imported from now on: it would take seconds and 300 MB for nothing.

    ``None`` in ``sys.modules`` is the import system's own word for "do not look".
    """
    if "torch" not in sys.modules and importlib.util.find_spec("torch"):
        sys.modules["torch"] = None  # type: ignore[assignment]
        # Else transformers says that it found no torch.
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
