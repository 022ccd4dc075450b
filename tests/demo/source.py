"""A base model with its data, as the seed Job makes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from .shell import DemoError


class NotToBeHadError(DemoError):
    """What the base model is made of cannot be fetched; another base has to do."""


@dataclass(frozen=True)
class Source:
    """Where base model and data lie in the store, and how a pod of the trainer's image makes them."""

    name: str
    """Of the folder in the bucket, and of the Job."""
    module: str
    """Run by ``python -m`` with the folder's URI and the key, then ``arguments``."""
    code: tuple[Path, ...]
    """Files of the checkout that travel to the pod: the module and what it imports of ours."""
    makers: tuple[str, ...]
    """Those of the trainer's libraries that the result depends on."""
    arguments: tuple[str, ...] = ()
    fetch: Callable[[], Path] | None = None
    """Gets a file from elsewhere that the pod needs: it finds the file's name as its last argument, and the file in
    the store in the folder INPUT beside base and data. Raises NotToBeHadError."""

    def with_arguments(self, *arguments: str) -> Source:
        """The same, made otherwise."""
        return replace(self, arguments=arguments)


INPUT = "input"
