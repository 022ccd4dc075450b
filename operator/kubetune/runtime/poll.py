"""Asks running pods how far they are."""

from __future__ import annotations

import aiohttp

from kubetune_contract.paths import PROGRESS_PORT

TIMEOUT = aiohttp.ClientTimeout(total=1.0)
"""A pod that does not answer at once is asked again at the next look; a worker must not wait for it."""
LIMIT = 64 * 1024
"""Bytes of an answer that are read; a pod is not trusted to be brief."""


class Poller:
    """One HTTP session for all pods. Redirects are not followed: pods run the users' code."""

    def __init__(self, port: int = PROGRESS_PORT) -> None:
        self._port = port
        self._session: aiohttp.ClientSession | None = None

    async def progress(self, pod_ip: str) -> str | None:
        """The body of ``GET /progress``, None when the pod gives no good answer in time."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT)
        host = f"[{pod_ip}]" if ":" in pod_ip else pod_ip
        try:
            async with self._session.get(f"http://{host}:{self._port}/progress", allow_redirects=False) as response:
                if response.status != 200:
                    return None
                return (await _read(response.content)).decode("utf-8", "replace")
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


async def _read(content: aiohttp.StreamReader) -> bytes:
    """The first LIMIT bytes. One read returns what has arrived, which need not be all."""
    body = bytearray()
    while len(body) < LIMIT and (part := await content.read(LIMIT - len(body))):
        body += part
    return bytes(body)
