"""The image builder's pure parts: what is built, in which order, under which names."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from images.build import rootfs
from images.build.builder import reference
from images.build.catalog import IMAGES, ROOT, Choices, Step, default_names, plan, select
from images.build.choices import VERSITYGW_VERSION, find_versitygw, find_wheels, has_cpu_torch
from images.build.digest import step_tag, tags
from images.build.dockerfile import copied, instructions, relevant
from images.build.engine import Build, StoredImage, build_arguments, parse_listing
from images.build.errors import ImageBuildError
from images.build.hostpip import parse_config, render
from images.build.lock import Lock, command, locked_names
from images.build.prune import superseded
from images.build.transfer import layers, thin
from images.build.values import pushed_reference
from images.build.values import render as render_values

CPU = Choices(torch_variant="cpu")
DOCKERFILE = """\
# A comment that changes nothing.
ARG PARENT_IMAGE=base
ARG DEPS_IMAGE=deps

FROM ${PARENT_IMAGE} AS deps
COPY lock.txt /lock.txt
RUN install \\
    # a comment between
    /lock.txt

FROM ${DEPS_IMAGE}
COPY --chown=1:1 code more /app/
COPY --from=deps /x /y
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "lock.txt").write_text("package==1\n")
    for folder in ("code", "more"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "module.py").write_text("pass\n")
    return tmp_path


DEPS = Step("app-deps", "Dockerfile", "base", stage="deps")
APP = Step("app", "Dockerfile", "app-deps", "DEPS_IMAGE")


def test_instructions_join_continuations_and_drop_comments() -> None:
    assert instructions(DOCKERFILE)[4] == "RUN install /lock.txt"


def test_copied_reads_sources_of_the_context_only() -> None:
    assert copied("COPY --chown=1:1 code more /app/") == ["code", "more"]
    assert copied("COPY --from=deps /x /y") == []
    assert copied("RUN cp a b") == []


def test_a_stage_that_is_replaced_does_not_count() -> None:
    text = relevant(DOCKERFILE, None, frozenset({"deps"}))
    assert not any("install" in instruction for instruction in text)
    assert "FROM ${DEPS_IMAGE}" in text
    assert "FROM ${DEPS_IMAGE}" not in relevant(DOCKERFILE, "deps", frozenset())


def _edit_code(root: Path) -> None:
    (root / "code" / "module.py").write_text("print()\n")


def _edit_lock(root: Path) -> None:
    (root / "lock.txt").write_text("package==2\n")


def _edit_comment(root: Path) -> None:
    (root / "Dockerfile").write_text(DOCKERFILE.replace("changes nothing", "says more"))


def _leave_rubbish(root: Path) -> None:
    (root / "code" / "__pycache__").mkdir()
    (root / "code" / "__pycache__" / "module.pyc").write_bytes(b"x")


@pytest.mark.parametrize(
    ("change", "deps_changes", "app_changes"),
    [
        (_edit_code, False, True),
        (_edit_lock, True, True),
        (_edit_comment, False, False),
        (_leave_rubbish, False, False),
    ],
)
def test_tags_follow_content(
    checkout: Path, change: Callable[[Path], None], deps_changes: bool, app_changes: bool
) -> None:
    def current() -> tuple[str, str]:
        deps = step_tag(checkout, DEPS, "parent")
        return deps, step_tag(checkout, APP, deps)

    before = current()
    change(checkout)
    after = current()
    assert (after[0] != before[0], after[1] != before[1]) == (deps_changes, app_changes)


def test_tags_follow_arguments_parent_and_binary(checkout: Path) -> None:
    binary = checkout / "tool"
    binary.write_bytes(b"1")
    steps = [
        Step("app", "Dockerfile"),
        Step("app", "Dockerfile", arguments={"A": "1"}),
        Step("app", "Dockerfile", binary=binary),
    ]
    found = {step_tag(checkout, step, parent) for step in steps for parent in ("a", "b")}
    assert len(found) == len(steps) * 2


