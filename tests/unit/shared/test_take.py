"""The pod's side of taking results home: what it sends, and how it fails."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path

import pytest

from kubetune_contract import ExitCode, dumps
from kubetune_shared import take
from kubetune_shared.store import Store
from tests.support.s3 import S3Server


@pytest.mark.parametrize(
    ("start", "size", "expected"),
    [(0, 10, b"0123456789"), (4, 10, b"456789"), (0, 4, b"0123"), (10, 10, b""), (0, 1000, b"0123456789")],
)
def test_parts_of_an_object(
    store: Store, monkeypatch: pytest.MonkeyPatch, start: int, size: int, expected: bytes
) -> None:
    monkeypatch.setattr(take, "CHUNK", 3)
    store.write(b"0123456789", "s3://data/taken")
    found = list(take.parts(store, "s3://data/taken", start, size))
    assert b"".join(found) == expected
    assert all(len(part) <= 3 for part in found)


def test_sending_keeps_the_pod(tmp_path: Path) -> None:
    alive, out = tmp_path / "alive", io.BytesIO()
    alive.touch()
    os.utime(alive, (0, 0))
    take.send(iter([b"a", b"b"]), out, alive)
    assert out.getvalue() == b"ab"
    assert alive.stat().st_mtime > 0


def test_the_pod_ends_when_nobody_takes_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive, looks = tmp_path / "alive", []

    def sleep(_: float) -> None:
        looks.append(1)
        # A transfer, then none.
        os.utime(alive, (time.time(), time.time() - (0 if len(looks) < 3 else 700)))

    monkeypatch.setattr("time.sleep", sleep)
    take.hold(600, alive)
    assert len(looks) == 3


def test_a_refusal_is_one_line_and_a_code(
    server: S3Server, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"store": json.loads(dumps(server.store)), "schema": 1}))
    monkeypatch.setenv("KUBETUNE_CONFIG", str(config))
    assert take.main(["send", "s3://data/not-there", "0", "5"]) == ExitCode.INPUT_NOT_FOUND
    said = capsys.readouterr().err
    assert said.startswith("ObjectNotFound: s3://data/not-there")
    assert said.count("\n") == 1
