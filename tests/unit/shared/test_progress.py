"""The progress server over real sockets."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from kubetune_contract import TrainProgress
from kubetune_shared.progress import ProgressServer


def get(server: ProgressServer, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def test_progress_metrics_and_health() -> None:
    with ProgressServer("kubetune_train", port=0) as server:
        assert get(server, "/healthz") == "ok\n"
        with pytest.raises(urllib.error.HTTPError, match="503") as empty:
            get(server, "/progress")
        empty.value.close()
        server.publish(TrainProgress("training", 5, 20, 1000.0, loss=1.5))
        assert json.loads(get(server, "/progress")) == {
            "phase": "training",
            "step": 5,
            "totalSteps": 20,
            "updatedAt": 1000.0,
            "loss": 1.5,
            "recovery": [],
            "suggestions": [],
        }
        metrics = get(server, "/metrics")
        assert "kubetune_train_step 5.0" in metrics
        assert "kubetune_train_loss 1.5" in metrics
        assert "eval_loss" not in metrics
        with pytest.raises(urllib.error.HTTPError, match="404") as unknown:
            get(server, "/etc/passwd")
        unknown.value.close()
