"""A model's folder is whole, or the message says what it lacks."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from kubetune_contract import KubeTuneError
from kubetune_shared.models import check_model

URI = "s3://models/tiny"


def safetensors(path: Path, payload: int = 8) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(payload))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    safetensors(tmp_path / "model.safetensors")
    return tmp_path


def problem(folder: Path) -> str:
    with pytest.raises(KubeTuneError) as caught:
        check_model(folder, URI)
    return f"{caught.value.reason}: {caught.value.message}"


def test_a_whole_model(model: Path) -> None:
    assert check_model(model, URI) == {"model_type": "llama"}


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_missing_files(model: Path, name: str) -> None:
    (model / name).unlink()
    assert problem(model).startswith("ModelIncomplete: model s3://models/tiny has no ")


def test_shards_of_the_index_must_be_there(model: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (model / "model.safetensors").unlink()
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    safetensors(model / "model-1.safetensors")
    assert "lacks model-2.safetensors" in problem(model)
    safetensors(model / "model-2.safetensors")
    check_model(model, URI)


@pytest.mark.parametrize("payload", [0, 7, 9])
def test_cut_or_grown_weights(model: Path, payload: int) -> None:
    safetensors(model / "model.safetensors", payload)
    assert "its header says" in problem(model)


@pytest.mark.parametrize(
    "content", [b"", b"\x01", b"\xff" * 64, struct.pack("<Q", 4) + b"nope", b"\x02" + b"\0" * 7 + b"[]"]
)
def test_files_that_are_no_safetensors(model: Path, content: bytes) -> None:
    (model / "model.safetensors").write_bytes(content)
    assert problem(model).startswith("ModelDamaged")


def test_config_that_is_no_object(model: Path) -> None:
    (model / "config.json").write_text("[1]")
    assert "config.json is not a JSON object" in problem(model)
