"""Folders that look like models to whoever reads their headers only."""

from __future__ import annotations

import json
import struct
from pathlib import Path


def put_model(folder: Path) -> None:
    """A Llama of two weights in ``folder``, which is made."""
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
