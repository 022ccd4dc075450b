"""Builds what is missing: an image whose tag is in the store is never built again."""

import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from images.build import hostpip
from images.build.catalog import Choices, Image, Step, plan
from images.build.digest import tags
from images.build.engine import NAMESPACE, Build, Engine
from images.build.errors import ImageBuildError


def reference(name: str, tag: str) -> str:
    """An image's name in the store. `localhost/` keeps a missing one from being looked for on
    the internet, where anybody could own the name."""
    return f"{NAMESPACE}/{name}:{tag}"


def references(root: Path, images: Sequence[Image], choices: Choices) -> dict[str, str]:
    """The image references, by image name, that the checkout's content gives."""
    found = tags(root, plan(images, choices))
    return {image.name: reference(image.name, found[image.name]) for image in images}


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold back a second build on this machine: it would only do the same work again."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "images.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another image build on this machine", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _needed(engine: Engine, steps: Sequence[Step], names: Mapping[str, str]) -> list[Step]:
    """Steps to build: those missing, except parents that nothing missing stands on."""
    wanted = {step.parent for step in steps}
    needed: list[Step] = []
    for step in reversed(steps):
        is_leaf = step.name not in wanted
        has_missing_child = any(child.parent == step.name for child in needed)
        if (is_leaf or has_missing_child) and not engine.exists(names[step.name]):
            needed.append(step)
    return needed[::-1]


def build_all(engine: Engine, root: Path, images: Sequence[Image], choices: Choices) -> dict[str, str]:
    """Build what is missing; returns the references by image name."""
    steps = plan(images, choices)
    names = {name: reference(name, tag) for name, tag in tags(root, steps).items()}
    needed = _needed(engine, steps, names)
    with tempfile.TemporaryDirectory(prefix="kubetune-build-") as folder:
        secrets = hostpip.secrets(Path(folder)) if needed else {}
        for number, step in enumerate(needed, start=1):
            print(f"[{number}/{len(needed)}] building {names[step.name]}", flush=True)
            started = time.monotonic()
            contexts = {**step.contexts, **_staged(step, Path(folder))}
            engine.build(_build(root, step, names, contexts, secrets))
            _check_unchanged(engine, root, steps, step.name, names)
            print(f"    {time.monotonic() - started:.0f} s", flush=True)
    return {image.name: names[image.name] for image in images}


def _check_unchanged(engine: Engine, root: Path, steps: Sequence[Step], name: str, names: Mapping[str, str]) -> None:
    """Refuse an image whose files were edited while it was built: its tag would name other content."""
    if reference(name, tags(root, steps)[name]) != names[name]:
        engine.remove([names[name]])
        raise ImageBuildError(f"Files of {name} changed while it was built. Run again.")


def _staged(step: Step, folder: Path) -> dict[str, Path]:
    """The build context with the step's binary: a folder of its own, since a cache of binaries
    may hold links that lead out of it."""
    if step.binary is None:
        return {}
    target = folder / step.name
    target.mkdir()
    shutil.copy(step.binary, target / step.name)
    return {"binary": target}


def _build(
    root: Path,
    step: Step,
    names: Mapping[str, str],
    contexts: Mapping[str, Path],
    secrets: Mapping[str, Path],
) -> Build:
    arguments = {**step.arguments, **step.sources}
    if step.parent:
        arguments[step.parent_argument] = names[step.parent]
    return Build(
        reference=names[step.name],
        context=root,
        dockerfile=str(root / step.dockerfile),
        stage=step.stage,
        arguments=arguments,
        contexts=contexts,
        secrets=secrets,
    )
