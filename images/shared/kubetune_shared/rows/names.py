"""Names of columns as people write them, compared by their words. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache

_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORD = re.compile(r"[^\W_]+")
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Text that YAML reads as a name without quotes."""

PAIRS = (
    ("question", "answer"),
    ("input", "output"),
    ("user", "assistant"),
    ("instruction", "response"),
    ("prompt", "response"),
    ("prompt", "output"),
    ("query", "response"),
    ("question", "response"),
    ("prompt", "answer"),
    ("query", "answer"),
    ("human", "assistant"),
    ("human", "bot"),
    ("human", "gpt"),
    ("user", "bot"),
    ("user", "agent"),
    ("customer", "agent"),
    ("input", "target"),
    ("source", "target"),
    ("problem", "solution"),
    ("q", "a"),
    ("frage", "antwort"),
    ("pregunta", "respuesta"),
    ("domanda", "risposta"),
    ("问题", "答案"),
)
"""What a question and its answer are called together."""
QUESTIONS = frozenset(asked for asked, _ in PAIRS) - {"q"} | {"message", "inputs", "ask", "query_text"}
ANSWERS = frozenset(told for _, told in PAIRS) - {"a"} | {"reply", "completion", "outputs", "targets"}
QUESTION_WORDS = frozenset(
    {
        "question",
        "query",
        "prompt",
        "instruction",
        "request",
        "user",
        "human",
        "customer",
        "client",
        "frage",
        "pregunta",
        "domanda",
    }
)
ANSWER_WORDS = frozenset(
    {
        "answer",
        "response",
        "reply",
        "completion",
        "output",
        "assistant",
        "bot",
        "agent",
        "solution",
        "resolution",
        "antwort",
        "respuesta",
    }
)
"""Words by which other names are told: ``customer_message``, ``support_reply``."""
NO_CONTENT = frozenset(
    {
        "id",
        "ids",
        "uuid",
        "key",
        "name",
        "type",
        "kind",
        "source",
        "date",
        "time",
        "timestamp",
        "score",
        "rating",
        "rank",
        "count",
        "length",
        "tokens",
        "lang",
        "language",
        "url",
        "link",
        "category",
        "topic",
        "tag",
        "tags",
        "model",
        "version",
        "hash",
        "embedding",
        "status",
        "index",
        "number",
        "email",
        "phone",
    }
)
"""Words of names whose columns are about a question or an answer, and hold none."""
CONTEXTS = ("input", "context", "passage", "contexto")
"""What is read after the question and before the answer."""
TEXTS = ("text", "sentence", "review", "utterance", "tweet")
LABELS = ("label_text", "label_name", "label", "labels", "sentiment", "intent")
"""What is sorted into classes, and the class."""
OF_TEXT = ("label_text", "label_name", "label", "labels")
"""The names of a class beside which a column ``text`` is what is sorted, rather than a text to learn."""
CHATS = ("dialogue", "dialog", "chat", "conversation", "turns", "message_list", "history")
DOCUMENTS = ("content", "document", "body")
"""Columns of text that is learned as a whole, beside our own ``text``."""


@cache
def plain(name: str) -> str:
    """Without regard to case, spaces and separators: ``Customer Message`` and ``customerMessage`` are one."""
    return "_".join(_WORD.findall(_BORDER.sub("_", name).casefold()))


@cache
def words(name: str) -> frozenset[str]:
    """The words of a name."""
    return frozenset(plain(name).split("_"))


def as_columns(columns: Mapping[str, str]) -> str:
    """The mapping as YAML to be copied into spec.dataset."""
    pairs = (f"{member}: {_scalar(column)}" for member, column in columns.items())
    return f"columns: {{{', '.join(pairs)}}}"


def _scalar(text: str) -> str:
    # Words that YAML reads as something else than text.
    other = text.lower() in {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
    return text if _BARE.fullmatch(text) and not other else json.dumps(text, ensure_ascii=not text.isprintable())
