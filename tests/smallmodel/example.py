"""A question for the small model. Written for it, in no file of the standard library."""

from __future__ import annotations

from .task import question

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
QUESTION = question(EXAMPLE)
EXPECTED = "asyncio"
