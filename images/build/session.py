"""One run of the tool: the engine, this machine's choices and the images asked for.

Tests and the demo use it as the command line does: `Session.start().load([...ctr...])` builds what
is missing, brings it to a cluster's containerd and returns the references to put into pods.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from images.build import rootfs, transfer
from images.build.builder import build_all, only_one, reference, references
from images.build.catalog import IMAGES, ROOT, Choices, Image, plan, select
from images.build.choices import Wishes, cache_folder, choose
from images.build.digest import tags
from images.build.engine import Engine, detect
from images.build.prune import prune

# The version before this one stays, for going back and forth between two branches.
KEPT = 1


@dataclass(frozen=True)
class Session:
    """What every verb works on."""

    engine: Engine
    choices: Choices
    images: Sequence[Image]

    @classmethod
    def start(
        cls,
        names: Sequence[str] = (),
        wishes: Wishes | None = None,
        engine: str | None = None,
        *,
        provide: bool = True,
    ) -> "Session":
        """Look around; without `provide` nothing is fetched or made (see `base_image`)."""
        found = detect(engine)
        with only_one(cache_folder(os.environ)) if provide else nullcontext():
            choices = choose(wishes or Wishes(), found, names, provide=provide)
        images = select(names, choices)
        if provide:
            named = ", ".join(image.name for image in images)
            print(f"images of this machine: {named}; {choices.why}", file=sys.stderr, flush=True)
        return cls(found, choices, images)

    def references(self) -> dict[str, str]:
        """References by image name that the checkout's content gives, built or not."""
        return references(ROOT, self.images, self.choices)

    def build(self, *, keep: int = KEPT) -> dict[str, str]:
        """Build what is missing and remove superseded images but for `keep` of each; returns references by name."""
        with only_one(cache_folder(os.environ)):
            built = build_all(self.engine, ROOT, self.images, self.choices)
            for name in prune(self.engine, self._current(), keep=keep):
                print(f"removed {name}", flush=True)
        return built

    def load(self, ctr: Sequence[str]) -> dict[str, str]:
        """Build what is missing and bring it to the containerd that the command `ctr` reaches."""
        built = self.build()
        transfer.load(self.engine, list(built.values()), ctr)
        return built

    def export(self, target: Path) -> None:
        """Build what is missing and write it all into one archive."""
        transfer.export(self.engine, list(self.build().values()), target)

    def prune(self, *, keep: int, everything: bool = False) -> list[str]:
        """Remove superseded images, or with `everything` the current ones too; returns their names."""
        with only_one(cache_folder(os.environ)):
            return prune(self.engine, () if everything else self._current(), keep=keep)

    def _current(self) -> set[str]:
        """Every image of this checkout, asked for or not, with what they stand on."""
        steps = plan(IMAGES, self.choices)
        return {reference(name, tag) for name, tag in tags(ROOT, steps).items()} | {rootfs.reference()}
