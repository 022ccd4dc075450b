"""MLflow's REST interface over MLflow's own file store: the part of it that a tracked run uses.

``python -m tests.support.mlflow_server PORT FOLDER``. The real server needs packages that the trainer's image does not
have; requests, answers and errors here are made by MLflow's own protocol and store classes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from urllib.request import urlopen

from mlflow.entities import DatasetInput, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos import service_pb2 as api
from mlflow.store.tracking.file_store import FileStore
from mlflow.utils.proto_json_utils import message_to_json, parse_dict

from .ports import free_port

PREFIX = "/api/2.0/mlflow/"


class SwitchableMlflow:
    """A server process that a test kills and starts again: same port, same content."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)

    def on(self) -> None:
        """Answers when this returns."""
        root = Path(__file__).resolve().parents[2]
        command = [sys.executable, "-m", "tests.support.mlflow_server", str(self.port), str(self.folder)]
        self._process = subprocess.Popen(command, cwd=root)
        deadline = time.monotonic() + 60
        while True:
            try:
                urlopen(f"{self.uri}/health", timeout=5).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def off(self) -> None:
        """Refuses connections from now on."""
        if self._process:
            self._process.kill()
            self._process.wait(10)
        self._process = None


class Calls:
    """What each path does with its request, and the message it answers with."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def named(self, path: str) -> Callable[[dict[str, Any]], Any]:
        """The call for a path below PREFIX; KeyError for one that is not there."""
        calls: dict[str, Callable[[dict[str, Any]], Any]] = {
            "experiments/get-by-name": self._get_experiment,
            "experiments/create": self._create_experiment,
            "runs/create": self._create_run,
            "runs/search": self._search_runs,
            "runs/get": self._get_run,
            "runs/update": self._update_run,
            "runs/log-batch": self._log_batch,
            "runs/log-inputs": self._log_inputs,
            "metrics/get-history": self._history,
        }
        return calls[path]

    def _get_experiment(self, data: dict[str, Any]) -> Any:
        found = self._store.get_experiment_by_name(data["experiment_name"])
        if found is None:
            raise KeyError(data["experiment_name"])
        return api.GetExperimentByName.Response(experiment=found.to_proto())

    def _create_experiment(self, data: dict[str, Any]) -> Any:
        return api.CreateExperiment.Response(experiment_id=self._store.create_experiment(data["name"]))

    def _create_run(self, data: dict[str, Any]) -> Any:
        asked = _read(api.CreateRun, data)
        tags = [RunTag.from_proto(tag) for tag in asked.tags]
        made = self._store.create_run(asked.experiment_id, asked.user_id, asked.start_time, tags, asked.run_name)
        return api.CreateRun.Response(run=made.to_proto())

    def _search_runs(self, data: dict[str, Any]) -> Any:
        asked = _read(api.SearchRuns, data)
        found = self._store.search_runs(list(asked.experiment_ids), asked.filter, ViewType.ACTIVE_ONLY, 10)
        return api.SearchRuns.Response(runs=[run.to_proto() for run in found])

    def _get_run(self, data: dict[str, Any]) -> Any:
        return api.GetRun.Response(run=self._store.get_run(data["run_id"]).to_proto())

    def _update_run(self, data: dict[str, Any]) -> Any:
        asked = _read(api.UpdateRun, data)
        ended = asked.end_time if asked.HasField("end_time") else None
        info = self._store.update_run_info(asked.run_id, asked.status, ended, None)
        return api.UpdateRun.Response(run_info=info.to_proto())

    def _log_batch(self, data: dict[str, Any]) -> Any:
        asked = _read(api.LogBatch, data)
        self._store.log_batch(
            asked.run_id,
            [Metric.from_proto(metric) for metric in asked.metrics],
            [Param.from_proto(param) for param in asked.params],
            [RunTag.from_proto(tag) for tag in asked.tags],
        )
        return api.LogBatch.Response()

    def _log_inputs(self, data: dict[str, Any]) -> Any:
        asked = _read(api.LogInputs, data)
        self._store.log_inputs(asked.run_id, [DatasetInput.from_proto(dataset) for dataset in asked.datasets])
        return api.LogInputs.Response()

    def _history(self, data: dict[str, Any]) -> Any:
        found = self._store.get_metric_history(data["run_id"], data["metric_key"])
        return api.GetMetricHistory.Response(metrics=[metric.to_proto() for metric in found])


def _read(kind: Any, data: dict[str, Any]) -> Any:
    message = kind()
    parse_dict(data, message)
    return message


def serve(port: int, folder: Path) -> None:
    """Answers until it is killed."""
    calls = Calls(FileStore(str(folder)))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            self._answer(url.path, dict(parse_qsl(url.query)))

        def do_POST(self) -> None:
            self._answer(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}"))

        def _answer(self, path: str, data: dict[str, Any]) -> None:
            if path == "/health":
                return self._send(200, "OK")
            try:
                return self._send(200, message_to_json(calls.named(path.removeprefix(PREFIX))(data)))
            except KeyError:
                return self._send(404, json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": path}))
            except MlflowException as error:
                return self._send(error.get_http_status_code(), error.serialize_as_json())

        def _send(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
