"""Which URIs each place of the API takes, as CEL rules with a message that shows a right one."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from .model import Rule, checked
from .syntax import SUBDOMAIN, UNBROKEN_RULE, whole

URI_LIMIT = 1024

_S3 = "s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^/[:space:]][^[:space:]]*"
_PVC = f"pvc://{SUBDOMAIN}/[^[:space:]]*"
_CONFIGMAP = f"configmap://{SUBDOMAIN}/[-._a-zA-Z0-9]+"
_PART = "[0-9A-Za-z_]([0-9A-Za-z_.-]*[0-9A-Za-z_])?"
_HF = f"hf://{_PART}/{_PART}(@{_PART}(/{_PART})*)?"
"""Owner and name as the hub takes them; a revision is a commit, a tag or a branch, which may have slashes."""

MODEL_URI_RULE = Rule(
    whole(f"{_S3}|{_PVC}|{_HF}"),
    "must be s3://bucket/path, pvc://claim/path or hf://owner/name@revision",
)
DATA_URI_RULE = Rule(
    whole(f"{_S3}|{_PVC}|{_CONFIGMAP}|{_HF}"),
    "must be s3://bucket/file, pvc://claim/file, configmap://name/key or hf://owner/name@revision",
)
OUTPUT_URI_RULE = Rule(whole(_S3), "must be s3://bucket/prefix, because results are kept in the object store")
HTTP_URI_RULE = Rule(
    f"{whole('https?://[^/:?#[:space:]][^[:space:]]*')} && {UNBROKEN_RULE.rule}",
    "must be an http:// or https:// URL, for example http://mlflow:5000",
)
NO_LOGIN_RULE = Rule(
    "!self.matches('^https?://[^/?#]*@')",
    "must hold no user name and no password, which whoever may read this object could read; put them into a Secret and "
    "name it in secret beside it",
)
NO_CLIMBING_RULE = Rule(
    "!self.matches('/[.][.](/|$)|^s3://[^/]*[.][.]|^configmap://[^/]*/[.][.]|^hf://.*[.][.]')",
    "must not contain '..' as a part of its path",
)
HUB_RULE = Rule(
    "!self.matches('^hf://[^@]*(--|[.]git(@|$))|^hf://.*@.*[.]lock(/|$)')",
    "the hub has no repository with '--' in its name or '.git' at its end, and no revision with '.lock' at its end",
)


def _uri(*rules: Rule) -> Any:
    return Field(max_length=URI_LIMIT, json_schema_extra=checked(*rules, UNBROKEN_RULE))


ModelUri = Annotated[str, _uri(MODEL_URI_RULE, NO_CLIMBING_RULE, HUB_RULE)]
DataUri = Annotated[str, _uri(DATA_URI_RULE, NO_CLIMBING_RULE, HUB_RULE)]
OutputUri = Annotated[str, _uri(OUTPUT_URI_RULE, NO_CLIMBING_RULE)]
HttpUri = Annotated[str, Field(max_length=URI_LIMIT, json_schema_extra=checked(HTTP_URI_RULE, NO_LOGIN_RULE))]
