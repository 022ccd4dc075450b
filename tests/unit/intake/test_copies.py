"""Of a folder in a store with several copies of its weights one is brought, counted and served."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kubetune_contract import Contents, ModelRef, Owner, ServeConfig
from kubetune_server.fetch import bring
from kubetune_shared.contents import content_of
from kubetune_shared.outlines import outline_model
from kubetune_shared.sources import LocalModel, resolve_model
from kubetune_shared.store import Store
from tests.support.points import Record
from tests.support.s3 import S3Server

pytestmark = pytest.mark.intake
URI = "s3://models/copies"
CONFIG = '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_attention_heads": 2}'
EMPTY = (2).to_bytes(8, "little") + b"{}"
KEPT = {"config.json", "tokenizer.json", "model.safetensors", "README.md"}
SECOND = ("consolidated.safetensors", "original/model.safetensors", "pytorch_model.bin", "model.gguf")


@pytest.fixture
def folder(server: S3Server) -> Path:
    """The folder at URI."""
    place = server.root / "models/copies"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "config.json").write_text(CONFIG)
    (place / "tokenizer.json").write_text("{}")
    (place / "README.md").write_text("a model")
    (place / "model.safetensors").write_bytes(EMPTY)
    for name in SECOND:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(EMPTY + bytes(1000))
    return place


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_one_copy_is_fetched_and_counted(folder: Path, store: Store, tmp_path: Path, record_property: Record) -> None:
    local = resolve_model(URI, store, tmp_path / "model")
    assert names(local.path) == KEPT
    outline = outline_model(URI, store, tmp_path / "outline")
    assert outline.weight_bytes == len(EMPTY)
    assert outline.download_bytes == sum((folder / name).stat().st_size for name in KEPT)
    record_property("point", f"a store's folder with {', '.join(SECOND)}: one copy fetched and counted")


def test_the_index_of_another_save_is_left(folder: Path, store: Store, tmp_path: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    assert names(resolve_model(URI, store, tmp_path / "model").path) == KEPT


def test_parts_are_fetched_by_their_index(folder: Path, store: Store, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(folder / "part-a.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "part-a.safetensors"}}))
    found = names(resolve_model(URI, store, tmp_path / "model").path)
    assert found == KEPT - {"model.safetensors"} | {"part-a.safetensors", "model.safetensors.index.json"}


@pytest.mark.usefixtures("folder")
def test_a_server_brings_one_copy_and_finds_it_in_its_cache(store: Store, tmp_path: Path) -> None:
    config = ServeConfig(1, Owner("team", "demo", "uid"), "v1", ModelRef("demo", URI), store.config, gpus=1)
    for cached in (False, True):
        fetched, summary = bring(config, store, tmp_path / "cache")
        assert (names(Path(fetched.model_path)), summary.cached) == (KEPT, cached)


def test_what_was_admitted_with_second_copies_is_served_still(folder: Path, store: Store, tmp_path: Path) -> None:
    """By a release that fetched everything."""
    (folder / "consolidated.safetensors").unlink()
    shutil.copytree(folder, tmp_path / "all")
    admitted = content_of(URI, LocalModel(tmp_path / "all", None, None))
    ref = ModelRef("demo", URI, contents=Contents(admitted))
    config = ServeConfig(1, Owner("team", "demo", "uid"), "v1", ref, store.config, gpus=1)
    _, summary = bring(config, store, tmp_path / "cache")
    assert summary.contents == Contents(admitted)
