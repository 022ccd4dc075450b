"""What a tracker is handed, in words of our own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Point:
    """One value of one metric."""

    key: str
    value: float
    step: int
    millis: int


@dataclass(frozen=True)
class Data:
    """What the run learns from."""

    uri: str
    sha256: str
    train_rows: int
    validation_rows: int


@dataclass(frozen=True)
class Version:
    """A version to register of the model ``name``."""

    name: str
    source: str
    """URI of the published artifact."""
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Place:
    """Where a run is found on its server."""

    uri: str
    """Of the server."""
    experiment: str
    experiment_id: str
    run_id: str
    run_name: str


class RefusedError(Exception):
    """The server took the request for what it is and will not have it: sending it again changes nothing."""

    def __init__(self, said: str, *, may_pass: bool = False) -> None:
        """``may_pass``: somebody may yet grant what is missing, a right or a deleted run."""
        super().__init__(said)
        self.may_pass = may_pass


def how_to_see(place: Place) -> str:
    """One line for the log's end: which run it is, and how a person gets to see it."""
    run = f"MLflow has this run as {place.run_name} ({place.run_id}) in experiment {place.experiment}"
    parts = urlsplit(place.uri)
    if parts.scheme not in {"http", "https"}:
        return f"{run}, stored at {place.uri}"
    page = f"/#/experiments/{place.experiment_id}/runs/{place.run_id}"
    service = (parts.hostname or "").split(".")
    if len(service) >= 3 and service[2] == "svc":
        port = parts.port or (443 if parts.scheme == "https" else 80)
        local = 5000
        return (
            f"{run}; to see it: kubectl -n {service[1]} port-forward svc/{service[0]} {local}:{port}, then open "
            f"{parts.scheme}://localhost:{local}{page}"
        )
    return f"{run}: {place.uri.rstrip('/')}{page}"
