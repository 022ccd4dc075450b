"""Pages as one script: the blocks a reader pastes one after the other, with what a script has to do differently."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .markdown import Fence, commands, without_blocks

WATCH_SECONDS = 10
WORDS_PER_MINUTE = 230
"""Of somebody who reads a manual in their second language."""
SECONDS_PER_BLOCK = 8
"""To paste a block and look at what it says."""
_BEGIN, _END = "::begin ", "::end "
_PROLOGUE = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"


@dataclass
class Step:
    """What became of one block."""

    fence: Fence
    seconds: float = 0
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its output."""
        return "\n".join(self.lines)

    @property
    def waits(self) -> bool:
        """Whether its time is spent by machines: the reader may go away."""
        return bool(re.search(r"kubectl wait|pip install| -w$|kubectl delete", self.fence.text, re.MULTILINE))

    def told(self) -> str:
        """A line about it."""
        whose = "waiting" if self.waits else "at once"
        first = commands(self.fence)[0].first_line
        return f"{self.fence.page}:{self.fence.line} run: {self.seconds:.0f} s {whose}: {first}"


def runnable(fences: Sequence[Fence], mark: str | None = None) -> list[Fence]:
    """The shell blocks that are run: those with ``mark``, or all but those that say that they cannot be."""
    found = [fence for fence in fences if fence.language in {"sh", "bash"}]
    if mark is not None:
        return [fence for fence in found if fence.mark == mark]
    return [fence for fence in found if not fence.mark.startswith("not run:")]


def adapted(fence: Fence, values: Mapping[str, str]) -> str:
    """The block for a script: ``values`` replace those of variables it sets, a watch ends by itself, a forwarded port
    is waited for as a reader does without noticing."""
    made: list[str] = []
    for command in commands(fence):
        text = command.text
        for name, value in values.items():
            text = re.sub(rf"^{name}=\S+", f"{name}={value}", text)
        if re.search(r" (-w|--watch)$", text):
            text = f"timeout {WATCH_SECONDS} {text} || test $? = 124"
        made.append(text)
        port = re.search(r"kubectl port-forward .* (\d+) &$", text)
        if port:
            made.append(f"until (exec 3<>/dev/tcp/127.0.0.1/{port[1]}) 2>/dev/null; do sleep 0.2; done")
    return "\n".join(made)


def run(fences: Sequence[Fence], values: Mapping[str, str], folder: Path, env: Mapping[str, str]) -> list[Step]:
    """Runs the blocks in one bash, as they stand there. Raises AssertionError at the first that fails."""
    parts = [
        f"echo '{_BEGIN}{n}'\n{adapted(fence, values)}\nprintf '\\n{_END}{n}\\n'\n" for n, fence in enumerate(fences)
    ]
    script = folder / "script.sh"
    script.write_text(_PROLOGUE + "".join(parts))
    steps: list[Step] = []
    before, started = "", time.monotonic()
    with subprocess.Popen(
        ["bash", str(script)], cwd=folder, env={**os.environ, **env}, text=True, bufsize=1,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in map(str.rstrip, process.stdout):
            if line.startswith(_BEGIN):
                steps.append(Step(fences[int(line.removeprefix(_BEGIN))]))
                before, started = "", time.monotonic()
            elif line.startswith(_END):
                steps[-1].seconds = time.monotonic() - started
                print(f"   {steps[-1].told()}", flush=True)
            elif steps and line:
                steps[-1].lines.append(line)
                before = f"{before}\n{line}"[-4000:]
    assert process.returncode == 0, f"{steps[-1].told() if steps else script}\n{before}"
    return steps


def own_minutes(text: str, blocks: int) -> float:
    """What a page costs its reader: reading the prose, pasting the blocks. Waiting is not counted."""
    return len(without_blocks(text).split()) / WORDS_PER_MINUTE + blocks * SECONDS_PER_BLOCK / 60
