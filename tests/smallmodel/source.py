"""The small base model: pretrained within minutes from the standard library's own sources.

The end-to-end tests train on it, where it is fast; the demo falls back on it where the real model cannot be had.
"""

from __future__ import annotations

from pathlib import Path

from tests.demo.source import Source

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent / "demo"

SMALL_MODEL = Source(
    name="small",
    module="tests.smallmodel.produce",
    code=(
        *(HERE / name for name in ("basemodel.py", "produce.py", "split.py", "task.py")),
        *(DEMO / name for name in ("library.py", "publishing.py")),
    ),
    makers=("safetensors", "tokenizers", "transformers"),
)
