"""What is built follows from what the machine has: a table over doubles for driver, cluster, index and image store."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from images.build import surroundings
from images.build.choices import Facts, Wishes, settle

DRIVER = "this machine has an NVIDIA driver"


def facts(gpu: str | None = None, *, wheel: bool = False, built: tuple[str, ...] = (), index: bool = False) -> Facts:
    return Facts((gpu is not None, gpu or "no GPU was found"), wheel, lambda variant: variant in built, lambda: index)


@pytest.mark.parametrize(
    ("what", "wishes", "found", "torch", "gpu", "says"),
    [
        ("nothing at all", Wishes(), facts(), "cuda", False, "PyPI's build"),
        ("the CPU index answers", Wishes(), facts(index=True), "cpu", False, "the CPU build from PyTorch's index"),
        ("a folder of wheels", Wishes(), facts(wheel=True), "cpu", False, "from the folder of wheels"),
        ("the CPU build was built before", Wishes(), facts(built=("cpu",)), "cpu", False, "the CPU build"),
        (
            "the other one was, and the index is back",
            Wishes(),
            facts(built=("cuda",), index=True),
            "cuda",
            False,
            "before",
        ),
        ("a GPU", Wishes(), facts(DRIVER, index=True), "cuda", True, DRIVER),
        ("a GPU and a folder of wheels", Wishes(), facts(DRIVER, wheel=True), "cuda", True, DRIVER),
        ("a GPU that is not wanted", Wishes(gpu=False), facts(DRIVER, index=True), "cpu", False, "--no-gpu"),
        ("a GPU elsewhere", Wishes(gpu=True), facts(wheel=True), "cuda", True, "--gpu"),
        ("a GPU, torch asked for", Wishes(torch="cpu"), facts(DRIVER), "cpu", True, DRIVER),
        ("CUDA's torch asked for", Wishes(torch="cuda"), facts(wheel=True, index=True), "cuda", False, "PyPI's build"),
        ("the CPU build asked for, no index", Wishes(torch="cpu"), facts(), "cpu", False, "the CPU build"),
    ],
)
def test_builds_follow_from_what_there_is(
    what: str, wishes: Wishes, found: Facts, torch: str, gpu: bool, says: str, record_property: Callable[..., None]
) -> None:
    settled = settle(wishes, found)
    assert (settled.torch, settled.gpu) == (torch, gpu)
    assert says in settled.why
    record_property("point", f"builds, with {what}: {'server' if gpu else 'server-cpu'}; {settled.why}")


def test_neither_index_nor_store_is_asked_where_a_gpu_decides() -> None:
    def never(*_: object) -> bool:
        raise AssertionError("asked")

    assert settle(Wishes(), Facts((True, DRIVER), False, never, never)).torch == "cuda"


@pytest.mark.parametrize("name", ["dev/nvidiactl", "proc/driver/nvidia/version"])
def test_a_driver_is_found_by_its_files(tmp_path: Path, name: str) -> None:
    assert not surroundings.gpu_here(tmp_path)
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    assert surroundings.gpu_here(tmp_path)
    assert surroundings.look({}, tmp_path) == (True, DRIVER)


def node(capacity: dict[str, str], labels: dict[str, str] | None = None) -> dict[str, object]:
    return {"items": [{"metadata": {"labels": labels or {}}, "status": {"capacity": {"cpu": "2", **capacity}}}]}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (node({}), False),
        (node({"nvidia.com/gpu": "0"}), False),
        (node({"nvidia.com/gpu": "1"}), True),
        (node({"nvidia.com/gpu.shared": "4"}), True),
        (node({"nvidia.com/mig-1g.10gb": "7"}), True),
        (node({}, {"nvidia.com/gpu.present": "true"}), True),
        ({"items": []}, False),
    ],
)
def test_a_node_with_a_gpu_is_recognised(nodes: dict[str, object], expected: bool) -> None:
    assert surroundings.has_gpu(nodes) is expected


@pytest.mark.parametrize(("amount", "expected"), [("1", True), ("0", False)])
def test_the_cluster_that_kubeconfig_names_is_asked(tmp_path: Path, amount: str, expected: bool) -> None:
    nodes = json.dumps(node({"nvidia.com/gpu": amount}))
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!/bin/sh\nprintf '%s' '{nodes}'\n")
    kubectl.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "KUBECONFIG": "/somewhere"}
    empty = tmp_path / "root"
    assert surroundings.look(environment, empty)[0] is expected
    assert surroundings.look({"PATH": environment["PATH"]}, empty) == (False, "no GPU was found")


def test_a_cluster_that_does_not_answer_decides_nothing(tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\nexit 1\n")
    kubectl.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/bin", "KUBECONFIG": "/somewhere"}
    assert surroundings.gpu_in_cluster(environment) is None
    found, words = surroundings.look(environment, tmp_path / "root")
    assert not found
    assert "does not answer" in words


@pytest.fixture
def index() -> Iterator[str]:
    """A package index, as a double on the loopback interface, with a page for torch alone."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/cpu/torch/"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(b"<a>torch-2.13.0+cpu</a>" if found else b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_index_is_asked_whether_it_has_torch(index: str) -> None:
    assert surroundings.index_answers(f"{index}/cpu")
    assert not surroundings.index_answers(f"{index}/other")
    assert not surroundings.index_answers("http://127.0.0.1:1/cpu")
    assert not surroundings.index_answers("not a URL")
