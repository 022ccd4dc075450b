"""How a person gets to see a run."""

from __future__ import annotations

import dataclasses

import pytest

from kubetune_trainer.tracking.tracked import Place, how_to_see

PLACE = Place("http://kubetune-mlflow.kubetune.svc:5000", "team", "3", "abc123", "team/demo")


@pytest.mark.walk("C24")
@pytest.mark.parametrize(
    ("uri", "said"),
    [
        (
            "http://kubetune-mlflow.kubetune.svc:5000",
            "kubectl -n kubetune port-forward svc/kubetune-mlflow 5000:5000, then open "
            "http://localhost:5000/#/experiments/3/runs/abc123",
        ),
        (
            "http://mlflow.ml.svc.cluster.local",
            "kubectl -n ml port-forward svc/mlflow 5000:80, then open http://localhost",
        ),
        ("https://mlflow.example.org/", "https://mlflow.example.org/#/experiments/3/runs/abc123"),
        ("file:///tmp/mlruns", "stored at file:///tmp/mlruns"),
    ],
)
def test_how_to_see_a_run(uri: str, said: str) -> None:
    line = how_to_see(dataclasses.replace(PLACE, uri=uri))
    assert said in line
    assert "team/demo (abc123) in experiment team" in line
    assert "\n" not in line
