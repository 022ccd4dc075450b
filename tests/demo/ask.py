"""Asks a served model one question over the OpenAI-compatible API."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

from .shell import DemoError

TIMEOUT_SECONDS = 60.0


def ask(base_url: str, model: str, question: str, max_tokens: int) -> str:
    """The model's answer. Raises DemoError when there is none."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": max_tokens,
    }
    request = urllib.request.Request(
        f"{base_url}/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            found: str = json.load(answer)["choices"][0]["message"]["content"]
    except urllib.error.HTTPError as error:
        raise DemoError(f"{base_url} answered {error.code}: {error.read().decode(errors='replace')[:500]}") from error
    except OSError as error:
        raise DemoError(f"{base_url} does not answer: {error}") from error
    return found
