"""Chats with tools, and a small chat template that writes them in the way of Hermes and Qwen."""

from __future__ import annotations

from typing import Any

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "fox", "description": "jumps", "parameters": {"type": "object", "properties": {}}},
}
ASKED = {"role": "user", "content": "hello"}
CALLED = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "function": {"name": "fox", "arguments": {"n": 3}}}],
}
HEARD = {"role": "tool", "content": "quick", "name": "fox"}
TOLD = {"role": "assistant", "content": "lazy dog"}
CHAT = (ASKED, CALLED, HEARD, TOLD)

TEMPLATE = (
    "{% if tools %}<|system|>{% for t in tools %}{{ t | tojson }}{% endfor %}<|end|>{% endif %}"
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>{% generation %}{{ m['content'] }}"
    "{% for c in m.tool_calls or [] %}<tool_call>"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}</tool_call>{% endfor %}'
    "<|end|>{% endgeneration %}{% elif m['role'] == 'tool' %}<|user|><result>{{ m['content'] }}</result><|end|>"
    "{% else %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Marks the assistant's turns."""
UNMARKED = TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", "")
BEFORE_THE_LAST_QUESTION = (
    "{% set asked = messages | selectattr('role', 'equalto', 'user') | list %}{% for m in messages %}"
    "{% if tools and m == asked[-1] %}{{ tools | tojson }}{% endif %}"
    "{{ m['content'] }}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}<|end|>{% endfor %}"
)
"""Writes the tools where Mistral's template does: a chat of several questions does not begin as its parts do."""
WRITTEN_CALL = '<tool_call>{"name": "fox", "arguments": {"n": 3}}</tool_call><|end|>'
"""What is to be learned of CALLED."""


def number_chat(n: int) -> dict[str, Any]:
    """One of many rows: a number is asked for, the tool called with it, its answer told."""
    function = {"name": "fox", "arguments": f'{{"n": {n}}}'}
    return {
        "messages": [
            {"role": "user", "content": f"{n} ?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": f"c{n}", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": f"c{n}", "content": f"{n} = {n}"},
            {"role": "assistant", "content": f"{n}"},
        ],
        "tools": [TOOL],
    }