def test_a_missing_source_is_named(checkout: Path) -> None:
    (checkout / "lock.txt").unlink()
    with pytest.raises(ImageBuildError, match=r"Dockerfile copies lock\.txt"):
        step_tag(checkout, DEPS, "")


def test_the_plan_has_every_step_once_parents_first() -> None:
    steps = plan(IMAGES, CPU)
    names = [step.name for step in steps]
    assert len(names) == len(set(names))
    for step in steps:
        assert step.parent is None or names.index(step.parent) < names.index(step.name)


def test_one_torch_layer_is_shared() -> None:
    parents = {step.name: step.parent for step in plan(IMAGES, CPU)}
    assert parents["trainer-deps"] == parents["evaluator-deps"] == parents["server-cpu-deps"]
    assert parents["operator-deps"] == "base"


def test_every_image_can_be_tagged_from_the_checkout() -> None:
    found = tags(ROOT, plan(IMAGES, CPU))
    assert {image.name for image in IMAGES} <= found.keys()
    cuda = tags(ROOT, plan(IMAGES, Choices()))
    differing = {name for name in found if found[name] != cuda[name]}
    assert {"torch", "trainer", "evaluator"} <= differing
    assert not differing & {"base", "operator", "mlflow"}


def test_a_machine_gets_one_server_whatever_its_torch() -> None:
    for torch in ("cpu", "cuda"):
        assert "server" not in default_names(Choices(torch_variant=torch))
        assert "server-cpu" not in default_names(Choices(torch_variant=torch, gpu=True))
    assert [image.name for image in select(("mlflow", "mlflow"), CPU)] == ["mlflow"]
    with pytest.raises(ImageBuildError, match="no image called trainor"):
        select(("trainor",), CPU)


