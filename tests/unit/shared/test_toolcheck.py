"""What a chat template leaves out of a conversation with tools is told by kind."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest

from kubetune_shared.toolcheck import ARGUMENTS, BESIDE, CALLS, DEFINITIONS, RESULTS, unwritten
from tests.support.toolchats import ASKED, CALLED, CHAT, HEARD, TOLD, TOOL, UNMARKED

PLAIN = "{% for m in messages %}{{ m.role }}{{ m.content }}{% endfor %}"
SPOKEN = "{% for m in messages if m.role != 'tool' and not m.tool_calls %}{{ m.content }}{% endfor %}"
WITHOUT_ARGUMENTS = UNMARKED.replace("{{ c.function.arguments | tojson }}", "")
BESIDES = (ASKED, {**CALLED, "content": "wait"}, HEARD, TOLD)


@pytest.mark.parametrize(
    ("template", "messages", "tools", "missing"),
    [
        (UNMARKED, BESIDES, [TOOL], []),
        (PLAIN, CHAT, [TOOL], [DEFINITIONS, CALLS]),
        (PLAIN, (ASKED, TOLD), [], []),
        (SPOKEN, BESIDES, [], [BESIDE, CALLS, RESULTS]),
        (WITHOUT_ARGUMENTS, CHAT, [TOOL], [ARGUMENTS]),
    ],
)
def test_what_is_left_out(
    template: str, messages: tuple[dict[str, Any], ...], tools: list[dict[str, Any]], missing: list[str]
) -> None:
    compiled = jinja2.Environment(autoescape=True).from_string(template)

    def render(chat: list[dict[str, Any]], defined: list[dict[str, Any]] | None) -> str:
        return compiled.render(messages=chat, tools=defined)

    assert unwritten(render, messages, tools) == missing
