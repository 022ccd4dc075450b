"""The progress server over real sockets."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import urllib.error
import urllib.request

import pytest

from kubetune_contract import TrainProgress
from kubetune_shared.progress import ProgressServer
from kubetune_shared.series import Catalog, Series

CATALOG = Catalog(
    "kubetune_train",
    {
        "step": Series("step", "Optimizer steps done."),
        "loss": Series("loss", "Training loss."),
        "eval_loss": Series("eval_loss", "Validation loss."),
        "tokens": Series("tokens", "Tokens trained.", is_counter=True),
    },
    {"namespace": "team", "name": "demo"},
)


def get(server: ProgressServer, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def test_one_connection_serves_every_question() -> None:
    with ProgressServer(CATALOG, port=0) as server:
        server.publish(TrainProgress("training", 5, 20, 1000.0))
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        connection.connect()
        used = connection.sock
        for path in ("/progress", "/nothing", "/progress"):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == (404 if path == "/nothing" else 200)
            assert connection.sock is used
        connection.close()


def test_progress_metrics_and_health() -> None:
    with ProgressServer(CATALOG, port=0) as server:
        assert get(server, "/healthz") == "ok\n"
        with pytest.raises(urllib.error.HTTPError, match="503") as empty:
            get(server, "/progress")
        empty.value.close()
        server.publish(TrainProgress("training", 5, 20, 1000.0, loss=1.5, tokens=7))
        assert json.loads(get(server, "/progress")) == {
            "phase": "training",
            "step": 5,
            "totalSteps": 20,
            "updatedAt": 1000.0,
            "loss": 1.5,
            "tokens": 7,
            "recovery": [],
            "suggestions": [],
        }
        metrics = get(server, "/metrics")
        assert "kubetune_train_step 5.0" in metrics
        assert "kubetune_train_loss 1.5" in metrics
        assert "# HELP kubetune_train_tokens_total Tokens trained." in metrics
        assert "# TYPE kubetune_train_tokens_total counter" in metrics
        assert 'kubetune_train_info{name="demo",namespace="team"} 1.0' in metrics
        assert "eval_loss" not in metrics
        with pytest.raises(urllib.error.HTTPError, match="404") as unknown:
            get(server, "/etc/passwd")
        unknown.value.close()


@pytest.mark.walk("C4")
@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), ConnectionResetError(104, "reset"), KeyError(1)])
def test_who_goes_away_before_the_answer_leaves_no_traceback(
    error: Exception, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with ProgressServer(CATALOG, port=0) as server:
        try:
            raise error
        except Exception:
            server._server.handle_error(None, ("198.18.4.2", 1234))
        assert get(server, "/healthz") == "ok\n"
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err + caplog.text
    assert bool(caplog.records) is isinstance(error, KeyError)


@pytest.mark.walk("C4")
def test_a_client_that_hangs_up(capfd: pytest.CaptureFixture[str]) -> None:
    with ProgressServer(CATALOG, port=0) as server:
        server.publish(TrainProgress("x" * 10_000_000, 5, 20, 1000.0))
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /progress HTTP/1.0\r\n\r\n")
            client.recv(1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert get(server, "/healthz") == "ok\n"
    assert "Traceback" not in "".join(capfd.readouterr())
