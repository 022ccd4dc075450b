"""Tells whether a child is still what we asked for, and whether it is ours at all."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from kubetune.common.meta import GROUP

Object = dict[str, Any]
SPEC_HASH = f"{GROUP}/spec-hash"
"""Annotation with the digest of what was asked for; defaults the API server adds do not change it."""


def stamp(obj: Object) -> Object:
    """``obj`` with its digest as an annotation; the argument is left as it is."""
    digest = hashlib.sha256(json.dumps(obj, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
    metadata = obj["metadata"]
    annotations = {**metadata.get("annotations", {}), SPEC_HASH: digest}
    return {**obj, "metadata": {**metadata, "annotations": annotations}}


def is_current(desired: Object, live: Object | None) -> bool:
    """Whether ``live`` exists and was made from the same ``desired`` (both stamped)."""
    if live is None:
        return False
    return _hash_of(desired) == _hash_of(live)


def is_owned_by(child: Object, uid: str) -> bool:
    """Whether the object with ``uid`` is the child's controller; anything else must not be touched."""
    references = child["metadata"].get("ownerReferences", ())
    return any(ref.get("controller") and ref["uid"] == uid for ref in references)


def _hash_of(obj: Object) -> str | None:
    annotation: str | None = obj["metadata"].get("annotations", {}).get(SPEC_HASH)
    return annotation
