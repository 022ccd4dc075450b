"""What the server does about a folder that must hold what was admitted, against a real object store."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kubetune_contract import ExitCode, KubeTuneError, Uri
from kubetune_server.pinned import check_mounted, obtain_pinned
from kubetune_shared import sources
from kubetune_shared.artifacts import publish
from kubetune_shared.contents import content_of
from kubetune_shared.sources import resolve_model
from kubetune_shared.store import Store

CLAIM = "pvc://claim/model"
FOLDER = "s3://models/tiny"


def write(folder: Path, weights: str = "weights") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(weights)
    return folder


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder behind CLAIM."""
    monkeypatch.setenv("KUBETUNE_PVC_ROOT", str(tmp_path / "pvc"))
    return write(tmp_path / "pvc" / "claim" / "model")


@pytest.fixture(params=["with manifest", "without manifest"])
def remote(request: pytest.FixtureRequest, store: Store, tmp_path: Path) -> str:
    """The content of FOLDER."""
    store.delete_folder(FOLDER)
    overwrite(store, write(tmp_path / "local"), is_published=request.param == "with manifest")
    return content_of(FOLDER, resolve_model(FOLDER, store, tmp_path / "look"))


def overwrite(store: Store, folder: Path, *, is_published: bool) -> None:
    if is_published:
        publish(store, folder, FOLDER, kind="model", meta={})
        return
    for file in folder.iterdir():
        store.upload(file, f"{FOLDER}/{file.name}")


def refusal(uri: str, content: str, store: Store, cache: Path, *, keeps: bool = False) -> str:
    with pytest.raises(KubeTuneError) as caught:
        obtain_pinned(uri, content, store, cache, keeps=keeps)
    assert (caught.value.code, caught.value.reason) == (ExitCode.CHANGED, "ContentChanged")
    return caught.value.message


def test_what_was_admitted_is_fetched_once(remote: str, store: Store, tmp_path: Path) -> None:
    first, second = (obtain_pinned(FOLDER, remote, store, tmp_path / "cache", keeps=False) for _ in range(2))
    assert (first.path, first.content, first.cached) == (second.path, remote, False)
    assert second.cached
    assert (first.path / "model.safetensors").read_text() == "weights"


@pytest.mark.law("L3", "F3")
def test_an_overwritten_folder_is_refused_with_both_contents(remote: str, store: Store, tmp_path: Path) -> None:
    overwrite(store, write(tmp_path / "local", "WEIGHTS"), is_published=remote.startswith("manifest:"))
    now = content_of(FOLDER, resolve_model(FOLDER, store, tmp_path / "again"))
    assert now != remote
    message = refusal(FOLDER, remote, store, tmp_path / "cache")
    assert f"that was {remote}, there is {now} now" in message
    assert [path.name for path in (tmp_path / "cache").iterdir() if not path.name.endswith(".lock")] == []


@pytest.mark.law("L4")
def test_what_was_admitted_is_served_from_the_cache_although_its_folder_has_changed(
    remote: str, store: Store, tmp_path: Path
) -> None:
    obtain_pinned(FOLDER, remote, store, tmp_path / "cache", keeps=True)
    store.delete_folder(FOLDER)
    found = obtain_pinned(FOLDER, remote, store, tmp_path / "cache", keeps=True)
    assert (found.cached, found.content) == (True, remote)
    (found.path / "model.safetensors").write_text("w")
    with pytest.raises(KubeTuneError) as caught:
        obtain_pinned(FOLDER, remote, store, tmp_path / "cache", keeps=True)
    assert caught.value.reason != "ContentChanged", "damaged, and nowhere to be had"


@pytest.mark.law("L4")
def test_a_claim_s_folder_is_read_through_at_every_start(mounted: Path, store: Store, tmp_path: Path) -> None:
    content = content_of(CLAIM, resolve_model(CLAIM, store, tmp_path))
    assert obtain_pinned(CLAIM, content, store, tmp_path / "cache", keeps=False).path == mounted
    write(mounted, "WEIGHTS")
    assert content in refusal(CLAIM, content, store, tmp_path / "cache")
    with pytest.raises(KubeTuneError, match="another model"):
        check_mounted(CLAIM, content, store)


@pytest.mark.law("L4")
def test_a_claim_s_folder_is_copied_where_the_cache_is_kept(mounted: Path, store: Store, tmp_path: Path) -> None:
    (mounted / "sub").mkdir()
    (mounted / "sub" / "more.json").write_text("{}")
    content = content_of(CLAIM, resolve_model(CLAIM, store, tmp_path))
    copy = obtain_pinned(CLAIM, content, store, tmp_path / "cache", keeps=True)
    assert not copy.cached
    write(mounted, "WEIGHTS")
    again = obtain_pinned(CLAIM, content, store, tmp_path / "cache", keeps=True)
    assert (again.path, again.cached) == (copy.path, True)
    assert (again.path / "model.safetensors").read_text() == "weights"
    shutil.rmtree(copy.path)
    assert content in refusal(CLAIM, content, store, tmp_path / "cache", keeps=True)


@pytest.mark.law("L4")
def test_a_branch_that_moved_is_served_as_it_was_judged(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    def snapshot(parsed: Uri, uri: str, dest: Path) -> str:
        asked.append(parsed.revision)
        write(dest)
        return parsed.revision or "moved"

    monkeypatch.setattr(sources, "_hub_snapshot", snapshot)
    for _ in range(2):
        found = obtain_pinned("hf://owner/name@main", "commit:1a2b", store, tmp_path / "cache", keeps=False)
    assert (asked, found.content, found.cached) == (["1a2b"], "commit:1a2b", True)
