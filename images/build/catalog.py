"""The images as data: which Dockerfile makes each, what it stands on, what its build is given.

An image whose Dockerfile has a stage `deps` is built in two steps, `<name>-deps` and `<name>`, so
that a change of code never installs packages again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from images.build.errors import ImageBuildError

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""
PUBLIC_BASE = "docker.io/library/python:3.11-slim-bookworm"
CPU_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class Choices:
    """What differs from machine to machine and therefore goes into the builds as arguments."""

    base_image: str = PUBLIC_BASE
    gpu: bool = False
    """Whether models are served on GPUs: it decides about the server's image."""
    torch_variant: str = "cuda"
    torch_index_url: str = ""
    wheels: Path | None = None
    versitygw: Path | None = None
    why: str = ""
    """Why these, in one line for the person who builds."""


@dataclass(frozen=True)
class Step:
    """One build: a stage of a Dockerfile that ends as one image in the engine's store.

    `binary` is a file compiled elsewhere; the build finds it, under the image's name, in the build
    context `binary`. `sources` are build arguments that say where something pinned is fetched from, and `contexts`
    named in `optional` may lack: neither changes what is built, so neither is part of its tag.
    """

    name: str
    dockerfile: str
    parent: str | None = None
    parent_argument: str = "PARENT_IMAGE"
    stage: str | None = None
    arguments: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    contexts: dict[str, Path] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    binary: Path | None = None


@dataclass(frozen=True)
class Image:
    """One image a cluster runs; `chart_key` is its name in the chart's `images` value."""

    name: str
    dockerfile: str
    parent: str | None
    chart_key: str
    two_steps: bool = True


IMAGES: tuple[Image, ...] = (
    Image("operator", "operator/Dockerfile", "base", "operator"),
    Image("trainer", "images/trainer/Dockerfile", "torch", "trainer"),
    Image("evaluator", "images/evaluator/Dockerfile", "torch", "evaluator"),
    Image("server-cpu", "images/server/Dockerfile", "torch", "serverCpu"),
    Image("server", "images/server/Dockerfile.gpu", "base", "server", two_steps=False),
    Image("mlflow", "images/mlflow/Dockerfile", "base", "mlflow", two_steps=False),
    Image("versitygw", "images/versitygw/Dockerfile", None, "versitygw", two_steps=False),
)
_BY_NAME = {image.name: image for image in IMAGES}


def default_names(choices: Choices) -> tuple[str, ...]:
    """The images that the machine at hand needs: one server, the one for GPUs or the one for CPUs."""
    unused = "server-cpu" if choices.gpu else "server"
    return tuple(image.name for image in IMAGES if image.name != unused)


def select(names: Iterable[str], choices: Choices) -> tuple[Image, ...]:
    """The named images, or the default ones when none is named."""
    wanted = tuple(names) or default_names(choices)
    unknown = [name for name in wanted if name not in _BY_NAME]
    if unknown:
        raise ImageBuildError(f"There is no image called {', '.join(unknown)}. The images are {', '.join(_BY_NAME)}.")
    return tuple(_BY_NAME[name] for name in dict.fromkeys(wanted))


def ground(name: str, choices: Choices) -> list[Step]:
    """The steps up to `base` or `torch`, which the images stand on."""
    base = Step("base", "images/base/Dockerfile", arguments={"BASE_IMAGE": choices.base_image})
    if name == "base":
        return [base]
    torch = Step(
        "torch",
        "images/torch/Dockerfile",
        "base",
        arguments={"TORCH_VARIANT": choices.torch_variant},
        sources={"TORCH_INDEX_URL": choices.torch_index_url} if choices.torch_index_url else {},
        contexts={"wheels": choices.wheels} if choices.wheels else {},
        optional=frozenset({"wheels"}),
    )
    return [base, torch]


def _steps_of(image: Image, choices: Choices) -> list[Step]:
    below = ground(image.parent, choices) if image.parent else []
    if image.name == "versitygw":
        return [Step(image.name, image.dockerfile, binary=choices.versitygw)]
    if not image.two_steps:
        return [*below, Step(image.name, image.dockerfile, image.parent)]
    deps = f"{image.name}-deps"
    return [
        *below,
        Step(deps, image.dockerfile, image.parent, stage="deps"),
        Step(image.name, image.dockerfile, deps, "DEPS_IMAGE"),
    ]


def plan(images: Iterable[Image], choices: Choices) -> tuple[Step, ...]:
    """Every step that the images need, each once, parents before children."""
    steps: dict[str, Step] = {}
    for image in images:
        for step in _steps_of(image, choices):
            steps.setdefault(step.name, step)
    return tuple(steps.values())
