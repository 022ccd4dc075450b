"""The server's fetch step and its engine's second start, held to what was admitted; without an engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kubetune_contract import Contents, ExitCode, KubeTuneError, ModelRef, ObjectStore, Owner, ServeConfig
from kubetune_server.fetch import bring, check_again
from kubetune_shared.artifacts import publish
from kubetune_shared.store import Store

FOLDER, CLAIM = "s3://models/served", "pvc://claim/model"
CONFIG = '{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_attention_heads": 2}'


def model(folder: Path, config: str = CONFIG) -> Path:
    """A model without tensors, which is whole all the same."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder


def wanted(uri: str, content: str | None, store: Store, *, keeps_cache: bool = False) -> ServeConfig:
    ref = ModelRef("demo", uri, contents=Contents(content) if content else None)
    return ServeConfig(1, Owner("team", "demo", "uid"), "v1", ref, store.config, gpus=1, keeps_cache=keeps_cache)


@pytest.fixture
def published(store: Store, tmp_path: Path) -> str:
    """FOLDER's content."""
    made = publish(store, model(tmp_path / "local"), FOLDER, kind="model", meta={})
    return f"manifest:{made.manifest_sha256}"


def test_what_was_admitted_is_brought_and_told(published: str, store: Store, tmp_path: Path) -> None:
    for content in (None, published):
        fetched, summary = bring(wanted(FOLDER, content, store), store, tmp_path / "cache")
        assert Path(fetched.model_path).name == published.partition(":")[2]
        assert summary.contents == Contents(published)
        assert summary.cached is (content is not None), "the same folder, prescribed or not"


@pytest.mark.law("L3", "F3")
def test_something_else_is_refused_and_costs_no_download(published: str, store: Store, tmp_path: Path) -> None:
    publish(store, model(tmp_path / "local", CONFIG + " "), FOLDER, kind="model", meta={})
    with pytest.raises(KubeTuneError) as caught:
        bring(wanted(FOLDER, published, store), store, tmp_path / "cache")
    assert (caught.value.code, caught.value.reason) == (ExitCode.CHANGED, "ContentChanged")
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


@pytest.mark.law("L4")
def test_a_kept_cache_needs_the_source_no_more(published: str, store: Store, tmp_path: Path) -> None:
    """Not even for the look at its settings, which another model's would fail."""
    config = wanted(FOLDER, published, store, keeps_cache=True)
    bring(config, store, tmp_path / "cache")
    publish(store, model(tmp_path / "local", "{}"), FOLDER, kind="model", meta={})
    assert bring(config, store, tmp_path / "cache")[1].contents == Contents(published)
    away = Store(ObjectStore("http://127.0.0.1:9"))
    assert bring(config, away, tmp_path / "cache")[1].cached


@pytest.mark.law("L4")
def test_an_engine_that_starts_again_looks_at_the_claim_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBETUNE_PVC_ROOT", str(tmp_path / "pvc"))
    folder = model(tmp_path / "pvc" / "claim" / "model")
    with pytest.raises(KubeTuneError) as caught:
        bring(wanted(CLAIM, f"files:{'0' * 64}", store), store, tmp_path / "cache")
    content = caught.value.message.partition("there is ")[2].partition(" now")[0]
    config = wanted(CLAIM, content, store)
    assert bring(config, store, tmp_path / "cache")[0].model_path == str(folder)
    check_again(config)
    model(folder, CONFIG + " ")
    with pytest.raises(KubeTuneError, match="another model"):
        check_again(config)
    check_again(replace(config, keeps_cache=True))
    check_again(wanted(CLAIM, None, store))
