"""Which URIs each place of the API takes, as CEL rules with a message that shows a right one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .model import Rule, checked

URI_LIMIT = 1024

_NAME = "[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_S3 = "s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^/[:space:]][^[:space:]]*"
_PVC = f"pvc://{_NAME}/[^[:space:]]*"
_CONFIGMAP = f"configmap://{_NAME}/[-._a-zA-Z0-9]+"
_HF = "hf://[0-9A-Za-z_.-]+/[0-9A-Za-z_.-]+(@[0-9A-Za-z_./-]+)?"


def _one_of(*patterns: str) -> str:
    return f"self.matches('^({'|'.join(patterns)})$')"


MODEL_URI_RULE = Rule(
    _one_of(_S3, _PVC, _HF),
    "must be s3://bucket/path, pvc://claim/path or hf://owner/name@revision",
)
DATA_URI_RULE = Rule(
    _one_of(_S3, _PVC, _CONFIGMAP, _HF),
    "must be s3://bucket/file, pvc://claim/file, configmap://name/key or hf://owner/name@revision",
)
OUTPUT_URI_RULE = Rule(_one_of(_S3), "must be s3://bucket/prefix, because results are kept in the object store")
HTTP_URI_RULE = Rule(
    "self.matches('^https?://[^/[:space:]]+[^[:space:]]*$')",
    "must be an http:// or https:// URL, for example http://mlflow:5000",
)
NO_CLIMBING_RULE = Rule("!self.matches('/[.][.](/|$)')", "must not contain '..' as a part of its path")

ModelUri = Annotated[str, Field(max_length=URI_LIMIT, json_schema_extra=checked(MODEL_URI_RULE, NO_CLIMBING_RULE))]
DataUri = Annotated[str, Field(max_length=URI_LIMIT, json_schema_extra=checked(DATA_URI_RULE, NO_CLIMBING_RULE))]
OutputUri = Annotated[str, Field(max_length=URI_LIMIT, json_schema_extra=checked(OUTPUT_URI_RULE, NO_CLIMBING_RULE))]
HttpUri = Annotated[str, Field(max_length=URI_LIMIT, json_schema_extra=checked(HTTP_URI_RULE))]
