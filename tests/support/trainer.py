"""What a running trainer answers to the operator, where no trainer runs."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kubetune_contract.paths import PROGRESS_PORT

Object = dict[str, Any]


@contextmanager
def answering(ip: str, **members: Any) -> Iterator[Object]:
    """Serves ``GET /progress`` at ``ip``, an address of this machine (127.x.y.z); change the dict to go on."""
    answer: Object = {"phase": "training", "step": 31, "totalSteps": 50, "updatedAt": time.time(), **members}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answer | {"updatedAt": time.time()}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing to tell."""

    server = http.server.ThreadingHTTPServer((ip, PROGRESS_PORT), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield answer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
