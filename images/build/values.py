"""The chart values that follow from what was built or pushed."""

import json
from collections.abc import Mapping

from images.build.catalog import IMAGES

_CHART_KEYS = {image.name: image.chart_key for image in IMAGES}


def pushed_reference(reference: str, registry: str) -> str:
    """The name of a local image in a registry: `localhost/` gives way to the registry."""
    return f"{registry.rstrip('/')}/{reference.removeprefix('localhost/')}"


def render(references: Mapping[str, str]) -> str:
    """A values file with repository and tag of each image, by the chart's names."""
    lines = ["images:"]
    for name, reference in references.items():
        repository, _, tag = reference.rpartition(":")
        lines += [
            f"  {_CHART_KEYS[name]}:",
            f"    repository: {json.dumps(repository)}",
            f"    tag: {json.dumps(tag)}",
        ]
    return "\n".join(lines) + "\n"
