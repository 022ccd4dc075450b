"""A result brings the keys of all prompts it was trained on, its base's with them; an export brings its source's."""

from __future__ import annotations

import json
from pathlib import Path

from kubetune_contract import Export, Method
from kubetune_shared.artifacts import fetch, read_manifest
from kubetune_shared.rowkeys import NAME, RowKeys, asked, known, trained
from kubetune_shared.rows import Row
from tests.support.points import Record
from tests.support.training import Jobs, rows

OWN = [{"prompt": f"add {n}", "completion": " hello"} for n in range(16)]


def keys_at(jobs: Jobs, uri: str, folder: Path) -> RowKeys:
    manifest = fetch(jobs.store, uri, folder)
    found = known(folder, manifest).keys
    assert found is not None
    return found


def expected(data: list[dict[str, str]]) -> set[int]:
    return set(trained([Row(n, prompt=row["prompt"], completion="x") for n, row in enumerate(data)]))


def test_keys_are_published_and_handed_down(jobs: Jobs, tmp_path: Path, record_property: Record) -> None:
    first = jobs.job(method=Method.FULL, hyperparameters={"max_steps": 1}, dataset={"validation_share": 0.25})
    base = first.both()["artifact"]["uri"]
    second = jobs.job(OWN, base_model=base, hyperparameters={"max_steps": 1}, export=Export(merged=True))
    summary = second.both()
    inputs = json.loads((second.folder / "work/inputs/inputs.json").read_text())
    lines = [json.loads(line) for line in (first.folder / "work/inputs/train.jsonl").read_text().splitlines()]
    before = expected([{"prompt": line["prompt"], "completion": "x"} for line in lines])
    assert before <= expected(rows())
    assert set(keys_at(jobs, base, tmp_path / "base")) == before
    found = keys_at(jobs, summary["artifact"]["uri"], tmp_path / "adapter")
    assert set(found) == before | expected(OWN)
    manifest = read_manifest(jobs.store, summary["artifact"]["uri"])
    assert manifest is not None
    noted = {"file": NAME, "own": 16, "inherited": len(before), "complete": True}
    assert manifest[0].config["rowKeys"] == noted
    assert inputs["rowKeys"] == {name: noted[name] for name in ("own", "inherited", "complete")}
    (merged,) = summary["exports"]
    assert set(keys_at(jobs, merged["uri"], tmp_path / "merged")) == set(found)
    assert any(key in found for key in asked(None, "ADD  3", "another answer"))
    assert not any(key in found for key in asked(None, "add 16", " hello"))
    record_property(
        "point", f"row keys: {len(before)} of the base's training and 16 of its own in adapter and merged model"
    )


def test_a_result_of_a_release_without_keys_is_told(jobs: Jobs, tmp_path: Path) -> None:
    """Its own training's rows are in the keys; that those of its base are not, the manifest says."""
    first = jobs.job(method=Method.FULL, hyperparameters={"max_steps": 1})
    uri = first.both()["artifact"]["uri"]
    folder = jobs.server.root / uri.removeprefix("s3://")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = [entry for entry in manifest["files"] if entry["path"] != NAME]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / NAME).unlink()
    second = jobs.job(OWN, base_model=uri, hyperparameters={"max_steps": 1})
    assert second.run("prepare") == 0, second.log
    inputs = json.loads((second.folder / "work/inputs/inputs.json").read_text())
    assert inputs["rowKeys"] == {"own": 16, "inherited": 0, "complete": False}
