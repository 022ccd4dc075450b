"""Keys under which built programs are stored."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster import build
from tests.cluster.layout import REPOSITORY


def test_every_program_is_in_one_group_and_has_its_own_place() -> None:
    places = [build.stored(program) for program in build.EVERYTHING]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("change", [{"version": "v0"}, {"tags": "x"}, {"ld_flags": "-X a=b"}])
def test_what_a_program_is_made_from_changes_its_key(change: dict[str, str]) -> None:
    assert replace(build.HELM, **change).key != build.HELM.key  # type: ignore[arg-type]


def test_sources_of_a_module_change_the_keys_of_its_programs_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "COMPONENTS", tmp_path)
    for module in ("kube", "pause"):
        (tmp_path / module).mkdir()
        (tmp_path / module / "main.go").write_text("package main")
    before = {program.name: program.key for program in (build.KUBE, build.PAUSE, build.VERSITYGW)}
    (tmp_path / "kube" / "main.go").write_text("package main // changed")
    assert build.KUBE.key != before["kube"]
    assert build.PAUSE.key == before["pause"]
    assert build.VERSITYGW.key == before["versitygw"]


def test_programs_that_share_libraries_are_built_by_one_command() -> None:
    shared = [build.KUBE, build.KUBECTL, build.HELM, build.COREDNS]
    assert len({(program.source, program.command) for program in shared}) == 1
    assert len({(program.source, program.command) for program in build.CONTAINERD}) == 1
    assert len({program.source for program in build.USUAL}) == 5


def test_kueue_is_built_when_it_is_asked_for_and_leaves_no_cache() -> None:
    assert set(build.EVERYTHING) - set(build.USUAL) == {build.KUEUE} == set(build.GROUPS["kueue"])
    assert [program for program in build.EVERYTHING if not program.keeps_cache] == [build.KUEUE]
    assert build.KUEUE.source not in {program.source for program in build.USUAL}
    told = (REPOSITORY / "docs" / "training.md").read_text()
    assert f"Kueue {build.KUEUE.version} " in told, "the version that is tested is the one that users are told"


@pytest.mark.parametrize(
    ("program", "module"),
    [
        (build.KUBE, "k8s.io/kubernetes"),
        (build.KUBECTL, "k8s.io/kubernetes"),
        (build.HELM, "helm.sh/helm/v4"),
        (build.COREDNS, "github.com/coredns/coredns"),
        (build.KUEUE, "sigs.k8s.io/kueue"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_version_that_is_told_is_the_one_that_is_built(program: build.Program, module: str) -> None:
    assert program.module
    required = (build.COMPONENTS / program.module / "go.mod").read_text()
    assert f"\t{module} {program.version}" in required


def test_a_source_in_a_folder_of_its_own_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "COMPONENTS", tmp_path)
    source = tmp_path / "kube" / "coredns" / "main.go"
    source.parent.mkdir(parents=True)
    source.write_text("package main")
    before = build.COREDNS.key
    source.write_text("package main // changed")
    assert build.COREDNS.key != before


def test_a_control_plane_needs_less_than_a_node() -> None:
    assert set(build.needed(control_plane=True)) < set(build.needed(control_plane=False))


def test_links_lead_to_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBETUNE_CACHE", str(tmp_path))
    place = build.stored(build.KUBE)
    place.parent.mkdir()
    place.write_text("kube")
    build.link()
    assert (tmp_path / "bin" / "kubelet").read_text() == "kube"
    assert not (tmp_path / "bin" / "helm").exists()
    helm = build.stored(build.HELM)
    helm.write_text("helm")
    build.link()
    build.link()
    assert (tmp_path / "bin" / "helm").read_text() == "helm"


def test_programs_that_nobody_used_for_long_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBETUNE_CACHE", str(tmp_path))
    used = build.stored(build.KUBE)
    used.parent.mkdir()
    for place in (used, used.with_name("kube-old"), used.with_name("kube-new")):
        place.write_text("")
    for place in (used, used.with_name("kube-old")):
        os.utime(place, (0, 0))
    build.link()
    assert sorted(place.name for place in used.parent.iterdir()) == sorted([used.name, "kube-new"])