def test_a_folder_of_wheels_is_one_that_is_named_and_holds_some(tmp_path: Path) -> None:
    environment = {"KUBETUNE_WHEELS": str(tmp_path)}
    assert find_wheels(None, environment) is None
    (tmp_path / "numpy-2.3.5-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    assert find_wheels(None, environment) == tmp_path
    assert not has_cpu_torch(tmp_path)
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    assert has_cpu_torch(tmp_path)
    with pytest.raises(ImageBuildError, match="no such folder"):
        find_wheels(tmp_path / "absent", environment)


def test_where_torch_comes_from_does_not_change_its_tag(tmp_path: Path) -> None:
    several = [
        CPU,
        Choices(torch_variant="cpu", torch_index_url="https://index.example/cpu"),
        Choices(torch_variant="cpu", wheels=tmp_path),
    ]
    assert len({tags(ROOT, plan(IMAGES, choices))["trainer"] for choices in several}) == 1


def test_a_compiled_object_store_is_found_in_the_cache(tmp_path: Path) -> None:
    environment = {"KUBETUNE_CACHE": str(tmp_path)}
    assert find_versitygw(None, environment) is None
    binary = tmp_path / "bin" / "versitygw"
    binary.parent.mkdir()
    binary.touch(mode=0o755)
    assert find_versitygw(None, environment) == binary


def test_the_object_store_has_one_version() -> None:
    text = (ROOT / "images/versitygw/Dockerfile").read_text()
    assert f"ARG VERSITYGW_VERSION={VERSITYGW_VERSION}" in instructions(text)


BUILD = Build(
    "localhost/kubetune/app:1",
    Path("/src"),
    "/src/Dockerfile",
    stage="deps",
    arguments={"B": "2", "A": "1"},
    contexts={"wheels": Path("/w")},
    secrets={"pip-conf": Path("/p")},
)


def test_build_commands() -> None:
    proxies = {"https_proxy": "http://proxy:1"}
    buildah = build_arguments("buildah", BUILD, proxies)
    assert buildah[0] == "bud"
    assert "--layers=false" in buildah
    docker = build_arguments("docker", BUILD, proxies)
    assert docker[0] == "build"
    assert "--build-arg=https_proxy" in docker
    for line in (buildah, docker):
        text = " ".join(line)
        assert "--target deps" in text
        assert text.index("A=1") < text.index("B=2")
        assert "--build-context wheels=/w" in text
        assert "--secret id=pip-conf,src=/p" in text
        assert line[-1] == "/src"


def test_listings_of_all_engines_keep_our_names_only() -> None:
    name = "localhost/kubetune/app:1"
    buildah = '[{"id": "a", "names": ["' + name + '"], "created": 5, "size": "1 MB"}, {"names": null}]'
    podman = '[{"Id": "a", "Names": ["' + name + '", "docker.io/library/x:1"], "Created": 5, "Size": 1}]'
    docker = '{"ID":"a","Repository":"localhost/kubetune/app","Tag":"1","CreatedAt":"now","Size":"1MB"}\n'
    for tool, text in (("buildah", buildah), ("podman", podman), ("docker", docker)):
        assert [image.reference for image in parse_listing(tool, text)] == [name]


def test_superseded_keeps_current_and_newest() -> None:
    stored = [StoredImage(f"localhost/kubetune/app:{tag}", tag, 0, "") for tag in "dcba"]
    current = ["localhost/kubetune/app:b"]
    assert [image.identity for image in superseded(stored, current, keep=1)] == ["c", "a"]
    assert [image.identity for image in superseded(stored, current, keep=0)] == ["d", "c", "a"]


def test_values_follow_local_and_pushed_names() -> None:
    local = reference("server-cpu", "0123456789ab")
    assert render_values({"server-cpu": local}) == (
        'images:\n  serverCpu:\n    repository: "localhost/kubetune/server-cpu"\n    tag: "0123456789ab"\n'
    )
    pushed = pushed_reference(local, "registry.home:5000/")
    assert pushed == "registry.home:5000/kubetune/server-cpu:0123456789ab"


def test_pip_settings_travel_with_the_certificates() -> None:
    listing = "global.index-url='https://a/simple'\n:env:.index-url='https://b/simple'\n:env:.default-timeout='9'\n"
    settings = parse_config(listing)
    assert settings == {"index-url": "https://b/simple", "timeout": "9"}
    text = render(settings, with_bundle=True)
    assert "index-url = https://b/simple\n" in text
    assert "cert = /run/secrets/ca-bundle\n" in text
    assert "cert" not in render({}, with_bundle=False)


def test_lock_command_and_names() -> None:
    line = command(Lock("a.in", "a.txt", constraints="c.txt", omit=("torch",)))
    assert "--generate-hashes" in line
    assert line[-3:] == ["a.in", "--output-file", "a.txt"]
    assert line[line.index("--no-emit-package") + 1] == "torch"
    assert locked_names("# x==1\na-b==1 \\\n    --hash=sha256:0\nc==2\n    # via a==3\n") == ("a-b", "c")


@pytest.mark.parametrize("name", ["trainer", "evaluator", "server"])
def test_locks_leave_torch_and_its_libraries_to_the_torch_layer(name: str) -> None:
    text = (ROOT / f"images/{name}/requirements.txt").read_text()
    names = locked_names(text)
    assert not [n for n in names if n in ("torch", "triton", "numpy") or n.startswith("nvidia-cu")]
    assert text.count("--hash=sha256:") >= len(names)
    assert "://" not in text


def _tar(files: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    buffer.seek(0)
    return buffer


def test_thin_leaves_out_what_the_target_holds() -> None:
    source = _tar({"index.json": b"{}", "blobs/sha256/aa": b"old", "blobs/sha256/bb": b"new"})
    out = io.BytesIO()
    thin(source, {"sha256:aa"}, out)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        assert archive.getnames() == ["index.json", "blobs/sha256/bb"]
        copied_file = archive.extractfile("blobs/sha256/bb")
        assert copied_file is not None
        assert copied_file.read() == b"new"


def test_manifest_layers() -> None:
    assert layers('{"layers": [{"digest": "sha256:a", "size": 3}]}') == {"sha256:a": 3}


def test_the_local_base_is_named_by_its_recipe() -> None:
    assert rootfs.reference().startswith("localhost/kubetune/rootfs:")
    assert "python3-venv" in " ".join(rootfs.command("rootfs.tar"))
