"""The fetch step against a real object store: verified, cached, and refused before the model is downloaded."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import Contents, Engine, ExitCode, FetchSummary, ModelRef, from_json
from kubetune_shared.artifacts import publish
from tests.support import adapter

from .conftest import BASE_URI, Server, Servers


def fetched(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((server.folder / "work" / "fetched.json").read_text())
    return found


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_model_and_adapter_are_fetched_once(servers: Servers, base: Path, tmp_path: Path) -> None:
    cache = tmp_path / "shared"
    first, second = servers.make(cache), servers.make(cache)
    assert first.run("fetch") == 0, first.log
    told = from_json(FetchSummary, first.termination)
    assert not told.cached
    assert told.model_bytes > sum(p.stat().st_size for p in base.iterdir())
    assert told.adapter_bytes > 0
    found = fetched(first)
    assert files(Path(found["model_path"])) == {*files(base), "manifest.json"}
    assert found["lora_rank"] == 8
    assert second.run("fetch") == 0, second.log
    assert from_json(FetchSummary, second.termination).cached
    assert fetched(second) == found


def test_pods_that_share_a_claim_do_not_disturb_each_other(servers: Servers, tmp_path: Path) -> None:
    pods = [servers.make(tmp_path / "shared") for _ in range(3)]
    processes = [pod.start("fetch") for pod in pods]
    assert [process.wait(120) for process in processes] == [0, 0, 0], [pod.log for pod in pods]
    assert [pod.termination["cached"] for pod in pods].count(False) >= 1
    leftovers = [p.name for p in (tmp_path / "shared" / "models").iterdir() if p.name.endswith(".partial")]
    assert leftovers == []


def test_a_damaged_cache_is_mended(servers: Servers, tmp_path: Path) -> None:
    cache = tmp_path / "shared"
    first, second = servers.make(cache), servers.make(cache)
    assert first.run("fetch") == 0, first.log
    weights = Path(fetched(first)["model_path"]) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    assert second.run("fetch") == 0, second.log
    assert not second.termination["cached"]
    assert weights.read_bytes() == whole


def test_what_changed_after_publishing_is_refused(servers: Servers, base: Path) -> None:
    publish(servers.store, base, "s3://models/changed", kind="model", meta={})
    config = servers.store_server.root / "models" / "changed" / "config.json"
    config.write_text(config.read_text() + " ")
    pod = servers.make(model=ModelRef("demo", "s3://models/changed"))
    assert pod.run("fetch") == ExitCode.BAD_DATA, pod.log
    assert pod.termination["reason"] == "ChecksumMismatch"


def test_a_models_folder_without_manifest_is_served_and_cached_by_content(
    servers: Servers, base: Path, tmp_path: Path
) -> None:
    remote = servers.store_server.root / "models" / "uploaded"
    shutil.copytree(base, remote)
    model = ModelRef("demo", "s3://models/uploaded")
    pods = [servers.make(tmp_path / "shared", model=model) for _ in range(3)]
    assert [pod.run("fetch") for pod in pods[:2]] == [0, 0]
    assert [pod.termination["cached"] for pod in pods[:2]] == [False, True]
    config = remote / "config.json"
    data = json.loads(config.read_text())
    # The same number of bytes, another content: only the store's own digest tells.
    config.unlink()
    servers.store.write(json.dumps(data | {"rms_norm_eps": 1e-05}, indent=2).encode(), f"{model.uri}/config.json")
    assert pods[2].run("fetch") == 0, pods[2].log
    assert not pods[2].termination["cached"]


def test_a_folder_that_was_overwritten_after_it_was_admitted_is_refused(servers: Servers, base: Path) -> None:
    made = publish(servers.store, base, "s3://models/judged", kind="model", meta={})
    contents = Contents(f"manifest:{made.manifest_sha256}")
    model = ModelRef("demo", "s3://models/judged", contents=contents)
    pod = servers.make(model=model)
    assert pod.run("fetch") == 0, pod.log
    assert from_json(FetchSummary, pod.termination).contents == contents
    again = publish(servers.store, base, "s3://models/judged", kind="model", meta={"config": {"seed": 2}})
    pod = servers.make(model=model)
    assert pod.run("fetch") == ExitCode.CHANGED, pod.log
    assert pod.termination["reason"] == "ContentChanged"
    assert made.manifest_sha256 in pod.termination["message"]
    assert again.manifest_sha256 in pod.termination["message"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"use_dora": True}, "AdapterNotServable"),
        ({"modules_to_save": ["lm_head"]}, "AdapterNotServable"),
        ({"base_model_name_or_path": "s3://models/other"}, "BaseModelMismatch"),
    ],
)
def test_an_adapter_that_cannot_work_is_refused_before_the_model_is_downloaded(
    servers: Servers, tuned: Path, changes: dict[str, Any], reason: str
) -> None:
    name = f"bad-{'-'.join(changes)}".replace("_", "-")
    folder = servers.store_server.root / "models" / name
    shutil.copytree(tuned, folder)
    (folder / "manifest.json").unlink(missing_ok=True)
    adapter.edit_config(folder, **changes)
    pod = servers.make(model=ModelRef("demo", BASE_URI, f"s3://models/{name}"))
    assert pod.run("fetch") == ExitCode.BAD_CONFIG, pod.log
    assert pod.termination["reason"] == reason
    assert name in pod.termination["message"]
    assert not (pod.folder / "cache" / "models").exists()


def test_missing_things_and_bad_settings_are_told(servers: Servers) -> None:
    model = ModelRef("demo", BASE_URI, "s3://models/nowhere")
    missing = servers.make(model=model)
    assert missing.run("fetch") == ExitCode.INPUT_NOT_FOUND
    assert "s3://models/nowhere" in missing.termination["message"]
    full = servers.make(model=replace(model, adapter_uri=BASE_URI))
    assert full.run("fetch") == ExitCode.INPUT_NOT_FOUND
    assert full.termination["reason"] == "AdapterIncomplete"
    port = servers.make(engine=Engine(extra_args=("--port=1",)))
    assert port.run("fetch") == ExitCode.BAD_CONFIG
    assert port.termination["reason"] == "ExtraArgRefused"
    early = servers.make()
    assert early.run("serve") == ExitCode.BAD_CONFIG
    assert early.termination["reason"] == "NotFetched"


@pytest.mark.walk("W11")
def test_a_length_beyond_the_models_is_refused_before_the_download(servers: Servers, base: Path) -> None:
    most = json.loads((base / "config.json").read_text())["max_position_embeddings"]
    pod = servers.make(engine=Engine(max_model_len=most + 1))
    assert pod.run("fetch") == ExitCode.BAD_CONFIG, pod.log
    assert pod.termination["reason"] == "MaxModelLenTooLarge"
    assert f"Set spec.engine.maxModelLen to {most} or less" in pod.termination["message"]
    assert not (pod.folder / "cache" / "models").exists()
    assert servers.make(engine=Engine(max_model_len=most)).run("fetch") == 0


def test_a_stuck_download_can_be_waited_for(servers: Servers, tmp_path: Path) -> None:
    """A pod that died while downloading leaves a part, and the next one goes on from it."""
    pod = servers.make(tmp_path / "shared")
    process = pod.start("fetch")
    threading.Timer(1.2, process.kill).start()
    process.wait(60)
    assert pod.run("fetch") == 0, pod.log
    assert Path(fetched(pod)["model_path"]).is_dir()
