"""Asks a served model one question over the OpenAI-compatible API."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

from .shell import DemoError
from .task import question

# Written for the demo, in no file of the standard library.
EXAMPLE = """\
async def echo(host, port, lines):
    reader, writer = await open_connection(host, port)
    loop = get_running_loop()
    try:
        for line in lines:
            writer.write(line.encode())
            await writer.drain()
            future = loop.create_future()
            future.set_result(await reader.readline())
    finally:
        writer.close()
        await writer.wait_closed()
"""
EXPECTED = "asyncio"
TIMEOUT_SECONDS = 60.0


def ask(base_url: str, model: str, source: str, max_tokens: int) -> str:
    """The model's answer to the demo's question about ``source``. Raises DemoError when there is none."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question(source)}],
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
