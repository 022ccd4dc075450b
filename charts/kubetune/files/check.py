"""Checks a release with real calls, as its pods make them: object store, MLflow and operator."""

import json
import os
import sys
import urllib.request
import uuid
from collections.abc import Callable

import boto3

NAME = f"helm-test-{uuid.uuid4().hex}"


def call(url: str, method: str = "GET", body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, data=body, method=method)  # noqa: S310 - the chart's own URLs
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        return bytes(answer.read())


def check_store(endpoint: str | None, bucket: str) -> str:
    store = boto3.client("s3", endpoint_url=endpoint)
    store.put_object(Bucket=bucket, Key=NAME, Body=b"kubetune")
    body = store.get_object(Bucket=bucket, Key=NAME)["Body"].read()
    store.delete_object(Bucket=bucket, Key=NAME)
    if body != b"kubetune":
        raise ValueError(f"wrote b'kubetune' and read {body!r} back")
    return f"an object went to bucket {bucket} and came back"


def check_tracking(uri: str) -> str:
    found = json.loads(call(f"{uri}/api/2.0/mlflow/experiments/search?max_results=1"))
    artifact = f"{uri}/api/2.0/mlflow-artifacts/artifacts/{NAME}.txt"
    call(artifact, "PUT", b"kubetune")
    body = call(artifact)
    call(artifact, "DELETE")
    if body != b"kubetune":
        raise ValueError(f"wrote b'kubetune' and read {body!r} back")
    return f"MLflow answers to its name, has {len(found.get('experiments', []))} experiment(s), and keeps artifacts"


def check_operator(url: str) -> str:
    call(f"{url}/readyz")
    if b"kubetune_" not in call(f"{url}/metrics"):
        raise ValueError(f"{url}/metrics has no metric of kubetune's")
    return "the operator is ready and serves metrics"


checks: dict[str, Callable[[], str]] = {
    "object store": lambda: check_store(os.environ["STORE_ENDPOINT"] or None, os.environ["STORE_BUCKET"]),
    "tracking": lambda: check_tracking(os.environ["TRACKING_URI"]) if os.environ["TRACKING_URI"] else "none set",
    "operator": lambda: check_operator(os.environ["OPERATOR_URL"]),
}
failed = False
for name, check in checks.items():
    try:
        print(f"ok      {name}: {check()}")
    except Exception as error:
        failed = True
        print(f"FAILED  {name}: {type(error).__name__}: {error}")
sys.exit(failed)
