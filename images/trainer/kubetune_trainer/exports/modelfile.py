"""Ollama's Modelfile for an exported model. Pure.

Ollama has its own template language. A chat template that writes each turn as text before and after its content is
translated, and checked by rendering a longer chat both ways; any other is left to Ollama, with a note.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Chat = list[dict[str, str]]
Render = Callable[[Chat, bool], str]
"""Conversation and whether the assistant is to speak next -> prompt."""

_SYSTEM, _USER, _ASSISTANT, _AGAIN = "systemword", "userword", "assistantword", "againword"


@dataclass(frozen=True)
class Turns:
    """What a template writes around contents."""

    head: str
    """Before the first turn of a chat without system message, which may be a system message of the template's own."""
    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    prompt: str
    """After the last turn, for the assistant to go on."""

    def render(self, chat: Chat) -> str:
        """The prompt for ``chat``, as the translated template writes it."""
        head = "" if any(turn["role"] == "system" for turn in chat) else self.head
        around = {"system": self.system, "user": self.user, "assistant": self.assistant}
        turns = (around[turn["role"]][0] + turn["content"] + around[turn["role"]][1] for turn in chat)
        return head + "".join(turns) + self.prompt

    def template(self) -> str:
        """The same in Ollama's language."""
        head = f"{{{{ if not .System }}}}{self.head}{{{{ end }}}}" if self.head else ""
        cases = [("system", self.system), ("user", self.user), ("assistant", self.assistant)]
        turns = " else ".join(
            f'if eq .Role "{role}" }}}}{before}{{{{ .Content }}}}{after}{{{{' for role, (before, after) in cases
        )
        return f"{head}{{{{ range .Messages }}}}{{{{ {turns} end }}}}{{{{ end }}}}{self.prompt}"


def turns_of(render: Render, bos: str = "") -> Turns | None:
    """The turns of a chat template; None when it does more than write text around contents.

    ``bos`` is the text of the token that llama.cpp puts before every prompt by itself.
    """
    try:
        found = _turns(lambda chat, go_on: render(chat, go_on).removeprefix(bos))
    except Exception:  # templates raise what they like at chats they do not want
        return None
    literal = "".join((found.head, *found.system, *found.user, *found.assistant, found.prompt)) if found else ""
    return None if "{{" in literal or '"""' in literal else found


def _turns(render: Render) -> Turns | None:
    user, assistant = {"role": "user", "content": _USER}, {"role": "assistant", "content": _ASSISTANT}
    again, system = {"role": "user", "content": _AGAIN}, {"role": "system", "content": _SYSTEM}
    first = render([user], False)
    after_user = first.partition(_USER)[2]
    prompt = render([user], True).removeprefix(first)
    answered = render([user, assistant], False)
    before_assistant = _between(answered, _USER, _ASSISTANT).removeprefix(after_user)
    after_assistant = answered.partition(_ASSISTANT)[2]
    before_user = _between(render([user, assistant, again], False), _ASSISTANT, _AGAIN).removeprefix(after_assistant)
    head = first.partition(_USER)[0].removesuffix(before_user)
    instructed = render([system, user], False)
    before_system = instructed.partition(_SYSTEM)[0]
    after_system = _between(instructed, _SYSTEM, _USER).removesuffix(before_user)
    found = Turns(
        head,
        (before_system, after_system),
        (before_user, after_user),
        (before_assistant, after_assistant),
        prompt,
    )
    chats = ([user, assistant, again, assistant, user], [system, user, assistant, again], [user])
    return found if all(found.render(chat) == render(chat, True) for chat in chats) else None


def _between(text: str, left: str, right: str) -> str:
    return text.partition(left)[2].partition(right)[0]


def modelfile(file: str, turns: Turns | None, stops: Iterable[str], *, chats: bool) -> str:
    """For the GGUF ``file`` beside it; without ``turns`` Ollama chooses a template by the one in the GGUF itself.

    ``stops`` are the texts that end an answer; ``chats`` is False for a model without chat template.
    """
    lines = [f"FROM ./{file}"]
    if not chats:
        lines.append('TEMPLATE """{{ .Prompt }}"""')
    elif turns:
        lines.append(f'TEMPLATE """{turns.template()}"""')
    else:
        lines += [
            "# The chat template does more than Ollama's own language can say. llama.cpp reads it from the GGUF",
            "# (tokenizer.chat_template; llama-server --jinja); Ollama takes the known template nearest to it.",
        ]
    lines += [f"PARAMETER stop {json.dumps(text, ensure_ascii=False)}" for text in dict.fromkeys(stops) if text]
    return "\n".join(lines) + "\n"
